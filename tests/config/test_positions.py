"""Spans of TOML texts of any shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from sockd.config.positions import MAX_DEPTH, KeyPath, find_spans, offset_in_string
from sockd.errors import ValueFault


def takes(text: str) -> bool:
    try:
        tomli.loads(text)
    except tomli.TOMLDecodeError:
        return False
    return True


INLINE_LINES = takes("x = {\n}")  # TOML 1.1

SAFE = st.characters(exclude_categories=["Cs", "Cc"])

basic_character = st.one_of(
    SAFE.filter(lambda c: c not in '"\\').map(lambda c: (c, c)),
    st.sampled_from([("\n", "\\n"), ('"', '\\"'), ("\\", "\\\\"), ("\t", "\\t"), ("\t", "\t")]),
    SAFE.filter(lambda c: ord(c) < 0x10000).map(lambda c: (c, f"\\u{ord(c):04x}")),
    SAFE.map(lambda c: (c, f"\\U{ord(c):08X}")),
)
folded_character = st.one_of(
    basic_character.filter(lambda pair: not pair[0].isspace()),
    st.just(("\n", "\n")),
    st.just((" ", " ")),
    basic_character.filter(lambda pair: pair[1] == pair[0] and not pair[0].isspace()).map(
        lambda pair: (pair[0], f"\\  \n\t \n {pair[1]}")
    ),
)


def written(pairs: list[tuple[str, str]]) -> str:
    return "".join(text for _, text in pairs)


strings = st.one_of(
    st.lists(basic_character, max_size=6).map(lambda pairs: f'"{written(pairs)}"'),
    st.text(SAFE, max_size=6).filter(lambda text: "'" not in text).map(lambda text: f"'{text}'"),
    st.tuples(
        st.sampled_from(["", "\n"]), st.lists(folded_character, max_size=6), st.sampled_from(["", '"', '""'])
    ).map(lambda parts: f'"""{parts[0]}{written(parts[1])}{parts[2]}"""'),
    st.tuples(st.text(SAFE | st.just("\n"), max_size=6), st.sampled_from(["", "'", "''", "]", "#"])).map(
        lambda parts: f"'''{parts[0].replace(chr(39), '')}{parts[1]}'''"
    ),
)
scalars = st.one_of(
    strings,
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.sampled_from(
        ["0xdead_BEEF", "0o17", "0b1", "1_000", "+7", "true", "false", "inf", "-nan", "6.02e+23"]
    ),
    st.sampled_from(["1979-05-27", "07:32:00", "07:32:00.999", "1979-05-27T07:32:00Z"]),
    st.sampled_from(["1979-05-27 07:32:00.5-07:00", "1979-05-27 07:32:00"]),
)
space = st.sampled_from(["", " ", "\t"])
blank = st.sampled_from(["", " ", "\n", " # ] } , \"' = \n", "\n\t\n"])
inline_blank = blank if INLINE_LINES else space


class Writer:
    """Writes a valid document; every key is new, as its number makes sure."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.keys = 0

    def key(self) -> str:
        self.keys += 1
        style = self.draw(st.sampled_from(["a{}", "{}", '"é.{}"', "'# {}'", '"\\u0041\\"{}"', "x-{}_"]))
        return style.format(self.keys)

    def pair(self, depth: int) -> str:
        dot = f"{self.draw(space)}.{self.draw(space)}"
        keys = dot.join(self.key() for _ in range(self.draw(st.integers(1, 3))))
        return f"{keys}{self.draw(space)}={self.draw(space)}{self.value(depth)}"

    def value(self, depth: int) -> str:
        kind = self.draw(st.sampled_from(["scalar", "array", "table"])) if depth else "scalar"
        if kind == "scalar":
            return self.draw(scalars)
        around = blank if kind == "array" else inline_blank
        items = [
            self.draw(around)
            + (self.value(depth - 1) if kind == "array" else self.pair(depth - 1))
            + self.draw(around)
            for _ in range(self.draw(st.integers(0, 3)))
        ]
        inside = ",".join(items) or self.draw(around)
        if items and kind == "array" and self.draw(st.booleans()):
            inside += "," + self.draw(around)
        return f"[{inside}]" if kind == "array" else f"{{{inside}}}"

    def body(self) -> str:
        lines = [
            self.pair(2) + self.draw(st.sampled_from(["", " # [c]"]))
            for _ in range(self.draw(st.integers(0, 3)))
        ]
        return "".join(f"{self.draw(space)}{line}\n{self.draw(blank)}" for line in lines)

    def document(self) -> str:
        text, tables, arrays = self.draw(blank) + self.body(), [""], list[str]()
        for _ in range(self.draw(st.integers(0, 5))):
            kind = self.draw(st.sampled_from(["table", "array", "again", "outer first"]))
            parent = self.draw(st.sampled_from(tables))
            name = f"{parent}{self.draw(space)}.{self.key()}" if parent else self.key()
            if kind == "again" and arrays:
                # What was below the last element is out of reach now.
                name = self.draw(st.sampled_from(arrays))
                tables = [table for table in tables if not table.startswith(name)] + [name]
                arrays = [array for array in arrays if array == name or not array.startswith(name)]
                text += f"[[{name}]]\n{self.body()}"
            elif kind == "array":
                arrays.append(name)
                tables.append(name)
                text += f"[[{name}]]\n{self.body()}"
            elif kind == "outer first":
                inner = f"{name}.{self.key()}"
                tables += [name, inner]
                text += f"[{inner}]\n{self.body()}[ {name} ] # late\n{self.body()}"
            else:
                tables.append(name)
                text += f"[{self.draw(space)}{name}{self.draw(space)}]\n{self.body()}"
        return text


