"""Commands of the conversation in JSON: objects with `type` and further fields, checked one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from sockd_plugins.chat.hub.events import Kind
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.web.options import MOST_ROOMS

MOST_BYTES = 32_768
"""Bytes of a command: the longest message with each character escaped, and its frame."""

MOST_MESSAGES = 200
"""Messages in an answer."""

MOST_FOUND = 50
"""Messages in the answer to a search."""

MOST_TEXT = 4096
"""Bytes of a word, such as a name or a key; the hub bounds each of them further."""

MOST_REF = 64
"""Characters of a `ref`."""

_LARGEST = 2**53
"""Numbers up to this one are exact in every JSON program (RFC 8259, 6)."""


def bad(text: str) -> ChatRefused:
    """Return the refusal of a command that cannot be read."""
    return ChatRefused("bad_command", text)


class Command:
    """Command of a client.

    Args:
        text: JSON.

    Attributes:
        type: what is to be done.
        ref: word or number by which the client knows the answer; None for none.

    Raises:
        ChatRefused: it is no object with a type.
    """

    def __init__(self, text: str) -> None:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            raise bad("expected an object in JSON") from None
        if not isinstance(value, dict):
            raise bad("expected an object in JSON")
        self._fields: Mapping[str, Any] = value
        ref = value.get("ref")
        is_word = isinstance(ref, str) and len(ref) <= MOST_REF
        is_number = isinstance(ref, int) and not isinstance(ref, bool) and abs(ref) <= _LARGEST
        self.ref: str | int | None = ref if is_word or is_number else None
        self.type = self.word("type")

    def word(self, name: str, default: str | None = None) -> str:
        """Return a text; without a default it must be there."""
        value = self._fields.get(name, default)
        if not isinstance(value, str):
            raise bad(f"expected a text as {name!r}")
        if len(value.encode("utf-8", "replace")) > MOST_TEXT * 4:
            raise bad(f"expected at most {MOST_TEXT * 4} bytes as {name!r}")
        return value.encode("utf-8", "replace").decode()  # without lone surrogates

    def number(self, name: str, default: int | None = None, most: int = _LARGEST) -> int:
        """Return a whole number from 0; without a default it must be there; at most `most` counts."""
        value = self._fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST:
            raise bad(f"expected a whole number from 0 as {name!r}")
        return min(value, most)

    def optional_number(self, name: str) -> int | None:
        """Return a whole number from 0, or None if it is missing."""
        return self.number(name) if self._fields.get(name) is not None else None

    def flag(self, name: str) -> bool:
        """Return a truth value; false if it is missing."""
        value = self._fields.get(name, False)
        if not isinstance(value, bool):
            raise bad(f"expected true or false as {name!r}")
        return value

    def kind(self) -> Kind:
        """Return the kind of a message."""
        value = self.word("kind", "said")
        for kind in get_args(Kind):
            if value == kind:
                return kind  # type: ignore[no-any-return]  # it is one of the literals
        raise bad(f"expected one of {', '.join(get_args(Kind))} as 'kind'")

    def rooms(self) -> dict[str, int | None]:
        """Return the rooms of `hello`, each with the number of the last message that is known."""
        value = self._fields.get("rooms", {})
        if not isinstance(value, dict) or len(value) > MOST_ROOMS:
            raise bad(f"expected an object of at most {MOST_ROOMS} rooms as 'rooms'")
        for number in value.values():
            if number is not None and (
                not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _LARGEST
            ):
                raise bad("expected a whole number from 0, or null, for each room")
        return value
