"""Names of people and rooms: their letters, and which of them are too alike to be beside each other.

A name has ASCII letters, digits, `_`, `-` and `.`. Two names are the same if they differ in case alone:
`Ann`, `ann`. They are confusable if they look alike in some typeface: `alice`, `a1ice`, `AIice`. Of such
names one is in use at a time. Every other difference counts, so that `ann`, `ann_` and `ann__`, or `user1` to
`user10`, are possible beside each other: programs choose such names when the first one is taken.

Letters of other scripts are left out, although irssi shows them: ii keeps a file for each person and writes
`_` for each of their bytes, so that two people share one; IRC's case mapping knows ASCII alone; and whoever
cannot type a name cannot write to its bearer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

EXPECTED = "A-Z a-z 0-9 _ . -"
"""Words for the characters of a name."""

_CHARACTERS = re.compile(r"[A-Za-z0-9_.-]+")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_-])?")
"""Form of a name. A dash in front is an option on command lines; points in front are hidden or parent folders
for programs that keep a file for each name (ii(1)); one at the end reads as that of a sentence."""

_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "m": "rn", "w": "vv"})
"""Letters of a folded name that are drawn alike in some case and typeface: the ASCII part of the table of
Unicode Technical Standard 39, 4, which has 0 O, 1 l I and m rn, with vv w besides. As case does not count,
neither does it here: `i` is `I`, which is `l`."""

_SERVICES = frozenset(
    f"{role}serv".translate(_ALIKE)
    for role in ("auth", "bot", "chan", "host", "memo", "nick", "oper", "sasl", "user")
)
"""Shapes of the names of programs to which users of IRC send their password, some without being asked."""


def fold(name: str) -> str:
    """Return what all spellings of a name have in common. Names are ASCII (CASEMAPPING=ascii of IRC)."""
    return name.lower()


def shape(name: str) -> str:
    """Return what all names that look alike have in common: the skeleton of UTS 39."""
    return name.lower().translate(_ALIKE)


def is_name(name: str, longest: int) -> bool:
    """Tell whether a text can be the name of a person or a room.

    Args:
        name: any text.
        longest: characters at most.
    """
    return len(name) <= longest and _NAME.fullmatch(name) is not None


def fault_of(name: str, longest: int) -> str:
    """Return in one line why a text is no name; "" if it is one. Arguments as of `is_name`."""
    if is_name(name, longest):
        return ""
    if len(name) > longest or not _CHARACTERS.fullmatch(name):
        return f"a name is 1 to {longest} of {EXPECTED}"
    return "a name begins with a letter, a digit or _, and does not end with a point"


def is_of_service(name: str) -> bool:
    """Tell whether a name looks like that of a program that is told passwords, which no person may bear."""
    return shape(name) in _SERVICES


class Names(Generic[T]):
    """Namespace, in which each name has one bearer and no two names are confusable."""

    __slots__ = ("_bearers", "_spelt")

    def __init__(self) -> None:
        self._bearers: dict[str, T] = {}
        self._spelt: dict[str, str] = {}  # the name, by its shape

    def __len__(self) -> int:
        return len(self._bearers)

    def __iter__(self) -> Iterator[T]:
        """Yield each bearer, the first comer first."""
        return iter(self._bearers.values())

    def __contains__(self, name: str) -> bool:
        return fold(name) in self._bearers

    def find(self, name: str) -> T | None:
        """Return the bearer of a name, in any spelling; None if there is none."""
        return self._bearers.get(fold(name))

    def rival(self, name: str, own: str = "") -> str:
        """Return the name in use that is the same as a new name, or confusable with it; "" if there is none.

        Args:
            name: the new name.
            own: the present name of who wants it, which is no rival.
        """
        spelt = self._spelt.get(shape(name), "")
        return "" if spelt == own else spelt

    def give(self, name: str, bearer: T) -> None:
        """Give a name without a rival to a bearer."""
        self._bearers[fold(name)] = bearer
        self._spelt[shape(name)] = name

    def take(self, name: str) -> None:
        """Take a name in use from its bearer."""
        del self._bearers[fold(name)]
        del self._spelt[shape(name)]

    def clear(self) -> None:
        """Take all names from their bearers."""
        self._bearers.clear()
        self._spelt.clear()
