"""States of a conversation."""

from __future__ import annotations

from enum import Enum, auto


class Stage(Enum):
    """State of a conversation."""

    AWAY = auto()
    GREETING = auto()
    NAMING = auto()
    IN = auto()
    OVER = auto()
