"""Client of HTTP in memory, for tests of what the service answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import h11
from twisted.internet.interfaces import IProtocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from sockd.plugin import Context
from sockd_plugins.files.access.access import Access, Means
from sockd_plugins.files.access.shares import Shares
from sockd_plugins.files.access.tokens import Tokens
from sockd_plugins.files.access.users import read_users
from sockd_plugins.files.http.file_digests import FileDigests
from sockd_plugins.files.http.routes import Route
from sockd_plugins.files.http.serve import serve_http
from sockd_plugins.files.http.site import Options, Site
from sockd_plugins.files.http.table import ROUTES
from sockd_plugins.files.receipt.receipts import Receipts
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.store import Limits, Store
from sockd_plugins.files.stream.buffers import Buffers
from sockd_plugins.files.stream.peer import Peer


class Wire(StringTransport):
    """Server's side of a connection in memory."""

    half_closed = False
    aborted = False
    pausing = False  # its output is not read

    @override
    def write(self, data: bytes) -> None:
        super().write(data)  # type: ignore[no-untyped-call]
        if self.pausing and self.producer is not None:
            self.producer.pauseProducing()

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    @override
    def abortConnection(self) -> None:
        self.aborted = True


@dataclass
class Reply:
    """Answer as the client sees it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Service:
    """Service of one folder in memory."""

    def __init__(
        self,
        folder: Path,
        *,
        limits: Limits | None = None,
        options: Options | None = None,
        routes: Sequence[Route] = ROUTES,
        means: tuple[Means, ...] = ("anyone",),
        users: str = "",
        shares: Shares | None = None,
    ) -> None:
        self.clock = Clock()
        self.folder = folder
        self.engine = Engine(self.clock)
        self.engine.store = Store.open(folder, limits or Limits(1 << 30))
        self.context = Context("files", self.clock, Logger(namespace="files"), folder.parent / "state")
        self.tokens = Tokens(folder.parent / "state")
        receipts, digests = Receipts("files", folder.parent / "state"), FileDigests(self.engine)
        known = read_users(users.encode())
        self.access = Access(means, known, self.tokens, self.engine.run, self.clock, shares)
        self.site = Site(self.engine, self.access, receipts, digests, options or Options(), self.context)
        self.routes = routes
        self.buffers = Buffers(1 << 26)

    def stop(self) -> None:
        self.engine.stop()
        self.tokens.close()

    def connect(self) -> Client:
        return Client(self)


class Client:
    """Connection of a client."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.wire: Any = cast("Any", Wire)()
        self.peer = Peer(self._serve, service.context, service.buffers)
        IProtocol(self.peer).makeConnection(self.wire)

    async def _serve(self, peer: Peer) -> None:
        await serve_http(peer, self.service.routes, self.service.site)

    def sends(self, *pieces: bytes) -> Client:
        for piece in pieces:
            self.peer.dataReceived(piece)
            self.service.clock.advance(0)
        return self

    def asks(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Client:
        """Send a request; an underscore in the name of a header stands for a dash."""
        fields = {"host": "files"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and "transfer-encoding" not in fields:
            fields.setdefault("content-length", str(len(body)))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return self.sends("\r\n".join((*lines, "", "")).encode(), *([body] if body else []))

    def half_closes(self) -> Client:
        self.peer.readConnectionLost()
        return self

    def is_cut_off(self) -> Client:
        self.peer.connectionLost(Failure(ConnectionError()))
        return self

    def reads(self, *methods: str) -> list[Reply]:
        """Return the answers that have come, interim ones too."""
        data: bytes = self.wire.value()
        self.wire.clear()
        replies = []
        asked = list(methods)
        while data:
            http = h11.Connection(h11.CLIENT)
            method = asked[0] if asked else "GET"
            http.send(h11.Request(method=method, target="/", headers=[("Host", "files")]))
            http.send(h11.EndOfMessage())
            http.receive_data(data)
            status, headers, body = 0, {}, b""
            while not isinstance(event := http.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.InformationalResponse):
                    found = {name.decode(): value.decode() for name, value in event.headers}
                    replies.append(Reply(event.status_code, found, b""))
                elif isinstance(event, h11.Response):
                    status = event.status_code
                    headers = {name.decode(): value.decode() for name, value in event.headers}
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                else:
                    return replies
            asked = asked[1:]
            replies.append(Reply(status, headers, body))
            data = http.trailing_data[0]
        return replies

    def reads_one(self, *methods: str) -> Reply:
        (reply,) = self.reads(*methods)
        return reply
