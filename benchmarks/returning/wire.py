"""Contract of the clients: one class for each protocol of the chat."""

from __future__ import annotations

from asyncio import Future, Task, create_task
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

ROOM = "lobby"

Take = Callable[[int, str, str], None]
"""Takes number, speaker and text of a message."""


class Cut(Exception):
    """End of a connection, or a refusal that a later try may not get."""


_running: set[Task[None]] = set()  # of which the loop itself has only weak references


def in_background(work: Coroutine[Any, Any, None]) -> None:
    """Run something to its end."""
    task = create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)


def give_up(*awaited: Future[Any] | None) -> None:
    """End whatever waits for answers of a connection that is gone."""
    for future in awaited:
        if future is not None and not future.done():
            future.set_exception(Cut())
            future.exception()  # counts as seen, if nobody waits


class Wire(Protocol):
    """Connection of one person that is in the room."""

    async def mark(self) -> int:
        """Return the number of the last message, behind which everything comes by itself."""

    async def since(self, number: int) -> None:
        """Return once messages behind a number have come, as many as one answer has."""

    async def say(self, text: str) -> None:
        """Send a message."""

    def cut(self, gently: bool) -> None:
        """Leave, or vanish without a word."""


Open = Callable[[str, Take, Callable[[], None]], Awaitable[Wire]]
"""Enters the room under a name; calls back for each message, and once the connection is gone.

Raises:
    Cut: that is not possible now.
"""
