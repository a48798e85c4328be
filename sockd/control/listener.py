"""Control socket: users that may connect, and their connections."""

from __future__ import annotations

import os
import select
import socket
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocolFactory,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from sockd.config import SocketOptions
from sockd.control.dialog import LONGEST_REQUEST, answer, refusal
from sockd.control.folder import danger
from sockd.control.operator import Operator
from sockd.control.port import MovablePort
from sockd.control.words import Code
from sockd.endpoint import UnixEndpoint
from sockd.errors import BindError
from sockd.framing import FrameTooLong, Lines
from sockd.sockets.credentials import peer_user
from sockd.sockets.open import BoundSocket, open_socket
from sockd.sockets.ports import adopt_stream_port
from sockd.text import describe_os_error

MAX_CONNECTIONS = 32
"""Connections at once, of people and monitors; more are a mistake, and each costs a descriptor."""

PATIENCE = 30.0
"""Seconds until the next request, from the end of the answer before it; the answer must be taken by then."""

SILENT = 5.0
"""Seconds without a request after which a connection makes room for another one."""

FOLDER_MODE = 0o700
"""Mode of the folder that is made for the socket."""


def open_control(endpoint: UnixEndpoint, user: int | None = None) -> BoundSocket:
    """Open the control socket, in a folder in which no other user can replace it.

    Args:
        endpoint: its path.
        user: that the daemon goes on as; None if it is the present one.

    Raises:
        BindError: it cannot be opened, or its folder is open to others.
    """
    folder = endpoint.path.parent
    try:
        folder.parent.mkdir(0o755, parents=True, exist_ok=True)
        folder.mkdir(FOLDER_MODE, exist_ok=True)
        reason = danger(folder, {os.geteuid(), os.geteuid() if user is None else user})
    except OSError as error:
        raise BindError(str(endpoint), f"{describe_os_error(error)} ({error.filename})") from error
    if reason is not None:
        raise BindError(str(endpoint), reason)
    return open_socket(endpoint, SocketOptions())


@implementer(IProtocolFactory)
class ControlListener:
    """Serves the control socket, whatever becomes of the services.

    Args:
        bound: the socket.
        operator: carries out what is asked.
        reactor: accepts, reads and keeps the time.
    """

    noisy = False

    def __init__(self, bound: BoundSocket, operator: Operator, reactor: Any) -> None:
        self.operator = operator
        self.reactor = reactor
        self.open_ones: set[Conversation] = set()
        self.name = "control"
        self._port = MovablePort(bound, lambda each: adopt_stream_port(reactor, each, self, stock=True))

    @property
    def bound(self) -> BoundSocket:
        """The socket."""
        return self._port.bound

    def open(self) -> None:
        """Accept connections from now on."""
        self._port.open()

    async def move(self, bound: BoundSocket) -> None:
        """Accept on another socket in place of this one, and close this one; connections stay."""
        await self._port.move(bound)

    async def close(self) -> None:
        """Answer no more requests; those under way are answered as long as the reactor runs."""
        try:
            await self._port.close()
        finally:
            for conversation in list(self.open_ones):
                conversation.finish()

    def unanswered(self) -> list[tuple[int, str]]:
        """Return the descriptors of connections whose requests are being carried out, with the requests."""
        return [
            (transport.socket.fileno(), conversation.request.decode(errors="replace"))
            for conversation in self.open_ones
            if conversation.request and (transport := cast("Any", conversation.transport)) is not None
        ]

    def full(self) -> bool:
        """Tell whether there are as many connections as may be.

        Those whose peers have given up do not count, and the one that has been silent for longest makes room.
        """
        if len(self.open_ones) >= MAX_CONNECTIONS:
            for conversation in list(self.open_ones):
                conversation.end_if_abandoned()
        if len(self.open_ones) >= MAX_CONNECTIONS:
            silent = [each for each in self.open_ones if not each.request]
            longest = min(silent, key=lambda each: each.since, default=None)
            if longest is not None and self.reactor.seconds() - longest.since >= SILENT:
                longest.make_room()
        return len(self.open_ones) >= MAX_CONNECTIONS

    def doStart(self) -> None:
        """Do nothing."""

    def doStop(self) -> None:
        """Do nothing."""

    def buildProtocol(self, address: object) -> Conversation:  # noqa: ARG002  # peers have no names
        """Return a conversation, which refuses a peer in words if it must."""
        return Conversation(self)


