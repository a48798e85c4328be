"""Errors of pydantic, as faults at their places and in an operator's words."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from sockd.config.document import MAX_FAULTS, Document, Faults, Secret, sentence, where
from sockd.config.positions import KeyPath
from sockd.errors import ValueFault

_EXPECTED = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": "a string",
    "path_type": "a path",
    "list_type": "an array",
    "tuple_type": "an array",
    "set_type": "an array",
    "frozen_set_type": "an array",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dataclass_type": "a table",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "{min_length} or more entries",
    "too_long": "{max_length} or fewer entries",
    "string_too_short": "{min_length} or more characters",
    "string_too_long": "{max_length} or fewer characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "literal_error": "{expected}",
    "enum": "{expected}",
}
"""Expected value by pydantic's name of the error; for all others its own message is shown."""

_SHOULD_BE = re.compile("Input (should be|is not) ")

_MAX_SHOWN = 40
"""Characters of a value that a message repeats; the line itself stands below it."""


def diagnose(
    errors: Sequence[ErrorDetails], model: type[BaseModel], document: Document, table: KeyPath, faults: Faults
) -> None:
    """Add the faults that `model` found in `table`."""
    by_path: dict[KeyPath, list[ErrorDetails]] = {}
    for error in errors:
        path = (*table, *steps_in(document.get(table), error["loc"]))
        # A missing key has no place of its own, and takes that of its table.
        path = (*path, error["loc"][-1]) if error["type"] == "missing" else path
        by_path.setdefault(path, []).append(error)
    around = {path[:length] for path in by_path for length in range(len(path))}
    for path, several in by_path.items():
        loc = several[0]["loc"]
        match several[0]["type"]:
            case "extra_forbidden":
                unknown_key(document, path, known_keys(model, tuple(loc[:-1])), faults)
            case "missing":
                faults.add(document, path, _about_key("missing", path), expected=str(loc[-1]))
            # A value with faults inside is of the right kind, at least for one member of a union.
            case _ if path not in around:
                _wrong_value(document, path, several, faults)


def steps_in(value: Any, loc: Iterable[str | int]) -> KeyPath:
    """Return the steps of pydantic's location that exist in the value; others name members of a union."""
    path: KeyPath = ()
    for step in loc:
        known = isinstance(value, dict) and step in value
        if known or (isinstance(value, list) and isinstance(step, int) and step < len(value)):
            value = value[step]
            path = (*path, step)
    return path


@lru_cache(maxsize=64)  # a plugin's models are few, and the unknown keys of one table may be many
def known_keys(model: type[BaseModel], loc: KeyPath) -> list[str]:
    """Return the keys that the table at a location takes, in the order in which they are declared."""
    models = [model]
    for step in loc:
        fields = [field for each in models for key, field in _fields(each) if key == step]
        models = [inner for field in fields for inner in _models_in(field.annotation)] or models
    return list(dict.fromkeys(key for each in models for key, _ in _fields(each)))


def _fields(model: type[BaseModel]) -> Iterable[tuple[str, Any]]:
    return [
        (field.validation_alias if isinstance(field.validation_alias, str) else name, field)
        for name, field in model.model_fields.items()
    ]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that a type is made of: of `tuple[Listener, ...]`, Listener."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def unknown_key(document: Document, path: KeyPath, known: Sequence[str], faults: Faults) -> None:
    """Add a fault for the key at the end of `path`, which its table does not have, with those that it has."""
    key = str(path[-1])
    faults.add_key(
        document,
        path,
        _about_key("unknown", path),
        expected=f"one of: {', '.join(known)}" if known else "no keys",
        found=key,
        nearest=nearest(key, known) if len(faults) < MAX_FAULTS else None,
    )


def _about_key(fault: str, path: KeyPath) -> str:
    owner, inner = where(path[:-1])
    place = f" in {inner}" if inner else ""
    return f"{owner}: {fault} key '{path[-1]}'{place}".removeprefix(": ")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant."""
    return next(iter(get_close_matches(word.lower(), list(known), n=1)), None)


def _wrong_value(document: Document, path: KeyPath, errors: Sequence[ErrorDetails], faults: Faults) -> None:
    """Add one fault about a value, even if it fits none of several alternatives."""
    value = document.get(path)
    hidden = isinstance(value, Secret)
    cause = errors[0].get("ctx", {}).get("error")
    own = _own_words(errors[0])
    if own is not None:
        faults.add(document, path, sentence(path, own.replace(value, "…") if hidden and value else own))
        return
    fault = cause if isinstance(cause, ValueFault) else _value_fault(document, path, errors)
    found = _shown(document, path, offset=fault.offset) if hidden else fault.found
    faults.mark(
        document,
        path,
        document.part(path, fault.offset, fault.length),
        sentence(path, f"expected {fault.expected}, found {found}"),
        expected=fault.expected,
        found=found,
        nearest=None if hidden else fault.nearest,
    )


def _value_fault(document: Document, path: KeyPath, errors: Sequence[ErrorDetails]) -> ValueFault:
    """Return the common meaning of pydantic's errors about one value."""
    kind, context = errors[0]["type"], errors[0].get("ctx", {})
    value = document.get(path)
    if "actual_length" in context:
        found = str(context["actual_length"])
    elif kind.startswith("string_too_") and isinstance(value, str):
        found = str(len(value))
    else:
        found = _shown(document, path, with_type=kind.endswith(("_type", "_parsing")))
    choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    expected = " or ".join(dict.fromkeys(_phrase(error) for error in errors))
    return ValueFault(expected, found, nearest=nearest(str(value), choices))


def _phrase(error: ErrorDetails) -> str:
    """Return what pydantic expected, as a phrase after `expected`."""
    template = _EXPECTED.get(error["type"])
    if template is not None:
        return template.format(**error.get("ctx", {}))
    return _SHOULD_BE.sub("", error["msg"], count=1)


def _own_words(error: ErrorDetails) -> str | None:
    """Return the message of a validator that does not say what was expected, on one line."""
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ValueFault):
        return None
    if cause is None and (error["type"] in _EXPECTED or _SHOULD_BE.match(error["msg"])):
        return None
    text = error["msg"] if cause is None else str(cause) or type(cause).__name__
    return " ".join(text.split())


def _shown(document: Document, path: KeyPath, *, with_type: bool = False, offset: int = 0) -> str:
    """Return a value as a message shows it; of one from outside the text only its place."""
    match document.get(path):
        case bool() as value:
            return str(value).lower()
        case Secret() as value:
            span = document.span(path)
            line = f"line {value.count(chr(10), 0, offset) + 1} of " if "\n" in value else ""
            return f"something else in {line}{_short(document.text[span.start : span.end])}"
        case str() as value:
            return f'a string "{_short(value)}"' if with_type else f"'{_short(value)}'"
        case list():
            return "an array"
        case dict():
            return "a table"
        case datetime.date() | datetime.time() as value:
            return f"the date or time {value}"
        case value:
            return str(value)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
