"""Connections of HTTP/1.1: request after request, read within bounds by h11 (RFC 9112).

A request has its whole body before it is answered, and the next one is read after the answer. An answer may
be a `Stream`, which has the connection from then on.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import h11
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from sockd.plugin import first_message_received
from sockd_plugins.chat.web.request import Answer, Problem, Request, phrase, refusal

MOST_HEAD = 32_768
"""Bytes of a request's line and headers. Browsers send the cookies of every service on the same host."""

MOST_BODY = 65_536
"""Bytes of a body: a message in any escaping, and what programs report."""

MOST_FIELDS = 100
"""Fields of a head, and of a query."""

REQUEST_SECONDS = 20.0
"""Seconds from the first byte of a request to its last."""

KEPT_SECONDS = 75.0
"""Seconds for which a connection waits for another request; browsers keep theirs a little longer."""


class Stream(Protocol):
    """Conversation that goes on over a connection after its request."""

    def begin(self, transport: Any, rest: bytes) -> None:
        """Write what answers the request, and take the bytes that have come after it."""

    def received(self, data: bytes) -> None:
        """Take bytes of the peer."""

    def ended(self) -> None:
        """Note that the peer sends no more."""

    def lost(self) -> None:
        """Note that the connection is lost. Called once, also if it was lost before `begin`."""


class Answering(Protocol):
    """Service that requests are for."""

    async def answer(self, request: Request) -> Answer | Stream:
        """Answer a request, or raise `Problem`."""


