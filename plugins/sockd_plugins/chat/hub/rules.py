"""Rules of a chat and of its rooms, as they are configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ReadBack = Literal["all", "joined", "none"]
"""Messages that a person may read again: all that are kept; those since its account entered for the first
time; or those since its present entry."""

DEFAULT = "nt"
"""Flags of a room that nobody has configured."""


@dataclass(frozen=True, slots=True)
class RoomRules:
    """Configured properties of a room; the options of `Chat` describe them."""

    topic: str = ""
    owners: frozenset[str] = frozenset()
    key: str = ""
    modes: str = DEFAULT
    read_back: ReadBack = "all"


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds of a chat; the options of `Chat` describe them."""

    room: str
    max_members: int
    max_rooms: int
    name_length: int
    message_length: int
    history: int
    rate: float
    burst: int
    rooms: Mapping[str, RoomRules] = field(default_factory=dict)
