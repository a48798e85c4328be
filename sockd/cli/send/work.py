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
        self._taken: set[Item] = set()
        self._told = told
        self._changed = threading.Condition()

    def take_small(self) -> Item | None:
        """Take the next small file."""
        return self._take(self._small)

    def take_large(self) -> Item | None:
        """Take the next file that is sent on its own."""
        return self._take(self._large)

    def _take(self, items: deque[Item]) -> Item | None:
        with self._changed:
            if not items:
                return None
            self._taken.add(item := items.popleft())
            return item

    def put_back(self, items: Iterable[Item]) -> None:
        """Let files that were taken wait again, before the others; those with an outcome keep that."""
        with self._changed:
            for item in reversed(list(items)):
                if item in self._taken:
                    self._taken.remove(item)
                    (self._small if item.small else self._large).appendleft(item)
            self._changed.notify_all()

    def finish(self, outcome: Outcome) -> None:
        """Note what has become of a file that was taken; only the first outcome counts."""
        with self._changed:
            if outcome.item not in self._taken:
                return
            self._taken.remove(outcome.item)
            if outcome.status in ("stored", "there"):
                self.moved_at = time.monotonic()
            self._told(outcome)
            self._changed.notify_all()

    def move(self) -> None:
        """Note progress."""
        self.moved_at = time.monotonic()

    def give_up(self, why: str) -> None:
        """Finish all files that wait as unsent."""
        self._finish_waiting("unsent", why)

    def deny(self, why: str) -> None:
        """Finish all files that wait as refused."""
        self._finish_waiting("refused", why)

    def abandon(self, why: str) -> None:
        """Finish all files without an outcome as interrupted, also those that a connection still has."""
        self._finish_waiting("interrupted", why)
        with self._changed:
            for item in tuple(self._taken):
                self.finish(Outcome(item, "interrupted", why=why))

    @property
    def waits(self) -> int:
        """Number of files that nobody has taken."""
        return len(self._small) + len(self._large)

    @property
    def done(self) -> bool:
        """True if every file has its outcome."""
        with self._changed:
            return not (self._small or self._large or self._taken)

    def wait(self, seconds: float) -> None:
        """Wait until there is something to take, or everything is done."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self.waits) or self.done or self.interrupted, seconds)

    def interrupt(self) -> None:
        """End the run: lanes stop at their next step."""
        self.interrupted = True
        with self._changed:
            self._changed.notify_all()

    def _finish_waiting(self, status: Status, why: str) -> None:
        while (item := self.take_small() or self.take_large()) is not None:
            self.finish(Outcome(item, status, why=why))
