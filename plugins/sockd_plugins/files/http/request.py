"""Request and answer of HTTP/1.1, for the code that serves a path.

The body of a request is read piece by piece, with back-pressure. A client that waits for "100 Continue"
(RFC 9110, 10.1.1) gets it at the first `read`, so that what is refused before costs nobody its bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol, cast

import h11
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sockd_plugins.files.access.access import certificate_of
from sockd_plugins.files.access.credentials import split_token
from sockd_plugins.files.http.head import Head, Headers
from sockd_plugins.files.storage.pieces import Piece
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.stream.inbox import Inbox
from sockd_plugins.files.stream.peer import Peer

_SLICE = 1 << 16
"""Bytes of chunks to decode at once: the smallest chunks cost 10,000 events then, a tenth of a second."""

_MANY_EVENTS = 256  # of one slice, after which other peers get their turn

_NO_BODY = {204, 304}

_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {
    104: "Upload Resumption Supported",
    460: "Checksum Mismatch",
}

INCOMPLETE = "the body ended early"


def phrase(status: int) -> str:
    """Return the words for a status."""
    return _PHRASES.get(status, "")


class Body(Protocol):
    """Body of an answer that is too large for memory."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return an iterator of its bytes."""

    def close(self) -> None:
        """Release what it reads from, whether it was sent or not."""


