"""Layers between an accepted stream and its protocol, and a stream's way through them.

The listener builds the list, outermost first: a PROXY header's sender is judged, a place is taken or waited
for, the header is read, a TLS handshake is made. Only then does the plugin's factory build a protocol, so
that a plugin never meets a peer that it should not, and knows from the first moment who the peer is.

One layer is one file. It decides for each stream whether it has something to do. If so, a protocol of its
own serves the stream, and passes it on, with what it has read too much. A stream of a listener without
layers gets its connection at once and never comes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.interfaces import IAddress, IProtocol

from sockd.stream.connection import Connection
from sockd.stream.open_connections import OpenConnections


class Layer(Protocol):
    """Layer that the streams of a listener pass on their way to their protocols."""

    @property
    def encrypts(self) -> bool:
        """Return whether a peer expects ciphertext, and cannot be told in plain text why it is refused."""

    def enter(self, arrival: Arrival) -> IProtocol | None:
        """Return what serves a stream that has come as far as this layer; None closes it.

        A layer with nothing to do returns `arrival.go_on()`. Else it returns a protocol that ends with
        `arrival.pass_on`, `refuse`, `fail` or `turn_away`; once the stream has a place, it is a `Step`.
        """


class Step(Protocol):
    """Protocol that serves one stream in one layer."""

    @property
    def is_shaking(self) -> bool:
        """Return whether it is counted among the unfinished TLS handshakes."""

    def deadline_passed(self) -> None:
        """Decide about a stream that has taken as long as it may."""

    def leave(self, failure: str) -> None:
        """Forget the stream, which has failed for this reason, or with "" has passed."""


class Acceptor(Protocol):
    """Listener, as a stream on its way in sees it."""

    @property
    def connections(self) -> OpenConnections:
        """Open connections of its service."""

    def build(self, address: IAddress, host: str | None) -> Connection | None:
        """Return the connection of a peer that holds a place; None, and no place, if there is none."""

    def turn_away(self, address: IAddress, reason: str) -> IProtocol | None:
        """Return what serves a peer that is over a limit; None closes it."""

    def let_wait(
        self, address: IAddress, reason: str, again: Callable[[], IProtocol | None]
    ) -> IProtocol | None:
        """Return what serves a peer that has no place: until `again` is called, if it may wait for one."""


class Arrival:
    """Accepted stream on its way through the layers.

    Args:
        acceptor: the listener that it came by.
        address: the peer's, as the socket has it.
        layers: those that it has to pass, in order.

    Attributes:
        address: the peer's, as far as it is known.
        host: what it is counted for among the service's limits; None while that is not known.
        proxied: whether a proxy relays it whose header is to be read.
        connections: open connections of the service.
    """

    __slots__ = (
        *("_acceptor", "_layers", "_over", "_step", "_transport", "address", "connections", "host"),
        *("proxied", "tick"),
    )

    def __init__(self, acceptor: Acceptor, address: IAddress, layers: Iterable[Layer]) -> None:
        self._acceptor = acceptor
        self._layers = iter(layers)
        self._over = False  # it has come to its connection, or never will
        self._step: Step | None = None
        self._transport: Any = None
        self.connections = acceptor.connections
        self.address = address
        self.host: str | None = getattr(address, "host", None)
        self.proxied = False
        self.tick = 0

    # What a layer calls.

    def go_on(self) -> IProtocol | None:
        """Return what serves the stream at the next layer, at last its connection; None closes it."""
        layer = next(self._layers, None)
        if layer is not None:
            return layer.enter(self)
        self._end()
        return self._acceptor.build(self.address, self.host)

    def hide_behind_proxy(self) -> None:
        """Count the stream for nobody until the header tells whom the proxy speaks for."""
        self.proxied, self.host = True, None

    def let_wait(self, reason: str, again: Callable[[], IProtocol | None]) -> IProtocol | None:
        """Return what serves the stream while it has no place, for this reason."""
        return self._acceptor.let_wait(self.address, reason, again)

    def begin(self, step: Step, transport: Any) -> None:
        """Serve the stream by this step from now on."""
        if self._step is None:
            self.connections.heard(self, silent=True)
        self._step, self._transport = step, transport

    def heard(self) -> None:
        """Note that the peer has sent something."""
        if not self._over:
            self.connections.heard(self)

    def wait(self, seconds: float) -> None:
        """Call the step's `deadline_passed` in so many seconds, unless the stream is passed on."""
        self.connections.context.deadlines.set(self, seconds)

    def identify(self, address: IAddress, host: str | None) -> None:
        """Note who the true client is."""
        self.address, self.host = address, host

    def pass_on(self, transport: Any, data: bytes = b"") -> None:
        """Let what follows serve the stream.

        Args:
            transport: what it is served on: that of the reactor, or what encrypts on top of it.
            data: what the peer has sent already.
        """
        self.connections.context.deadlines.clear(self)
        if self._step is not None:
            self._step.leave("")
        protocol = self.go_on()
        if protocol is None:
            transport.abortConnection()  # under TLS a close would wait for the peer's, for ever
            return
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if data and isinstance(protocol, Connection) and not protocol.may_read():
            protocol.context.pace.put_off(protocol, data)
        elif data:
            protocol.dataReceived(data)

    def turn_away(self, reason: str) -> None:
        """Give back the place of a stream whose true client is over a limit, and do what the limit says."""
        transport = self._transport
        self._leave_place("")
        other = self._acceptor.turn_away(self.address, reason)
        if other is None:
            transport.loseConnection()
        else:
            transport.protocol = other
            other.makeConnection(transport)

    def refuse(self, reason: str) -> None:
        """Abort the stream, and give back its place."""
        if not self._over:
            transport = self._transport
            self.fail(reason)
            transport.abortConnection()

    def fail(self, reason: str) -> None:
        """Give back the place of a stream that is gone, or closes already."""
        if not self._over:
            self.connections.events.refused(self.address, reason)
            self._leave_place(reason)

    def _leave_place(self, failure: str) -> None:
        if self._step is not None:
            self._step.leave(failure)
        self._end()
        self.connections.leave(self.host)

    def _end(self) -> None:
        self._over = True
        self._step = self._transport = None  # it refers to this, and only a collector would free both
        self.connections.context.deadlines.clear(self)
        self.connections.forget(self)

    # What deadlines and the open connections call.

    def deadline_passed(self) -> None:
        """Let the step decide about a stream that has taken as long as it may."""
        if self._step is not None:
            self._step.deadline_passed()

    @property
    def is_shaking(self) -> bool:
        """Return whether it is counted among the unfinished handshakes."""
        return self._step is not None and self._step.is_shaking

    def make_room(self) -> None:
        """End, as another stream needs the place and this one has been silent for longest."""
        self.refuse("silent")

    def cut(self) -> None:
        """End, as the service ends."""
        self.refuse("drain timeout")
