"""Masks of people: a pattern of name, user and host, or an account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sockd_plugins.chat.hub.names import fold

LONGEST = 100
"""Characters of a mask."""

_OF_ACCOUNT = "$a:"


class Who(Protocol):
    """Person as a mask sees it: name, account ("" without one), and host as others are shown it."""

    name: str
    account: str
    host: str


@dataclass(frozen=True, slots=True)
class Mask:
    """Mask that a person fits or not.

    `eve*` is `eve*!*@*`, and `*@192.0.2.*` is `*!*@192.0.2.*` (RFC 2812, 2.5: `*` is any text, `?` one
    character). `$a:eve` is whoever is logged in as eve, `$a:*` whoever is logged in at all. The user between
    `!` and `@` is the account; "-" for those without one.
    """

    text: str

    @classmethod
    def read(cls, text: str) -> Mask | None:
        """Return the mask that a text means; None if it is none."""
        if not text or len(text) > LONGEST or not text.isascii() or any(c <= " " or c == "," for c in text):
            return None
        text = text.lower()
        if text.startswith("$"):
            return cls(text) if text.startswith(_OF_ACCOUNT) and len(text) > len(_OF_ACCOUNT) else None
        name, bang, rest = text.partition("!")
        if not bang and "@" in name:
            name, rest = "*", name
        user, _, host = rest.partition("@")
        return cls(f"{name or '*'}!{user or '*'}@{host or '*'}")

    def fits(self, who: Who) -> bool:
        """Tell whether a person fits."""
        if self.text.startswith(_OF_ACCOUNT):
            return bool(who.account) and is_like(fold(who.account), self.text.removeprefix(_OF_ACCOUNT))
        return is_like(f"{who.name}!{who.account or '-'}@{who.host}".lower(), self.text)


def is_like(text: str, pattern: str) -> bool:
    """Tell whether a text fits a pattern with `*` and `?`, in time that no pattern makes long."""
    at = place = 0
    star, resumed = -1, 0  # place behind the last star, and where the text went on after it
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, resumed = place + 1, at
            place = star
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            at, place = at + 1, place + 1
        elif star >= 0:
            resumed += 1
            at, place = resumed, star
        else:
            return False
    return not pattern[place:].strip("*")
