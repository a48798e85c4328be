"""Twisted reactor whose TCP and UNIX streams run on uvloop's transports.

`install()` makes it the reactor of this process, and `twistd --reactor=uv` does so from the command line.
The package is independent: it imports nothing else of sockd.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from importlib.util import find_spec


def unavailable() -> str:
    """Say why this reactor cannot be installed here; empty if it can."""
    if find_spec("uvloop") is None:
        return "uvloop is not installed"
    try:
        import sockd.uvreactor.reactor  # noqa: F401  # whether it can be is the question
    except ImportError as error:
        return str(error)
    return ""


def install(eventloop: AbstractEventLoop | None = None) -> None:
    """Install this reactor as the global one.

    Args:
        eventloop: a loop of uvloop's to run on, a new one by default.

    Raises:
        ImportError: uvloop is not installed.
        twisted.internet.error.ReactorAlreadyInstalledError: another reactor is.
    """
    from sockd.uvreactor import reactor

    reactor.install(eventloop)