@implementer(IHalfCloseableProtocol, IPushProducer)
class Conversation(Protocol):
    """Connection with one request at a time: request, answer, next request."""

    def __init__(self, listener: ControlListener) -> None:
        self._listener = listener
        self._lines = Lines(LONGEST_REQUEST)
        self._deadline: IDelayedCall | None = None
        self.request = b""  # that is being carried out
        self.since = 0.0  # when the wait for the next one began
        self._answering = False
        self._unread = False  # whether the peer leaves answers where they are
        self._last = False  # whether there will be no further request

    @override
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.registerProducer(self, True)
        if reason := _unwelcome(transport.socket):
            self._refuse(Code.NOT_PERMITTED, reason)
        elif self._listener.full():
            self._refuse(
                Code.TOO_MANY_CONNECTIONS,
                f"expected at most {MAX_CONNECTIONS} connections, found another one",
            )
        else:
            self._listener.open_ones.add(self)
        self._wait()

    @override
    def dataReceived(self, data: bytes) -> None:
        if not self._last:
            self._go_on(data)

    def _go_on(self, data: bytes = b"") -> None:
        """Answer the next request, if there is one and the answer before it has been read."""
        try:
            # Always fed, as what came must be kept; at most one line is taken at a time.
            lines = self._lines.feed(data)
            request = None if self._answering or self._unread else next(lines, None)
        except FrameTooLong as error:
            self._refuse(
                Code.INVALID_REQUEST, f"expected a request of at most {error.limit} bytes, found a longer one"
            )
            return
        if request is not None:
            self._answering, self.request = True, request
            self._forget_deadline()
            self._pause_or_resume()
            Deferred.fromCoroutine(answer(self._listener.operator, request)).addCallback(self._answered)
        elif self._last and not self._answering:
            self._leave()

    def _answered(self, line: bytes) -> None:
        self._answering, self.request = False, b""
        if not self.connected:
            return
        self._write(line)
        self._wait()
        # The next one in a turn of its own, so that many at once neither nest nor hold others up.
        self._listener.reactor.callLater(0, self._next)

    def _next(self) -> None:
        if self.connected:
            self._pause_or_resume()
            self._go_on()

    def finish(self) -> None:
        """Take no further request."""
        self._last = True
        if not self._answering:
            self._leave()

    def end_if_abandoned(self) -> None:
        """End at once if the peer is gone, which goes unnoticed while a long request is carried out."""
        transport: Any = self.transport
        poll = select.poll()
        poll.register(transport.socket, 0)  # whether it has hung up is always told
        if poll.poll(0):
            self.make_room()

    def make_room(self) -> None:
        """End at once, for others wait."""
        transport: Any = self.transport
        self._listener.open_ones.discard(self)
        transport.abortConnection()

    def _refuse(self, code: Code, reason: str) -> None:
        self._last = True
        self._write(refusal(reason, code=code))
        self._leave()

    def _write(self, line: bytes) -> None:
        transport: Any = self.transport
        transport.write(line + b"\n")

    def _leave(self) -> None:
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()

    def _wait(self) -> None:
        self._forget_deadline()
        transport: Any = self.transport
        self.since = self._listener.reactor.seconds()
        self._deadline = self._listener.reactor.callLater(PATIENCE, transport.abortConnection)

    def _forget_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def pauseProducing(self) -> None:
        """Wait; the peer does not read its answers."""
        self._unread = True
        self._pause_or_resume()

    def resumeProducing(self) -> None:
        """Go on; the peer has read its answers."""
        self._unread = False
        self._listener.reactor.callLater(0, self._next)

    def stopProducing(self) -> None:
        """Do nothing; the peer is gone."""

    def _pause_or_resume(self) -> None:
        """Read only while a request is waited for: what is not read costs nothing."""
        transport: Any = self.transport
        if self._answering or self._unread:
            transport.pauseProducing()
        else:
            transport.resumeProducing()

    def readConnectionLost(self) -> None:
        """Answer what has come; the peer sends nothing more, and still reads."""
        self._last = True
        self._go_on()

    def writeConnectionLost(self) -> None:
        """Do nothing; sockd never half-closes."""

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._forget_deadline()
        self._listener.open_ones.discard(self)


def _unwelcome(peer: socket.socket) -> str | None:
    """Return why a peer may not send commands, by its user; None if it may."""
    user, own = peer_user(peer), os.geteuid()
    return None if user in (0, own) else f"expected root or the user {own}, found the user {user}"
