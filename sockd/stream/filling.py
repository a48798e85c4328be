"""Reading into the buffers of a plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sockd.plugin import Sink


class Filled(Protocol):
    """Connection whose bytes go into buffers."""

    dataReceived: Callable[[bytes], None]  # Twisted's name

    @property
    def transport(self) -> Any:
        """Transport of the reactor, or what encrypts on top of it."""

    def deliver(self, data: bytes) -> None:
        """Hand data to the plugin."""

    def fault(self, callback: str) -> None:
        """End the connection, as its plugin has raised in a callback."""


class Filling:
    """Sink of a plugin, whose faults end its connection and nothing else.

    Args:
        connection: the one.
        sink: of its plugin.
    """

    __slots__ = ("_connection", "_sink")

    def __init__(self, connection: Filled, sink: Sink) -> None:
        self._connection = connection
        self._sink = sink

    def space(self) -> memoryview | None:
        """Return where the next bytes go; None to get them as `bytes`."""
        try:
            return self._sink.space()
        except BaseException:  # a plugin may raise anything
            self._connection.fault("space")
            return None

    def filled(self, size: int) -> None:
        """Hand on that so many bytes have come there."""
        try:
            self._sink.filled(size)
        except BaseException:  # a plugin may raise anything
            self._connection.fault("filled")


def reads_into(connection: Filled, sink: Sink | None) -> bool:
    """Read into the buffers of a plugin, if the transport can, and nothing looks at the bytes on their way.

    Args:
        connection: the one.
        sink: of its plugin; None to read as before.

    Returns:
        Whether it does.
    """
    read_into = getattr(connection.transport, "read_into", None)  # of sockd's reactor
    if read_into is None or connection.dataReceived != connection.deliver:
        return False
    return bool(read_into(None if sink is None else Filling(connection, sink)))
