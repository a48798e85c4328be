"""Progress of a run on a terminal: bytes that the server has on its disk, their rate, and the time left."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sockd.cli.send.items import Item
from sockd.text import printable


class Progress:
    """Progress that nobody sees."""

    def moved(self, item: Item, durable: int) -> None:
        """Note how many bytes of a file are durable."""

    def ended(self, item: Item) -> None:
        """Note that a file has its outcome."""


class Bar(Progress):
    """Progress bar.

    Args:
        bar: of the library.
        items: what is to be sent.
    """

    def __init__(self, bar: Any, items: Sequence[Item]) -> None:
        self._bar = bar
        self._lock = threading.Lock()
        self._durable: dict[Item, int] = {}
        self._sum = self._files = 0
        self._count = len(items)
        sizes = [item.size for item in items]
        total = None if None in sizes else sum(size or 0 for size in sizes)
        self._task = bar.add_task(self._title(items[0] if len(items) == 1 else None), total=total)

    def moved(self, item: Item, durable: int) -> None:
        """Implement `Progress.moved`."""
        with self._lock:
            self._sum += durable - self._durable.get(item, 0)
            self._durable[item] = durable
            self._bar.update(self._task, completed=self._sum)

    def ended(self, item: Item) -> None:
        """Implement `Progress.ended`."""
        with self._lock:
            self._durable.pop(item, None)
            self._files += 1
            if self._count > 1:
                self._bar.update(self._task, description=self._title(None))

    def _title(self, item: Item | None) -> str:
        return printable(item.path) if item else f"{self._files} of {self._count} files"


@contextmanager
def showing(items: Sequence[Item], *, quiet: bool) -> Iterator[Progress]:
    """Show the progress, if standard error is a terminal."""
    if quiet or not items or not sys.stderr.isatty():
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    # Lines on standard output stay there, if it is no terminal.
    redirect = sys.stdout.isatty()
    console = Console(stderr=True)
    with RichProgress(*columns, console=console, transient=True, redirect_stdout=redirect) as bar:
        yield Bar(bar, items)