@dataclass
class Answer:
    """Answer to a request.

    Attributes:
        status: its number.
        headers: without Date, and without Content-Length if the body is bytes.
        body: bytes, or an iterator of them; then the headers have Content-Length.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | Body = b""


class Request:
    """Request whose body is still to be read.

    Args:
        peer: the connection.
        head: its head.

    Attributes:
        method: its method; a route may set another, such as that of X-HTTP-Method-Override.
        path: decoded once; begins with "/", or is "*".
        base: what stood before `path` and belongs to every address that the client is told, such as a token.
        token: drop token of the path, `/t/TOKEN/…`; None if it has none.
        is_folder: whether the path, with its token, ends with a slash.
        query: decoded; of a repeated key the last value.
        version: "1.1" or "1.0".
        headers: the fields; `get` knows them in any case.
        trailers: fields after a chunked body; empty before its end.
        length: bytes of the body, 0 for none; None if it is chunked.
        sender_host: address of the client; "-" if unknown.
        certificate: of the client; None without one.
        over: whether the whole body was read.
        refusal_is_logged: whether the log has the reason of a refusal already.
    """

    def __init__(self, peer: Peer, head: Head) -> None:
        self.method = head.method
        self.is_folder = head.path.endswith("/")
        self.token, self.path = split_token(head.path)
        self.base = ""
        if self.token is not None:
            self.base, self.path = f"/t/{self.token}", f"/{self.path}"
        self.query: Mapping[str, str] = head.query
        self.version = head.version
        self.headers = head.headers
        self.trailers = Headers([])
        self.length = head.length
        self.sender_host = peer.host
        self.certificate = certificate_of(peer.transport)
        self.over = head.length == 0
        self.refusal_is_logged = False
        self._peer = peer
        self._http = head.http
        self._for_head = head.method == "HEAD"
        self._left = head.length or 0
        self._decoded = Inbox()
        self._accepted = False

    @property
    def expects_continue(self) -> bool:
        """True if the client waits for "100 Continue" before it sends the body."""
        expected = (self.headers.get("expect") or "").lower()
        return expected == "100-continue" and self.version != "1.0" and not self.over

    async def accept(self) -> None:
        """Let a client that waits send the body, once everything is checked; `read` does so as well."""
        if not self._accepted:
            self._accepted = True
            if self.expects_continue:
                await self._send_interim(100, [])

    async def interim(self, status: int, headers: list[tuple[str, str]]) -> None:
        """Send an interim answer, such as 104; only to a client that has asked for it.

        Python's http.client takes any but 100 for the final one. HTTP/1.0 has none.
        """
        if self.version != "1.0":
            await self._send_interim(status, headers)

    async def _send_interim(self, status: int, headers: list[tuple[str, str]]) -> None:
        interim = h11.InformationalResponse(status_code=status, headers=headers, reason=phrase(status))
        self._peer.write(self._http.send(interim) or b"")

    def interrupt(self) -> None:
        """Let `read` raise `FileRefused`: another connection has taken the upload."""
        self._peer.interrupt()

    async def read(self, size: int, within: float | None = None) -> list[Piece]:
        """Return the next bytes of the body, at most `size`; none at its end.

        Args:
            size: bytes.
            within: seconds after which fewer are returned, but at least one; None to wait for all.

        Raises:
            FileRefused: the client has ended its side within the body, or is too slow, or the chunks are
                malformed.
            Gone: the connection broke.
        """
        await self.accept()
        if self.length is None:
            return await self._read_chunks(size, within)  # its end may be decoded before it is read
        if self.over:
            return []
        pieces = await self._peer.read(min(size, self._left), within)
        if not pieces:
            raise FileRefused("incomplete", INCOMPLETE)
        self._left -= sum(map(len, pieces))
        self.over = not self._left
        return pieces

    async def _read_chunks(self, size: int, within: float | None) -> list[Piece]:
        """Decode as much as has arrived: nothing else tells where the body ends."""
        decoded, clock = self._decoded, self._peer.clock
        end = None if within is None else clock.seconds() + within
        while len(decoded) < size and not self.over:
            left = None if end is None or not decoded else max(end - clock.seconds(), 0)
            pieces = await self._peer.some(size, left, more=bool(decoded))
            if pieces is None:
                break
            if not pieces:
                raise FileRefused("incomplete", INCOMPLETE)
            await self._decode_all(pieces)
        return decoded.take(size)

    async def _decode_all(self, pieces: list[Piece]) -> None:
        """Decode pieces, and let other peers go on meanwhile; leave what follows the body to the next."""
        for index, piece in enumerate(pieces):
            view = memoryview(piece)
            for start in range(0, len(piece), _SLICE):
                events = self._decode(view[start : start + _SLICE])
                if self.over:
                    self._put_back(view[start + _SLICE :], *pieces[index + 1 :])
                    return
                if events > _MANY_EVENTS:
                    await _let_others_go_on(self._peer.clock)

    def _put_back(self, *pieces: Piece) -> None:
        """Leave what follows the last chunk to the next request."""
        rest, _ = self._http.trailing_data
        self._peer.put_back([rest, *pieces])

    def _decode(self, piece: Piece) -> int:
        """Decode a piece of chunks; return the number of events."""
        events = 0
        try:
            self._http.receive_data(cast("bytes", piece))  # it takes views, too
            while (event := self._http.next_event()) is not h11.NEED_DATA:
                events += 1
                if isinstance(event, h11.Data):
                    self._decoded.append(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    self.trailers = Headers(list(event.headers))
                    self.over = True
                    return events
        except h11.RemoteProtocolError as error:
            raise FileRefused("bad-request", f"expected chunks: {error}") from None
        return events

    async def send(self, answer: Answer) -> bool:
        """Send the final answer.

        Returns:
            Whether another request may follow on this connection.

        Raises:
            Gone: the connection broke.
        """
        try:
            await self._send(answer)
        finally:
            if not isinstance(answer.body, bytes):
                answer.body.close()
        return self.over and self._http.our_state is h11.DONE

    async def _send(self, answer: Answer) -> None:
        headers = [("Date", formatdate(usegmt=True)), ("Server", "sockd"), *answer.headers]
        body, http = answer.body, self._http
        names = {name.lower() for name, _ in headers}
        if isinstance(body, bytes) and answer.status not in _NO_BODY and "content-length" not in names:
            headers.append(("Content-Length", str(len(body))))
        if not self.over:
            headers.append(("Connection", "close"))
        status = h11.Response(status_code=answer.status, headers=headers, reason=phrase(answer.status))
        head = http.send(status) or b""
        if not self._for_head and isinstance(body, bytes) and body:
            head += http.send(h11.Data(data=body)) or b""
        self._peer.write(head)
        if not self._for_head and not isinstance(body, bytes):
            await self._peer.send(self._framed(body))
        self._peer.write(http.send(h11.EndOfMessage()) or b"")

    async def _framed(self, body: Body) -> AsyncIterator[bytes]:
        async for data in body:
            yield self._http.send(h11.Data(data=data)) or b""


async def _let_others_go_on(clock: IReactorTime) -> None:
    turn: Deferred[None] = Deferred()
    clock.callLater(0, turn.callback, None)
    await turn
