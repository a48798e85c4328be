"""Run of the command, as all of its connections know it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sockd.cli.send.items import Item
from sockd.cli.send.memory import Memory
from sockd.cli.send.source import Source, open_source
from sockd.cli.send.work import Outcome, Work


@dataclass(frozen=True, slots=True)
class Run:
    """Run of the command.

    Attributes:
        work: the files that wait.
        memory: the ids of unfinished uploads.
        moved: called with an item and the bytes of it that are durable.
    """

    work: Work
    memory: Memory
    moved: Callable[[Item, int], object]

    def open(self, item: Item, *, spooled: bool) -> Source:
        """Open the data of a file, if that was not done before.

        Args:
            item: the file.
            spooled: whether the server has to know its size.

        Raises:
            Unreadable: it cannot be opened.
        """
        if item.source is None:
            item.source = open_source(item.path, spooled=spooled)
            item.size = item.source.size
        return item.source

    def note(self, item: Item, durable: int) -> None:
        """Note how many bytes of a file are durable on the server."""
        if durable > item.durable:
            self.work.move()
            item.restarts = 0
        item.durable = durable
        if item.source is not None:
            item.source.forget(durable)
        self.moved(item, durable)

    def forget(self, item: Item) -> None:
        """Forget the unfinished upload of a file, with which it will not go on."""
        self.memory.forget(item)
        item.id, item.durable = "", 0

    def end(self, outcome: Outcome) -> None:
        """Note the outcome of a file that was sent on its own."""
        item = outcome.item
        self.memory.forget(item)
        if item.source is not None:
            item.source.close()
            item.source = None
        if outcome.status in ("stored", "there"):
            self.moved(item, outcome.size)
        self.work.finish(outcome)
