"""Reading of single values: durations, sizes, rates, paths. From text to value."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import PydanticCustomError, core_schema

from sockd.errors import ValueFault

MAX_DURATION = 366 * 86400.0
"""Seconds: 366d. A longer duration is a mistake of the unit, and timers need an end."""

MAX_SIZE = 2**40
"""Bytes: 1024GiB. More than any buffer has."""

MAX_COUNT = 10**9
"""Number above any that one process sees in any of the units of time."""

_NUMBERS = ("int", "float", "nullable")
"""Types of pydantic's core schemas that a field can bound."""


@dataclass(frozen=True, slots=True, eq=False)  # hashed by identity, as `Annotated` needs it
class Written:
    """Reader of a value from its text in the file, for pydantic.

    Args:
        expected: the expected value, as a phrase.
        read: returns the value; raises ValueFault.
        schema: the JSON Schema of the text.
        number: whether a whole number is valid too.
        max_file: bytes of a file that stands for the value; without it, the default.
    """

    expected: str
    read: Callable[[Any], Any]
    schema: Mapping[str, Any]
    number: bool = False
    max_file: int | None = None

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
            kept = (info.context or {}).get("kept") if self.max_file else None
            if kept is None:
                return self.read(value)
            # A table is validated twice; half a million networks are not.
            if (self, value) not in kept:
                kept[self, value] = self.read(value)
            return kept[self, value]
        if info.context is None:
            return value  # not from a file: code gives the value itself
        context = {"max_file": self.max_file} if self.max_file else None
        raise PydanticCustomError("written_type", f"Input should be {self.expected}", context)


_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_A_DURATION = 'a duration such as "30s"'
# Fifteen digits are exact as a float; more are no duration.
_PART = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,15})?)(?P<unit>[^0-9.]*)")


def read_duration(text: str) -> float:
    """Return the seconds of `250ms`, `30s` or `1m30s`."""
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


def _or_off(what: str, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a reader of the same values except 0, and of `off`, which is None."""

    def read_or_off(value: str | int) -> Any:
        if value == "off":
            return None
        found = read(value)
        if not found:
            raise ValueFault(f'{what} above 0, or "off"', repr(value))
        return found

    return read_or_off


_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"(?P<number>[0-9]{1,15})(?P<unit>.*)", re.DOTALL)
_A_SIZE = 'a size such as "64KiB", or a number of bytes'


def read_size(value: str | int) -> int:
    """Return the bytes of `64KiB`, `10MB` or a bare number."""
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


@dataclass(frozen=True, slots=True)
class Rate:
    """Rate of events: `count` in `seconds`."""

    count: int
    seconds: float


_PER = {"s": 1.0, "m": 60.0, "h": 3600.0}
_A_RATE = 'a rate such as "100/s"'
_RATE = re.compile(r"(?P<count>[0-9]{1,15})(?:/(?P<unit>.*))?", re.DOTALL)


def read_rate(text: str) -> Rate:
    """Return the rate of `100/s`, `60/m` or `5000/h`."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise ValueFault(_A_RATE, repr(text))
    count, unit = found["count"], found["unit"]
    if unit is None:
        raise ValueFault(_A_RATE, repr(text), nearest=f"{count}/s")
    if unit not in _PER:
        raise ValueFault(
            f"a unit ({', '.join(_PER)})",
            repr(unit),
            offset=found.start("unit") if unit else len(count),
            nearest=_meant(f"{count}/", unit, _PER),
        )
    if not 1 <= int(count) <= MAX_COUNT:
        raise ValueFault(f"a number from 1 to {MAX_COUNT}", repr(count), length=len(count))
    return Rate(int(count), _PER[unit])


_A_COUNT_OR_OFF = 'a whole number, or "off"'
_DIGITS = re.compile(r"[0-9]{1,15}")


def _read_count(value: str | int) -> int:
    # A plain string has the type that it was written with; text from outside has none.
    if isinstance(value, str) and (type(value) is str or not _DIGITS.fullmatch(value)):
        raise ValueFault(_A_COUNT_OR_OFF, f'a string "{value}"')
    if not 0 <= int(value) <= MAX_COUNT:
        raise ValueFault(f"a number from 1 to {MAX_COUNT}", str(value))
    return int(value)


def _meant(number: str, unit: str, units: Collection[str]) -> str | None:
    """Return what was probably meant by a number with an unknown unit: `30s` for `30 sec`."""
    word = unit.strip().lower()
    fitting = [known for known in units if known.lower().startswith(word) or word.startswith(known.lower())]
    return f"{number}{max(fitting, key=len)}" if word.isalpha() and fitting else None


def _read_path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueFault("a path", repr(text))
    return Path(text)


def folder_of(info: ValidationInfo) -> Path:
    """Return the folder of the file that a value is written in."""
    context: Mapping[str, Path] = info.context or {}
    return context.get("folder", Path())


_DURATION_PATTERN = r"([0-9.]+(d|h|m|s|ms))+"

_SIZE_PATTERN = f"[0-9]+({'|'.join(_BYTES)})?"

Duration = Annotated[
    float,
    Written(
        expected=_A_DURATION,
        read=read_duration,
        schema={"type": "string", "pattern": f"^{_DURATION_PATTERN}$"},
    ),
]
"""Seconds, written `250ms`, `30s`, `10m`, `2h`, `1d` or together: `1m30s`."""

SomeTime = Annotated[Duration, Field(gt=0)]
"""Duration above 0."""

DurationOrOff = Annotated[
    float | None,
    Written(
        expected=f'{_A_DURATION}, or "off"',
        read=_or_off("a duration", read_duration),
        schema={"type": "string", "pattern": f"^(off|{_DURATION_PATTERN})$"},
    ),
]
"""Duration above 0, or None, written `off`: never."""

Size = Annotated[
    int,
    Written(
        expected=_A_SIZE,
        read=read_size,
        schema={"type": ["integer", "string"], "minimum": 0, "pattern": f"^{_SIZE_PATTERN}$"},
        number=True,
    ),
]
"""Bytes, written `512B`, `64KiB`, `10MB` or as a bare number."""

SizeOrOff = Annotated[
    int | None,
    Written(
        expected=f'{_A_SIZE}, or "off"',
        read=_or_off("a size", read_size),
        schema={"type": ["integer", "string"], "minimum": 1, "pattern": f"^(off|{_SIZE_PATTERN})$"},
        number=True,
    ),
]
"""Size above 0, or None, written `off`: any."""

RateOrOff = Annotated[
    Rate | None,
    Written(
        expected=f'{_A_RATE}, or "off"',
        read=_or_off("a rate", read_rate),
        schema={"type": "string", "pattern": f"^(off|[0-9]+/({'|'.join(_PER)}))$"},
    ),
]
"""Rate, or None, written `off`: any."""

CountOrOff = Annotated[
    int | None,
    Written(
        expected=_A_COUNT_OR_OFF,
        read=_or_off("a whole number", _read_count),
        schema={"type": ["integer", "string"], "minimum": 1, "pattern": "^off$"},
        number=True,
    ),
]
"""Number above 0, or None, written `off`: any."""

FilePath = Annotated[
    Path,
    Written("a path", _read_path, {"type": "string", "minLength": 1}),
    AfterValidator(lambda path, info: Path(folder_of(info), path)),
]
"""Path; a relative one counts from the folder of the file it is written in."""
