"""HTTP port with the metrics, the answers for probes and the status page.

`GET` or `HEAD`, one request on a connection:

    /metrics       the numbers, for Prometheus
    /status.json   the same as the server's snapshot
    /healthz       200 as long as the process answers
    /readyz        200 while the server serves, 503 with its state while it starts or stops, or without
                   its broker
    /              the status page, of page/

Any other path is 404, any other method 405. What a request's body or query says does not matter. Nothing here
shares anything with the services but the process: not their limits, and not their ports.

The page and `/status.json` are for browsers, and answer only under the daemon's own names (421 otherwise): a
page from elsewhere whose name was made to lead here (DNS rebinding) reads nothing.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IAddress, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from typing_extensions import override

from sockd.control.hosts import Hosts
from sockd.control.port import MovablePort
from sockd.sockets.deadlines import Deadlines
from sockd.sockets.linger import Lingering
from sockd.sockets.open import BoundSocket
from sockd.sockets.ports import adopt_stream_port
from sockd.telemetry import metrics
from sockd.telemetry.catalogue import PAGE_FAILED
from sockd.telemetry.snapshot import Snapshot

MOST_CONNECTIONS = 64
"""Connections at once; the one that has been silent longest makes room for the next."""

MOST_ACCEPTS = 16
"""Connections that are accepted in a turn, few against those that may be open: each is read before it could
have to make room for others."""

MOST_HEADER = 64 * 1024
"""Bytes of a request's line and headers; browsers send the cookies of everything on the same machine."""

LIFETIME = 30.0
"""Seconds from the first byte of a request to the last of its answer."""

SNAPSHOT_TIMEOUT = 5.0
"""Seconds that a snapshot may take; it waits for workers, where there are any."""

SNAPSHOT_AGE = 0.25
"""Seconds for which a snapshot is fresh, so that no crowd of watchers keeps the daemon busy with itself."""

MISDIRECTED = 421
"""The status of a request that came to the wrong server (RFC 9110, 15.5.20)."""

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every answer."""

TakeSnapshot = Callable[[], Snapshot | Awaitable[Snapshot]]

_TEXT = "text/plain; charset=utf-8"
_FOLDER = Path(__file__).parent / "page"
_FILES: Mapping[bytes, tuple[str, str]] = {
    b"/": ("page.html", "text/html; charset=utf-8"),
    b"/page.css": ("page.css", "text/css; charset=utf-8"),
    b"/page.js": ("page.js", "text/javascript; charset=utf-8"),
    b"/page.svg": ("page.svg", "image/svg+xml"),
}
_log = Logger(namespace="sockd")


_ABSOLUTE = re.compile(rb"https?://([^/?#]*)([^?#]*)", re.IGNORECASE)
"""A request's target in absolute form (RFC 9112, 3.2.2): its authority, and its path."""


