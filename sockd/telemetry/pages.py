"""The HTTP port with the metrics, the answers for probes and the status page.

`GET` or `HEAD`, one request on a connection:

    /metrics       the numbers, for Prometheus
    /status.json   the same as the server's snapshot
    /healthz       200 as long as the process answers
    /readyz        200 while the server serves, 503 with its state while it starts or stops
    /              the status page, of page/

Any other path is 404, any other method 405. What a request's body or query says does not matter. Nothing here
shares anything with the services but the process: not their limits, and not their ports.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from inspect import isawaitable
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IAddress, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from typing_extensions import override

from sockd.ports import adopt_stream_port
from sockd.sockets import BoundSocket
from sockd.telemetry import metrics

MOST_CONNECTIONS = 64
"""At once. Whoever watches a daemon comes with two or three."""

MOST_HEADER = 8192
"""Bytes of a request's line and headers; a browser sends about one thousand."""

LIFETIME = 30.0
"""Seconds from the first byte of a request to the last of its answer."""

SNAPSHOT_TIMEOUT = 5.0
"""Seconds that a snapshot may take; it waits for workers, where there are any."""

SNAPSHOT_AGE = 0.25
"""Seconds for which a snapshot is fresh, so that no crowd of watchers keeps the daemon busy with itself."""

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer."""

TakeSnapshot = Callable[[], dict[str, Any] | Awaitable[dict[str, Any]]]

_TEXT = "text/plain; charset=utf-8"
_FOLDER = Path(__file__).parent / "page"
_FILES: Mapping[bytes, tuple[str, str]] = {
    b"/": ("page.html", "text/html; charset=utf-8"),
    b"/page.css": ("page.css", "text/css; charset=utf-8"),
    b"/page.js": ("page.js", "text/javascript; charset=utf-8"),
    b"/page.svg": ("page.svg", "image/svg+xml"),
}
_log = Logger(namespace="sockd")


class MetricsListener:
    """Answers on one socket.

    Args:
        bound: the socket.
        snapshot: gives the server's snapshot, at once or later.
        reactor: accepts, reads and keeps the time.
    """

    def __init__(self, bound: BoundSocket, snapshot: TakeSnapshot, reactor: Any) -> None:
        self.name = "metrics"
        self.bound = bound
        self._factory = Door(Pages(snapshot, reactor), reactor)
        self._reactor = reactor
        self._port: Any = None

    def open(self) -> None:
        """Begin to answer."""
        # twisted.web is made for Twisted's own transports, and nobody waits for speed here.
        self._port = adopt_stream_port(self._reactor, self.bound, self._factory, stock=True)

    async def close(self) -> None:
        """Answer no more; requests that are under way are cut."""
        try:
            if self._port is not None:
                await maybeDeferred(self._port.stopListening)
        finally:
            self._factory.cut()
            self.bound.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets."""

    code: int
    body: bytes
    content_type: str = _TEXT


class Pages:
    """What is answered to which request."""

    def __init__(self, snapshot: TakeSnapshot, clock: IReactorTime) -> None:
        self._take = snapshot
        self._clock = clock
        self._taken: tuple[float, dict[str, Any]] | None = None
        self._failing = False
        self._files = {
            path: Answer(http.OK, (_FOLDER / name).read_bytes(), content_type)
            for path, (name, content_type) in _FILES.items()
        }

    async def answer(self, method: bytes, path: bytes) -> Answer:
        """The answer to a request; whatever happens, there is one."""
        if method not in (b"GET", b"HEAD"):
            return Answer(http.NOT_ALLOWED, b"expected GET or HEAD\n")
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
                _log.failure("status page failed", path=path.decode("ascii"))
            self._failing = True
            return Answer(http.INTERNAL_SERVER_ERROR, b"the status cannot be shown; the log tells why\n")
        self._failing = False
        return shown

    async def _snapshot(self) -> dict[str, Any]:
        now = self._clock.seconds()
        if self._taken is not None and now - self._taken[0] < SNAPSHOT_AGE:
            return self._taken[1]
        taken = self._take()
        if isawaitable(taken):
            taken = await _in_time(taken, self._clock)
        self._taken = now, taken
        return taken


async def _in_time(taken: Awaitable[dict[str, Any]], clock: IReactorTime) -> dict[str, Any]:
    async def wait() -> dict[str, Any]:
        return await taken

    return await Deferred.fromCoroutine(wait()).addTimeout(SNAPSHOT_TIMEOUT, clock)


def _metrics(snapshot: Mapping[str, Any]) -> Answer:
    return Answer(http.OK, metrics.exposition(snapshot), metrics.CONTENT_TYPE)


def _status(snapshot: Mapping[str, Any]) -> Answer:
    return Answer(http.OK, json.dumps(snapshot, separators=(",", ":")).encode(), "application/json")


def _readiness(snapshot: Mapping[str, Any]) -> Answer:
    state: str = snapshot["state"]
    return Answer(http.OK if state == "ready" else http.SERVICE_UNAVAILABLE, state.encode() + b"\n")


_SHOWN: Mapping[bytes, Callable[[Mapping[str, Any]], Answer]] = {
    b"/metrics": _metrics,
    b"/status.json": _status,
    b"/readyz": _readiness,
}
"""By its path: what is made of a snapshot."""


class Request(http.Request):
    """One request and its answer."""

    @override
    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    @override
    def handleContentChunk(self, data: bytes) -> None:
        """Keep nothing of a body: Twisted would write it to a file."""

    @override
    def process(self) -> None:
        Deferred.fromCoroutine(self._answer()).addErrback(
            lambda failure: _log.failure("status page failed", failure)
        )

    async def _answer(self) -> None:
        answer = await cast("Channel", self.channel).pages.answer(self.method, self.path)
        if self.channel is not None:  # the peer is still there
            _send(answer, self)


def _send(answer: Answer, request: http.Request) -> None:
    request.setResponseCode(answer.code)
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    if answer.code == http.NOT_ALLOWED:
        request.setHeader("Allow", "GET, HEAD")
    request.setHeader("Content-Type", answer.content_type)
    request.setHeader("Content-Length", str(len(answer.body)))
    request.write(answer.body)
    request.finish()


class Channel(http.HTTPChannel):
    """One connection; it ends after one request, or when its time is over."""

    requestFactory = Request  # noqa: N815  # Twisted's name
    totalHeadersSize = MOST_HEADER  # noqa: N815  # Twisted's name

    def __init__(self, door: Door, pages: Pages, clock: IReactorTime) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pages = pages
        self._door = door
        self._clock = clock

    @override
    def connectionMade(self) -> None:
        self._door.open.add(self)
        self._end = self._clock.callLater(LIFETIME, self.cut)
        super().connectionMade()  # type: ignore[no-untyped-call]

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._door.open.discard(self)
        if self._end.active():
            self._end.cancel()
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    @override
    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        return False

    def cut(self) -> None:
        """End it, whatever is under way."""
        cast("ITCPTransport", self.transport).abortConnection()


class Door(Factory):
    """Lets watchers in, as long as there are not too many."""

    noisy = False

    def __init__(self, pages: Pages, clock: IReactorTime) -> None:
        self.open: set[Channel] = set()
        self._pages = pages
        self._clock = clock

    @override
    def buildProtocol(self, addr: IAddress | None) -> Channel | None:
        return Channel(self, self._pages, self._clock) if len(self.open) < MOST_CONNECTIONS else None

    def cut(self) -> None:
        """End every connection."""
        for channel in tuple(self.open):
            channel.cut()
