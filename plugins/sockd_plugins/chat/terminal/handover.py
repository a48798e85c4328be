"""Handover of a name to a later connection of the same program, which knows the key of the earlier one.

A lost network tells a server nothing: the earlier connection holds the name until it is found to be dead.
"""

from __future__ import annotations

import re
from hmac import compare_digest
from typing import Protocol, runtime_checkable

from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.terminal.forms import Mode, notice

_KEY = re.compile(r"[!-~]{16,64}")


@runtime_checkable
class Holder(Protocol):
    """Outlet that may hand its person's name over."""

    mode: Mode

    def hand_over(self) -> None:
        """Learn that the person has gone on elsewhere."""


def choose_key(mode: Mode, key: str) -> str:
    """Set the key of a person; return the answer."""
    if not _KEY.fullmatch(key):
        raise ChatRefused("bad_key", "a key is 16 to 64 printable characters")
    mode.key = key
    return notice("the key is set")


def take_over(hub: Hub, name: str, mode: Mode) -> None:
    """Free a name that an earlier connection with the same key holds."""
    person = hub.find(name)
    if person is None or not mode.key:
        return
    outlet = person.outlet
    if isinstance(outlet, Holder) and outlet.mode is not mode and compare_digest(outlet.mode.key, mode.key):
        hub.leave(person, "connected again")
        outlet.hand_over()
