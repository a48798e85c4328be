"""Events that threads of the disk tell; the reactor writes them to the log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.interfaces import IReactorFromThreads

from sockd.plugin import Context


def tell_lost_receipt(context: Context, path: str, reason: str) -> None:
    """Write to the log that a receipt could not be written."""
    _write(context, lambda: context.logger.warn("receipt not written", file=path, reason=reason))


def tell_moved(context: Context, directory: Path) -> None:
    """Write to the log that the directory was moved, and that files go to the one in its place."""
    _write(context, lambda: context.logger.warn("directory was moved", folder=str(directory)))


def _write(context: Context, write: Callable[[], object]) -> None:
    if (reactor := IReactorFromThreads(context.clock, None)) is None:
        write()
    else:
        reactor.callFromThread(write)
