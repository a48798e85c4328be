"""How single values are written in the file: durations, sizes, endpoints. From text to value."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from sockd.errors import ValueFault

MAX_DURATION = 366 * 86400.0
"""Seconds: 366d. A longer one is a slip of the unit, and timers need an end."""

MAX_SIZE = 2**40
"""Bytes: 1024GiB. More than any buffer has."""


_NUMBERS = ("int", "float", "nullable")
"""Types of pydantic's core schemas that a field can bound."""


@dataclass(frozen=True, slots=True, eq=False)  # hashed by identity, as `Annotated` needs it
class Written:
    """Tells pydantic how a value is read from what stands in the file.

    Args:
        expected: what should stand there, as a phrase.
        read: makes the value; raises ValueFault.
        schema: the JSON Schema of what may stand there.
        number: whether a whole number is fine too.
    """

    expected: str
    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    number: bool = False

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        inner = handler(source)
        if inner["type"] in _NUMBERS:
            # Bounds of a field may come before this in its metadata; they are in the inner schema then.
            return core_schema.with_info_before_validator_function(self._value, inner)
        return core_schema.with_info_plain_validator_function(self._value)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return dict(self.schema)

    def _value(self, value: object, info: core_schema.ValidationInfo) -> Any:
        if isinstance(value, str) or (self.number and type(value) is int):
            return self.read(value)
        if info.context is None:
            return value  # not from a file: code gives the value itself
        raise PydanticCustomError("written_type", f"Input should be {self.expected}")


_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_A_DURATION = 'a duration such as "30s"'
# Fifteen digits are exact as a float; more are no duration.
_PART = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,15})?)(?P<unit>[^0-9.]*)")


def read_duration(text: str) -> float:
    """Seconds from `250ms`, `30s` or `1m30s`."""
    seconds, at, units = 0.0, 0, list(_SECONDS)
    while at < len(text) or not text:
        part = _PART.match(text, at)
        if part is None:
            raise ValueFault(_A_DURATION, repr(text), offset=at)
        if part["unit"] not in units:
            again = part["unit"] in _SECONDS
            raise ValueFault(
                "large units first, each once" if again else f"a number with a unit ({', '.join(_SECONDS)})",
                repr(part[0]),
                offset=at,
                length=len(part[0]),
                nearest=None if again else _meant(part["number"], part["unit"] or "s", _SECONDS),
            )
        units = units[units.index(part["unit"]) + 1 :]
        seconds += float(part["number"]) * _SECONDS[part["unit"]]
        at = part.end()
    if seconds > MAX_DURATION:
        raise ValueFault("at most 366d", repr(text))
    return seconds


def _duration_or_off(text: str) -> float | None:
    if text == "off":
        return None
    seconds = read_duration(text)
    if not seconds:
        raise ValueFault('a duration above 0, or "off"', repr(text))
    return seconds


_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"(?P<number>[0-9]{1,15})(?P<unit>.*)", re.DOTALL)
_A_SIZE = 'a size such as "64KiB", or a number of bytes'


def read_size(value: str | int) -> int:
    """Bytes from `64KiB`, `10MB` or a bare number."""
    size = value
    if isinstance(size, str):
        found = _SIZE.fullmatch(size)
        if found is None:
            raise ValueFault(_A_SIZE, repr(value))
        number, unit = found["number"], found["unit"] or "B"
        if unit not in _BYTES:
            nearest = _meant(number, unit, _BYTES)
            raise ValueFault(f"a unit ({', '.join(_BYTES)})", repr(value), nearest=nearest)
        size = int(number) * _BYTES[unit]
    if not 0 <= size <= MAX_SIZE:
        raise ValueFault("from 0 to 1024GiB", repr(value))
    return size


def _meant(number: str, unit: str, units: Collection[str]) -> str | None:
    """What was probably meant by a number with a unit that is none: `30s` by `30 sec`."""
    word = unit.strip().lower()
    fitting = [known for known in units if known.lower().startswith(word) or word.startswith(known.lower())]
    return f"{number}{max(fitting, key=len)}" if word.isalpha() and fitting else None


_DURATION_PATTERN = r"([0-9.]+(d|h|m|s|ms))+"

Duration = Annotated[
    float,
    Written(
        expected=_A_DURATION,
        read=read_duration,
        schema={"type": "string", "pattern": f"^{_DURATION_PATTERN}$"},
    ),
]
"""Seconds, written `250ms`, `30s`, `10m`, `2h`, `1d` or together: `1m30s`."""

DurationOrOff = Annotated[
    float | None,
    Written(
        expected=f'{_A_DURATION}, or "off"',
        read=_duration_or_off,
        schema={"type": "string", "pattern": f"^(off|{_DURATION_PATTERN})$"},
    ),
]
"""A duration above 0, or None, written `off`: never."""

Size = Annotated[
    int,
    Written(
        expected=_A_SIZE,
        read=read_size,
        schema={"type": ["integer", "string"], "minimum": 0, "pattern": f"^[0-9]+({'|'.join(_BYTES)})?$"},
        number=True,
    ),
]
"""Bytes, written `512B`, `64KiB`, `10MB` or as a bare number."""
