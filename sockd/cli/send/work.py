"""Work of a run: the files that wait, and what has become of the others. The threads of a run share it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sockd.cli.send.items import Item

Status = Literal["stored", "there", "refused", "unreadable", "unsent", "interrupted"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Fate of an item.

    Attributes:
        item: the item.
        status: `stored`; `there` if the same file was on the server already; `refused` by the server;
            `unreadable` here; `unsent` for want of a connection; `interrupted`.
        name: on the server.
        size: in bytes.
        digest: `ALGORITHM=HEX` of what is stored.
        why: it is not stored.
        receipt: of the server, as JSON.
    """

    item: Item
    status: Status
    name: str = ""
    size: int = 0
    digest: str = ""
    why: str = ""
    receipt: str = ""


class Work:
    """Files that wait, and the outcome of the others.

    Args:
        items: what is to be sent.
        told: called with each outcome, in any thread, one at a time.

    Attributes:
        interrupted: whether the run is to end.
        moved_at: time of the last progress, of the monotonic clock.
    """

    def __init__(self, items: Sequence[Item], told: Callable[[Outcome], object]) -> None:
        self.interrupted = False
        self.moved_at = time.monotonic()
        self._small = deque(item for item in items if item.small)
        self._large = deque(item for item in items if not item.small)
        self._left = len(items)
        self._told = told
        self._changed = threading.Condition()

    def take_small(self) -> Item | None:
        """Take the next small file."""
        with self._changed:
            return self._small.popleft() if self._small else None

    def take_large(self) -> Item | None:
        """Take the next file that is sent on its own."""
        with self._changed:
            return self._large.popleft() if self._large else None

    def put_back(self, items: Iterable[Item]) -> None:
        """Let files that were taken wait again, before the others."""
        with self._changed:
            for item in reversed(list(items)):
                (self._small if item.small else self._large).appendleft(item)
            self._changed.notify_all()

    def finish(self, outcome: Outcome) -> None:
        """Note what has become of a file."""
        with self._changed:
            self._left -= 1
            if outcome.status in ("stored", "there"):
                self.moved_at = time.monotonic()
            self._told(outcome)
            self._changed.notify_all()

    def move(self) -> None:
        """Note progress."""
        self.moved_at = time.monotonic()

    def give_up(self, why: str) -> None:
        """Finish all files that wait as unsent."""
        for item in self._waiting():
            self.finish(Outcome(item, "unsent", why=why))

    def deny(self, why: str) -> None:
        """Finish all files that wait as refused."""
        for item in self._waiting():
            self.finish(Outcome(item, "refused", why=why))

    def abandon(self, why: str) -> None:
        """Finish all files that wait as interrupted."""
        for item in self._waiting():
            self.finish(Outcome(item, "interrupted", why=why))

    @property
    def waits(self) -> int:
        """Number of files that nobody has taken."""
        return len(self._small) + len(self._large)

    @property
    def done(self) -> bool:
        """True if every file has its outcome."""
        return self._left <= 0

    def wait(self, seconds: float) -> None:
        """Wait until there is something to take, or everything is done."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self.waits) or self.done or self.interrupted, seconds)

    def interrupt(self) -> None:
        """End the run: lanes stop at their next step."""
        self.interrupted = True
        with self._changed:
            self._changed.notify_all()

    def _waiting(self) -> list[Item]:
        with self._changed:
            items = [*self._small, *self._large]
            self._small.clear()
            self._large.clear()
        return items
