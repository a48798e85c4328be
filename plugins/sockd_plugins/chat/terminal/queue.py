"""Lines of one person, executed one after the other, also where one takes time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

MOST_WAITING = 64
"""Lines that wait at most while an earlier one reads the history, or has a password checked."""

Work = Coroutine[Any, Any, None]


class Queue:
    """Lines of one person.

    Args:
        execute: executes a line; returns what is left to be awaited, or None.
        note_failure: is told of an exception while something is awaited.
    """

    def __init__(
        self, execute: Callable[[str], Work | None], note_failure: Callable[[Failure], object]
    ) -> None:
        self._execute = execute
        self._note_failure = note_failure
        self._waiting: deque[str] = deque()
        self._busy = False

    def take(self, line: str) -> bool:
        """Execute a line in its turn; return False if too many wait."""
        if len(self._waiting) >= MOST_WAITING:
            return False
        self._waiting.append(line)
        self._go_on()
        return True

    def clear(self) -> None:
        """Drop the lines that wait."""
        self._waiting.clear()

    def _go_on(self) -> None:
        while self._waiting and not self._busy:
            work = self._execute(self._waiting.popleft())
            if work is not None:
                self._busy = True
                Deferred.fromCoroutine(work).addErrback(self._note_failure).addBoth(self._done)

    def _done(self, _: object) -> None:
        self._busy = False
        self._go_on()