@st.composite
def documents(draw: st.DrawFn) -> str:
    return Writer(draw).document()


def walk(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from walk(item, (*path, key))


@given(documents())
@settings(max_examples=300)
def test_every_key_and_value_has_its_place(text: str) -> None:
    data = tomli.loads(text)
    spans = find_spans(text)
    assert set(spans) == {path for path, _ in walk(data)}
    for path, value in walk(data):
        span = spans[path]
        if path and isinstance(path[-1], str):
            assert tomli.loads(f"{text[span.key_start : span.key_end]} = 0") == {path[-1]: 0}
        children = [spans[other] for other in spans if len(other) == len(path) + 1 and other[:-1] == path]
        contains = any(span.start < child.start and child.end < span.end for child in children)
        if contains or value == [] or not isinstance(value, dict | list):
            assert repr(tomli.loads(f"x = {text[span.start : span.end]}")["x"]) == repr(value)


def test_a_table_stands_at_its_own_header_even_if_a_table_in_it_came_first() -> None:
    text = "[a.b]\n[a]\n"
    spans = find_spans(text)
    assert text[spans["a",].start :] == "[a]\n"
    assert spans["a", "b"].start == 0


def test_a_table_without_header_stands_at_the_first_header_that_names_it() -> None:
    text = "x = 1\n[service.echo]\n[service.chat]\n"
    span = find_spans(text)["service",]
    assert (text[span.key_start : span.key_end], text[span.start : span.end]) == ("service", "[service.echo]")


def test_tables_nested_too_deeply_are_a_fault_at_their_place() -> None:
    text = "x = 1\n" + ".".join("a" * (MAX_DEPTH + 1)) + " = 1"
    assert tomli.loads(text)
    with pytest.raises(ValueFault, match="levels") as caught:
        find_spans(text)
    assert text[: caught.value.offset].count("\n") == 1


@given(st.lists(basic_character))
def test_a_character_of_a_basic_string_is_found_behind_the_escapes_before_it(
    pairs: list[tuple[str, str]],
) -> None:
    literal = f'"{written(pairs)}"'
    assert tomli.loads(f"x = {literal}")["x"] == "".join(character for character, _ in pairs)
    for index in range(len(pairs) + 1):
        assert offset_in_string(literal, index) == 1 + len(written(pairs[:index]))


@given(st.lists(folded_character), st.sampled_from(["", "\n"]))
def test_a_character_of_a_folded_string_is_found_behind_the_folds_before_it(
    pairs: list[tuple[str, str]], newline: str
) -> None:
    literal = f'"""{newline or " "}{written(pairs)}"""'
    value = tomli.loads(f"x = {literal}")["x"]
    for index, character in enumerate(value):
        found = literal[offset_in_string(literal, index) : offset_in_string(literal, index + 1)]
        assert tomli.loads(f'x = """\n{found}"""')["x"] == character


@pytest.mark.parametrize(
    ("literal", "index", "expected"),
    [("'a\\b'", 2, 3), ("'''\nab'''", 1, 5), ("'''ab'''", 1, 4), ("tcp:70000", 4, 4), ('""', 0, 1)],
)
def test_a_character_of_other_strings_is_found_by_counting(literal: str, index: int, expected: int) -> None:
    assert offset_in_string(literal, index) == expected
