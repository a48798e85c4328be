"""Mistakes of TOML that newcomers make, and their explanations."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sockd.errors import Fault

Faulty = Callable[[str], tuple[Fault, ...]]

QUOTES = "expected a string in quotes, found "


@pytest.mark.parametrize(
    ("text", "message", "part", "nearest"),
    [
        ("x = echo", f"{QUOTES}echo", "echo", '"echo"'),
        ("x = 30s # soon", f"{QUOTES}30s", "30s", '"30s"'),
        ("x = 64KiB", f"{QUOTES}64KiB", "64KiB", '"64KiB"'),
        ("x = 100/s", f"{QUOTES}100/s", "100/s", '"100/s"'),
        ("x = /var/log/x", f"{QUOTES}/var/log/x", "/var/log/x", '"/var/log/x"'),
        ("x = ${HOME}", f"{QUOTES}${{HOME}}", "${HOME}", '"${HOME}"'),
        ("x = [tcp:7007, 'a']", f"{QUOTES}tcp:7007", "tcp:7007", '"tcp:7007"'),
        ("x = [10.0.0.0/8]", f"{QUOTES}10.0.0.0/8", "10.0.0.0/8", '"10.0.0.0/8"'),
        ("x = True", "expected true or false, or a string in quotes, found True", "True", "true"),
        ("x = no", "expected true or false, or a string in quotes, found no", "no", "false"),
        (
            "x = null",
            "expected a value, found null: leave the key out, or put it in quotes",
            "null",
            None,
        ),
        ("x = 10,000", "expected a number without commas, found 10,000", "10,000", "10_000"),
        ("x = 05", "expected a number without leading zeros, found 05", "05", "5"),
        ("x =\ny = 1", "expected a value after '=', found the end of the line", "", None),
        ("x = “a”", 'expected plain quotes ("), found “', "“", None),
        ('x = "a\ny = 1', 'expected a closing " at the end of the string', '"a', None),
        ("x = 'a\"\ny = 1", "expected a closing ' at the end of the string", "'a\"", None),
        (
            'x = ["a"\n[limits]',
            "expected ']' at the end of the array that begins here, in line 1",
            "[",
            None,
        ),
        (
            'x = [\n  "a",\n',
            "expected ']' at the end of the array that begins here, in line 1",
            "[",
            None,
        ),
        ('x = ["a" "b"]', "expected a comma between two entries, found '\"'", '"', None),
        ('x = [\n"a"\n"b"\n]', "expected a comma between two entries, found '\"'", '"', None),
        ('x = { a = "b" c = 1 }', "expected a comma or '}' in an inline table, found 'c'", "c", None),
        ('x = "a";', "expected the end of the line after a value, found ';'", ";", None),
        ('x = "a",', "expected the end of the line after a value, found ','", ",", None),
        ('x: "a"', "expected '=' between a key and its value, found ':'", ":", None),
        ('x "a"', "expected '=' between a key and its value, found '\"'", '"', None),
        (
            'x\u00a0= "a"',
            "expected '=' between a key and its value, found U+00A0 (no-break space)",
            "\u00a0",
            None,
        ),
        ("[a", "expected ']' after a table's name, found the end of the file", "", None),
        (
            "[a b]",
            "expected ']' after a table's name, found 'b': other names need quotes",
            "b",
            None,
        ),
        (
            "[a] x = 1",
            "expected the end of the line after a table's name: begin a new line",
            "x = 1",
            None,
        ),
        ("; x", "expected '#' at the beginning of a comment, found ;", ";", None),
        ("// x", "expected '#' at the beginning of a comment, found /", "/", None),
        ('{"a": 1}', "expected TOML, found JSON: write tables such as [service.echo]", "{", None),
        (
            r'x = "C:\logs"',
            "expected \\\\ for a backslash, or single quotes around the string, in which it stands "
            "for itself",
            r"\l",
            None,
        ),
        (
            'x = "a\x07"',
            "expected no control character here: in a string write \\u0007",
            "\x07",
            None,
        ),
    ],
)
def test_a_slip_is_told_with_what_to_write(
    faults: Faulty, text: str, message: str, part: str, nearest: str | None
) -> None:
    [fault] = faults(text)
    assert (fault.message, fault.nearest) == (message, nearest)
    assert fault.source[fault.column - 1 :][: fault.length] == part


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        (
            "[a.b]\n[c]\n[a.b]\n",
            "the table [a.b] is there already, in line 1: move these keys there, or rename it",
            3,
        ),
        ("[a]\nx = 1\ny = 2\nx = 3\n", "'a.x' is there already, in line 2: leave one of the two out", 4),
        ("[a]\nb = {}\n[a.b]\nx = 1", "'a.b' is there already, in line 2: leave one of the two out", 3),
        ("a.b = 1\n[a]\nc = 1", "'a' is there already, in line 1: leave one of the two out", 2),
        ("a = 1\n[a.b]", "'a' is there already, in line 1: leave one of the two out", 2),
        (
            "a = [1, { b = 1,\n c = { d = 'b = 3' }, b = 2 }]",
            "'a.b' is there already, in line 1: leave one of the two out",
            2,
        ),
        ("a = { b = 1, b = 2 }", "'a.b' is there already, in line 1: leave one of the two out", 1),
        # What follows is no TOML either.
        ("a = [{ b = 1, b = 2 }, [ } ]]", "'a.b' is there already, in line 1: leave one of the two out", 1),
        ("a = { b = 1, b = 2", "'a.b' is there already, in line 1: leave one of the two out", 1),
    ],
)
def test_a_repeated_key_or_table_is_told_with_both_places(
    faults: Faulty, text: str, message: str, line: int
) -> None:
    [fault] = faults(text)
    assert (fault.message, fault.line) == (message, line)