class MetricsListener:
    """Listener of the metrics port.

    Args:
        bound: the socket.
        snapshot: gives the server's snapshot, at once or later.
        reactor: accepts, reads and keeps the time.
        hosts: names of this machine, beside its own host name, under which browsers may ask.
    """

    def __init__(
        self, bound: BoundSocket, snapshot: TakeSnapshot, reactor: Any, hosts: Collection[str] = ()
    ) -> None:
        self.name = "metrics"
        # No browser connects to a UNIX socket, and a proxy passes on any name.
        known = None if bound.socket.family == socket.AF_UNIX else Hosts(hosts)
        self._factory = ChannelFactory(Pages(snapshot, reactor, known), reactor)
        self._reactor = reactor
        self._port = MovablePort(bound, self._adopt)

    def _adopt(self, bound: BoundSocket) -> Any:
        # twisted.web is made for Twisted's own transports, and nobody waits for speed here.
        return adopt_stream_port(
            self._reactor, bound, self._factory, lambda wanted: min(wanted, MOST_ACCEPTS), stock=True
        )

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
        """Close the socket, and abort requests that are under way."""
        try:
            await self._port.close()
        finally:
            self._factory.cut()


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to a request."""

    code: int
    body: bytes
    content_type: str = _TEXT


class Pages:
    """Answers to requests, by path.

    Args:
        snapshot: gives the server's snapshot, at once or later.
        clock: for its age.
        hosts: under which browsers may ask; None for any.
    """

    def __init__(self, snapshot: TakeSnapshot, clock: IReactorTime, hosts: Hosts | None = None) -> None:
        self._take = snapshot
        self._clock = clock
        self._hosts = hosts
        self._taken: tuple[float, Snapshot] | None = None
        self._failing = False
        self._files = {
            path: Answer(http.OK, (_FOLDER / name).read_bytes(), content_type)
            for path, (name, content_type) in _FILES.items()
        }

    async def answer(self, method: bytes, target: bytes, host: bytes = b"") -> Answer:
        """Return the answer to a request; there is one even after a fault.

        Args:
            method: of the request.
            target: its path, or a whole URL, which counts more than `host`; without a query.
            host: its Host header, empty if there is none.
        """
        path = target
        if (absolute := _ABSOLUTE.fullmatch(target)) is not None:
            host, path = absolute[1], absolute[2] or b"/"
        if method not in (b"GET", b"HEAD"):
            return Answer(http.NOT_ALLOWED, b"expected GET or HEAD\n")
        if path in _FOR_BROWSERS and self._hosts and not self._hosts.include(host.decode("latin-1")):
            return Answer(MISDIRECTED, _MISDIRECTED)
        if path in self._files:
            return self._files[path]
        if path == b"/healthz":
            return Answer(http.OK, b"ok\n")
        show = _SHOWN.get(path)
        if show is None:
            return Answer(http.NOT_FOUND, b"there is no such page\n")
        try:
            shown = show(await self._snapshot())
        except TimedOut:
            return Answer(http.SERVICE_UNAVAILABLE, b"the daemon did not tell its status in time\n")
        except Exception:  # a page that fails must harm nothing but itself
            if not self._failing:  # or whoever asks again and again would fill the log
                PAGE_FAILED.write_failure(_log, path=path.decode("ascii"))
            self._failing = True
            return Answer(http.INTERNAL_SERVER_ERROR, b"the status cannot be shown; the log tells why\n")
        self._failing = False
        return shown

    async def _snapshot(self) -> Snapshot:
        now = self._clock.seconds()
        if self._taken is not None and now - self._taken[0] < SNAPSHOT_AGE:
            return self._taken[1]
        taken = self._take()
        if isawaitable(taken):
            taken = await _in_time(taken, self._clock)
        self._taken = now, taken
        return taken


async def _in_time(taken: Awaitable[Snapshot], clock: IReactorTime) -> Snapshot:
    async def wait() -> Snapshot:
        return await taken

    return await Deferred.fromCoroutine(wait()).addTimeout(SNAPSHOT_TIMEOUT, clock)


def _metrics(snapshot: Snapshot) -> Answer:
    return Answer(http.OK, metrics.exposition(snapshot), metrics.CONTENT_TYPE)


def _status(snapshot: Snapshot) -> Answer:
    return Answer(http.OK, json.dumps(snapshot, separators=(",", ":")).encode(), "application/json")


def _readiness(snapshot: Snapshot) -> Answer:
    state: str = snapshot["state"]
    broker = snapshot.get("broker")
    if state == "ready" and broker is not None and broker["state"] != "connected":
        state = f"broker away: {broker['reason']}"
    return Answer(http.OK if state == "ready" else http.SERVICE_UNAVAILABLE, state.encode() + b"\n")


_SHOWN: Mapping[bytes, Callable[[Snapshot], Answer]] = {
    b"/metrics": _metrics,
    b"/status.json": _status,
    b"/readyz": _readiness,
}
"""Pages that show a snapshot, by path."""


_FOR_BROWSERS = frozenset({*_FILES, b"/status.json"})

_MISDIRECTED = (
    b"this page is not served under this name: ask for localhost or an address, "
    b"or add the name to hosts in [metrics]\n"
)


def _fault(status: bytes, text: bytes) -> bytes:
    """Return a whole answer to what cannot be read as a request."""
    header = b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    return header % (status, _TEXT.encode(), len(text)) + text


_NO_REQUEST = _fault(b"400 Bad Request", b"this is no HTTP request\n")
_TOO_LONG = _fault(
    b"431 Request Header Fields Too Large", b"expected a header of at most %d bytes\n" % MOST_HEADER
)


class Request(http.Request):
    """Request with its answer."""

    @override
    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    @override
    def handleContentChunk(self, data: bytes) -> None:
        """Keep nothing of a body: Twisted would write it to a file."""

    @override
    def process(self) -> None:
        Deferred.fromCoroutine(self._answer()).addErrback(
            lambda failure: PAGE_FAILED.write_failure(_log, failure)
        )

    async def _answer(self) -> None:
        channel = cast("Channel", self.channel)
        channel.asked = True
        answer = await channel.pages.answer(self.method, self.path, self.getHeader(b"host") or b"")
        if self.channel is not None:  # the peer is still there
            _send(answer, self)


def _send(answer: Answer, request: http.Request) -> None:
    request.setResponseCode(answer.code, b"Misdirected Request" if answer.code == MISDIRECTED else None)
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    if answer.code == http.NOT_ALLOWED:
        request.setHeader("Allow", "GET, HEAD")
    request.setHeader("Content-Type", answer.content_type)
    request.setHeader("Content-Length", str(len(answer.body)))
    request.write(answer.body)
    request.finish()


class Channel(http.HTTPChannel):
    """Connection for one request; it ends after the answer, or when its time is over."""

    requestFactory = Request  # noqa: N815  # Twisted's name
    totalHeadersSize = MAX_LENGTH = MOST_HEADER  # noqa: N815  # Twisted's names

    def __init__(self, factory: ChannelFactory, pages: Pages, clock: IReactorTime) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pages = pages
        self.asked = False  # a whole request has come
        self._factory = factory
        self._clock = clock

    @override
    def connectionMade(self) -> None:
        self._factory.heard(self)
        self._end = self._clock.callLater(LIFETIME, self.cut)
        super().connectionMade()  # type: ignore[no-untyped-call]

    @override
    def dataReceived(self, data: bytes) -> None:
        self._factory.heard(self)
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._factory.open.pop(self, None)
        if self._end.active():
            self._end.cancel()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    @override
    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        return False

    @override
    def lineLengthExceeded(self, line: bytes) -> None:
        self._receivedHeaderSize += len(line)
        self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802  # Twisted's name
        """Answer in words, where Twisted sends a bare 400; the header alone can be too long."""
        transport = cast("ITCPTransport", self.transport)
        too_long = self._receivedHeaderSize > MOST_HEADER or self._receivedHeaderCount > self.maxHeaders
        transport.write(_TOO_LONG if too_long else _NO_REQUEST)
        self.loseConnection()

    @override
    def loseConnection(self) -> None:
        """End it once the answer is sent; a client that still sends gets the answer too."""
        cast("Any", self.transport).unregisterProducer()
        self.__dict__ |= dict.fromkeys(("dataReceived", "lineReceived"), lambda _: None)
        self._factory.lingering.take(self.transport)
        self.connectionLost()

    def cut(self) -> None:
        """End it, whatever is under way."""
        cast("ITCPTransport", self.transport).abortConnection()


class ChannelFactory(Factory):
    """Factory of connections; where there are too many, the one that has been silent longest makes room.

    Connections that have asked stay longer than those that have not: a probe is answered, however many
    connections are silent.
    """

    noisy = False

    def __init__(self, pages: Pages, clock: IReactorTime) -> None:
        self.open: dict[Channel, None] = {}  # in the order in which they were last heard of
        self.lingering = Lingering(Deadlines(clock), clock)
        self._pages = pages
        self._clock = clock

    def heard(self, channel: Channel) -> None:
        """Note that a channel has connected, or has sent something."""
        if self.open.pop(channel, self) is self and len(self.open) >= MOST_CONNECTIONS:
            silent = next((other for other in self.open if not other.asked), next(iter(self.open)))
            del self.open[silent]
            silent.cut()
        self.open[channel] = None

    @override
    def buildProtocol(self, addr: IAddress | None) -> Channel:
        return Channel(self, self._pages, self._clock)

    def cut(self) -> None:
        """End every connection."""
        for channel in tuple(self.open):
            channel.cut()
        self.lingering.close_all()
