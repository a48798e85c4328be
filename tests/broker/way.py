"""Way to a server that can be cut, or made to lose what goes in one direction."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from tests.broker.parties import reactor


class Way:
    """Relay of connections to a port of loopback.

    Attributes:
        deaf: whether what the server sends is kept back.
        dumb: whether what clients send is kept back.
        closed: whether new connections are closed at once.
        delay: seconds that each piece takes, in both directions.
    """

    def __init__(self, port: int) -> None:
        self.deaf = self.dumb = self.closed = False
        self.delay = 0.0
        self.connections: list[_Near] = []
        self._port = port
        self._listening: Any = None
        self.url = ""

    async def open(self) -> Way:
        """Listen."""
        factory = Factory.forProtocol(lambda: _Near(self))
        factory.noisy = False
        self._listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.url = f"nats://127.0.0.1:{self._listening.getHost().port}"
        return self

    async def close(self) -> None:
        """Listen no more, and cut every connection."""
        self.closed = True
        self.cut()
        await self._listening.stopListening()

    def cut(self) -> None:
        """Abort every connection, and forget what was kept back."""
        for each in list(self.connections):
            each.abort()

    def let(self) -> None:
        """Deliver everything again, what was kept back first."""
        self.deaf = self.dumb = False
        for each in self.connections:
            each.flush()

    def connect(self, near: _Near) -> None:
        """Connect the other side."""
        far = _Far(near)
        connecting = connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self._port), far)
        connecting.addErrback(lambda _: near.abort())


class _Near(Protocol):
    def __init__(self, way: Way) -> None:
        self.way = way
        self.far: _Far | None = None
        self.to_server: list[bytes] = []
        self.to_client: list[bytes] = []

    def connectionMade(self) -> None:
        if self.way.closed:
            self.abort()
            return
        self.way.connections.append(self)
        self.way.connect(self)

    def dataReceived(self, data: bytes) -> None:
        self.later(self.to_server, data)

    def later(self, pieces: list[bytes], data: bytes) -> None:
        """Pass a piece on, after the delay."""
        if self.way.delay:
            reactor.callLater(self.way.delay, self.pass_on, pieces, data)
        else:
            self.pass_on(pieces, data)

    def pass_on(self, pieces: list[bytes], data: bytes) -> None:
        pieces.append(data)
        self.flush()

    def flush(self) -> None:
        if not self.way.dumb and self.far is not None and self.far.transport is not None:
            self.far.transport.write(b"".join(self.to_server))
            self.to_server.clear()
        if not self.way.deaf and self.transport is not None:
            self.transport.write(b"".join(self.to_client))
            self.to_client.clear()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self in self.way.connections:
            self.way.connections.remove(self)
        if self.far is not None and self.far.transport is not None:
            self.far.transport.abortConnection()  # type: ignore[attr-defined]

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]


class _Far(Protocol):
    def __init__(self, near: _Near) -> None:
        self.near = near

    def connectionMade(self) -> None:
        self.near.far = self
        self.near.flush()

    def dataReceived(self, data: bytes) -> None:
        self.near.later(self.near.to_client, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.near.abort()
