"""Command of IRC: what runs it, and what it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sockd_plugins.chat.irc.client import Client
from sockd_plugins.chat.irc.message import Message


@dataclass(frozen=True, slots=True)
class Command:
    """Command of IRC.

    Attributes:
        run: answers it; with something to await if the answer takes time.
        least: parameters that it needs.
        early: whether a client may send it before it has registered.
    """

    run: Callable[[Client, Message], Awaitable[None] | None]
    least: int = 0
    early: bool = False
