"""How much of what a peer sends is handed to a plugin in one turn of the reactor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockd.connection import Connection

FEW = 4096
"""Bytes. No plugin takes long for so little, so nobody looks how long."""

MOST = 2**20
"""Bytes. No reactor reads more at once."""

BUDGET = 0.005
"""Seconds that one connection may have of a turn; the others wait meanwhile."""


class Pace:
    """How large a piece a service's plugin can take within its budget, learnt from how long it took."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = MOST

    def took(self, size: int, seconds: float) -> None:
        """It took so many seconds for a piece of this size."""
        if seconds > BUDGET:
            self.size = max(FEW, int(size * BUDGET / seconds))
        elif seconds < BUDGET / 4 and size >= self.size:
            self.size = min(MOST, 2 * self.size)


class Rest:
    """What is left of a read that takes the plugin more than one turn; nothing more is read meanwhile.

    Args:
        connection: whose plugin it is for.
        data: all of it.
    """

    __slots__ = ("_connection", "_data", "_going")

    def __init__(self, connection: Connection, data: bytes) -> None:
        self._connection = connection
        self._data = memoryview(data)
        self._going = False

    def go_on(self) -> None:
        """Hand on the next piece when the others have had their turn."""
        if not self._going:
            self._going = True
            self._connection.connections.clock.callLater(0, self._have_turn)

    def _have_turn(self) -> None:
        self._going = False
        connection = self._connection
        if connection.rest is self and connection.may_read():
            try:
                self.deliver_piece()
            except BaseException:  # a plugin may raise anything
                connection.fault("dataReceived")

    def deliver_piece(self) -> None:
        """Hand on a piece, as large as the plugin can take."""
        connection = self._connection
        size = connection.connections.pace.size
        piece, self._data = bytes(self._data[:size]), self._data[size:]
        if not self._data:
            connection.rest = None
        _deliver(connection, piece)
        connection.read_on()


def deliver_much(connection: Connection, data: bytes) -> None:
    """Hand data to the plugin: in pieces, a turn for each, if it has been slow with so much."""
    if len(data) > connection.connections.pace.size:
        connection.rest = Rest(connection, data)
        connection.transport.pauseProducing()
        connection.rest.deliver_piece()
    else:
        _deliver(connection, data)


def _deliver(connection: Connection, piece: bytes) -> None:
    connections = connection.connections
    began = connections.seconds()
    connection.protocol.dataReceived(piece)
    connections.pace.took(len(piece), connections.seconds() - began)