@implementer(IHalfCloseableProtocol)
class WebConnection(TwistedProtocol):
    """Connection of one client.

    Args:
        site: answers the requests.
        clock: of the service.
        log: gets faults.
    """

    transport: Any

    def __init__(self, site: Answering, clock: IReactorTime, log: Logger) -> None:
        self._site = site
        self._clock = clock
        self._log = log
        self._host = "-"
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._stream: Stream | None = None
        self._deadline: IDelayedCall | None = None
        self._reading = False  # a request has begun, and its end is awaited
        self._busy = False  # a request is being answered
        self._looping = False  # what has come is being read, one request after the other
        self._paused = False  # nothing is read meanwhile
        self._ended = False  # the peer sends no more
        self._closing = False

    @override
    def connectionMade(self) -> None:
        self._host = getattr(self.transport.getPeer(), "host", None) or "-"
        self._await(KEPT_SECONDS)

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.received(data)
        elif not self._closing:
            if not self._reading and not self._busy:
                self._reading = True
                self._await(REQUEST_SECONDS)
            self._read(data)

    def readConnectionLost(self) -> None:
        """Note that the peer sends no more; what it has asked for is answered."""
        self._ended = True
        if self._stream is not None:
            self._stream.ended()
        elif not self._busy:
            self._close()

    def writeConnectionLost(self) -> None:
        """Do nothing: the peer's side goes on."""

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._stop_waiting()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.lost()

    def _read(self, data: bytes = b"") -> None:
        """Read what has come, until a request is whole."""
        self._looping = True
        try:
            if data:
                self._http.receive_data(data)
            while not self._busy and not self._closing and self._stream is None:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    self._begin(event)
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    self._check_body(len(self._body))
                elif isinstance(event, h11.EndOfMessage):
                    self._answer(self._whole())
                elif isinstance(event, h11.ConnectionClosed):
                    self._close()
                else:
                    return
        except h11.RemoteProtocolError as error:
            text = f"expected a request of HTTP/1.1: {error}"
            self._send(refusal(None, Problem(error.error_status_hint, "bad_request", text)))
            self._close()
        except Problem as problem:
            self._send(refusal(None, problem))
            self._close()
        finally:
            self._looping = False

    def _begin(self, head: h11.Request) -> None:
        """Take the head of a request."""
        first_message_received(self.transport)
        if not self._reading:
            self._reading = True
            self._await(REQUEST_SECONDS)
        self._head = head
        self._body.clear()
        if len(head.headers) > MOST_FIELDS:
            raise Problem(431, "bad_request", f"expected at most {MOST_FIELDS} header fields, found more")
        lengths = [int(value) for name, value in head.headers if name == b"content-length"]
        self._check_body(*lengths)
        if self._http.they_are_waiting_for_100_continue:
            interim = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
            self.transport.write(self._http.send(interim) or b"")

    def _check_body(self, size: int = 0) -> None:
        if size > MOST_BODY:
            raise Problem(413, "too_large", f"expected a body of at most {MOST_BODY} bytes, found more")

    def _whole(self) -> Request:
        """Return the request that has come."""
        head = self._head
        assert head is not None  # noqa: S101  # its end has come
        headers: dict[str, str] = {}
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            headers[name] = f"{had}, {value}" if (had := headers.get(name)) is not None else value
        target = head.target.decode("ascii", "replace")
        path, _, query = target.partition("#")[0].partition("?")
        if not path.startswith("/"):
            raise Problem(400, "bad_request", "expected a target that begins with '/'")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
            path = unquote(path, errors="strict")
        except ValueError:
            text = f"expected a target in UTF-8, with at most {MOST_FIELDS} fields in the query"
            raise Problem(400, "bad_request", text) from None
        method = head.method.decode("ascii")
        return Request(method, path, target, dict(pairs), headers, bytes(self._body), self._host)

    def _answer(self, request: Request) -> None:
        self._reading = False
        self._busy = True
        self._stop_waiting()
        Deferred.fromCoroutine(self._answer_whole(request)).addErrback(self._fail)
        if self._busy:
            self._paused = True
            self.transport.pauseProducing()

    async def _answer_whole(self, request: Request) -> None:
        answer: Answer | Stream
        try:
            answer = await self._site.answer(request)
        except Problem as problem:
            answer = refusal(request, problem)
        except Exception:  # a fault of one request must not end others
            self._log.failure("plugin fault", peer=self._host)
            failed = Problem(500, "failed", "the server has failed; its log tells why")
            answer = refusal(request, failed)
        self._busy = False
        if not isinstance(answer, Answer):
            self._hand_over(answer)
        elif not self._closing:
            self._send(answer, whole=True, for_head=request.method == "HEAD")
            self._go_on()
        if self._paused and not (self._closing or self.transport.disconnecting):
            self._paused = False
            self.transport.resumeProducing()

    def _fail(self, failure: Failure) -> None:
        self._log.failure("plugin fault", failure, peer=self._host)
        self.transport.abortConnection()

    def _hand_over(self, stream: Stream) -> None:
        """Leave the connection to a stream."""
        if self._closing:
            stream.lost()
            return
        rest, _ = self._http.trailing_data
        self._stream = stream
        del self._http, self._head, self._body  # they are larger than all of a conversation
        stream.begin(self.transport, rest)
        if self._ended:
            stream.ended()

    def _send(self, answer: Answer, *, whole: bool = False, for_head: bool = False) -> None:
        """Send an answer.

        Args:
            answer: what to send.
            whole: whether the request has been read to its end, so that another one may follow.
            for_head: whether the body is left out.
        """
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [("Date", formatdate(usegmt=True)), ("Server", "sockd"), *answer.headers]
        if answer.status not in (204, 304):
            headers.append(("Content-Length", str(len(answer.body))))
        if not whole or self._ended:
            headers.append(("Connection", "close"))
        response = h11.Response(status_code=answer.status, headers=headers, reason=phrase(answer.status))
        data = self._http.send(response) or b""
        if answer.body and not for_head:
            data += self._http.send(h11.Data(data=answer.body)) or b""
        self.transport.write(data)
        if whole:
            self.transport.write(self._http.send(h11.EndOfMessage()) or b"")

    def _go_on(self) -> None:
        """Wait for the next request, if there may be one."""
        if self._http.our_state is not h11.DONE or self._ended:
            self._close()
            return
        self._http.start_next_cycle()
        self._await(KEPT_SECONDS)
        if not self._looping:
            self._read()

    def _await(self, seconds: float) -> None:
        """Wait so many seconds for the peer."""
        if self._deadline is not None:
            self._deadline.reset(seconds)
        else:
            self._deadline = self._clock.callLater(seconds, self._late)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if self._reading:
            text = f"expected the whole request within {REQUEST_SECONDS:g} seconds"
            self._send(refusal(None, Problem(408, "too_slow", text)))
        self._close()

    def _close(self) -> None:
        self._closing = True
        self._stop_waiting()
        self.transport.loseConnection()
