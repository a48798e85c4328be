"""How much of what a peer sends is handed to a plugin in one turn of the reactor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockd.connection import Connection

FEW = 4096
"""Bytes. A read of so few is handed on as it is, and nobody looks how long it takes."""

LEAST = 256
"""Bytes in a piece: of empty lines that is as many answers, a millisecond's work or two."""

MOST = 2**20
"""Bytes. No reactor reads more at once."""

A_TURN = 128 * 1024
"""Bytes after which others have their turn in any case. uvloop goes on reading from one connection, up to 32
times, as long as it finds 256,000 bytes there."""

BUDGET = 0.005
"""Seconds of a turn for all connections of a service that keep it busy; the others wait meanwhile."""


class Pace:
    """How much a service's plugin can take within its budget, learnt from how long it took.

    Attributes:
        size: bytes.
        crowd: those that wait for their next turn, and share the budget.
    """

    __slots__ = ("crowd", "size")

    def __init__(self) -> None:
        self.size = MOST
        self.crowd: set[Rest] = set()

    @property
    def piece(self) -> int:
        """Bytes that one connection may hand over in a turn."""
        if self.size >= MOST:  # nobody was slow lately; to divide then would only keep the crowd together
            return A_TURN
        return max(LEAST, min(A_TURN, self.size // max(1, len(self.crowd))))

    def took(self, size: int, seconds: float) -> None:
        """It took so many seconds for a piece of this size."""
        share = BUDGET / max(1, len(self.crowd))
        if seconds > share:
            # Half is enough: perhaps it was not the plugin but another process that took the time.
            self.size = max(LEAST, min(self.size, size * max(1, len(self.crowd))) // 2)
        elif seconds < share / 4 and size >= self.piece:
            self.size = min(MOST, 2 * self.size)


class Rest:
    """What is left of a read that takes more than one turn; nothing more is read meanwhile.

    Args:
        connection: whose plugin it is for.
        data: all of it.
    """

    __slots__ = ("_connection", "_data", "_going")

    def __init__(self, connection: Connection, data: bytes) -> None:
        self._connection = connection
        self._data = memoryview(data)
        self._going = False
        connection.connections.pace.crowd.add(self)

    def end(self) -> None:
        """All was handed on, or nobody wants it any more."""
        self._connection.rest = None
        self._connection.connections.pace.crowd.discard(self)

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
        size = min(connection.piece, connection.connections.pace.piece)
        piece, self._data = bytes(self._data[:size]), self._data[size:]
        if not self._data:
            self.end()
        _deliver(connection, piece)
        connection.read_on()


def deliver_much(connection: Connection, data: bytes) -> None:
    """Hand data to the plugin; in pieces, a turn for each, if it is more than it can take at once."""
    if len(data) > min(connection.piece, connection.connections.pace.piece):
        connection.transport.pauseProducing()
        connection.rest = Rest(connection, data)
        connection.rest.deliver_piece()
    else:
        _deliver(connection, data)


def _deliver(connection: Connection, piece: bytes) -> None:
    connections = connection.connections
    began = connections.seconds()
    connection.protocol.dataReceived(piece)
    seconds = connections.seconds() - began
    connections.pace.took(len(piece), seconds)
    # It begins with few: a plugin may be quick with what others send and slow with what this peer does.
    if seconds > BUDGET:
        connection.piece = max(FEW, connection.piece // 2)
    elif seconds < BUDGET / 4 and len(piece) >= connection.piece:
        connection.piece = min(MOST, 2 * connection.piece)
