"""Connection to one server, from its INFO to its end: subscriptions, requests, signs of life."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from typing import Protocol as Contract

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITLSTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from sockd.broker.contract import BrokerAway
from sockd.broker.nats.wire import Control, Message, Reader, WireFault, publication
from sockd.text import printable

HANDSHAKE = 3.0
"""Seconds until a server has to have accepted the client."""

LEAST_VERSION = (2, 11)
"""Version of the server: since 2.11 messages may have a lifetime."""

MOST_REASON = 200
"""Characters that are shown of a server's words."""

Take = Callable[[Message], None]


@dataclass(frozen=True, slots=True)
class Greeting:
    """Answer to a server's INFO: what CONNECT tells it, and how TLS is spoken with it.

    Attributes:
        connect: returns the keys of CONNECT that prove who the client is, for a nonce.
        tls: context of TLS for a host; None where only what the server asks for decides.
        must_encrypt: whether a server without TLS is refused.
    """

    connect: Callable[[str], Mapping[str, str]]
    tls: Callable[[], Any]
    must_encrypt: bool


class Owner(Contract):
    """Owner of a connection."""

    def connected(self, connection: Connection) -> None:
        """Use a connection from now on: the server has accepted the client."""

    def lost(self, connection: Connection, reason: str) -> None:
        """Take note of the end, which comes once, with its reason in words."""


class Connection(Protocol):
    """Connection of a client.

    Args:
        greeting: proof of who this client is.
        owner: told of the beginning and the end.
        clock: for deadlines.

    Attributes:
        clock: keeps the time.
        info: what the server has said about itself last.
    """

    def __init__(self, greeting: Greeting, owner: Owner, clock: IReactorTime) -> None:
        self.info: dict[str, Any] = {}
        self._greeting = greeting
        self._owner = owner
        self.clock = clock
        self._reader = Reader()
        self._subscriptions: dict[int, Take] = {}
        self._sids = 0
        self._pongs: deque[Deferred[None]] = deque()
        self._answers: dict[str, Deferred[Message]] = {}
        self._inbox = ""
        self._requests = 0
        self._reason = ""
        self._deadline: IDelayedCall | None = None
        self._gathered: list[bytes] | None = None
        self._ended = False

    # Its life.

    @override
    def connectionMade(self) -> None:
        self._deadline = self.clock.callLater(HANDSHAKE, self.abort, f"no answer within {HANDSHAKE:g} s")

    @override
    def dataReceived(self, data: bytes) -> None:
        self._gathered = []  # what is written meanwhile leaves in one piece
        try:
            for each in self._reader.feed(data):
                if isinstance(each, Message):
                    take = self._subscriptions.get(each.sid)
                    if take is not None:
                        take(each)
                else:
                    self._obey(each)
        except WireFault as fault:
            self.abort(f"it does not speak NATS: {fault}")
        finally:
            gathered, self._gathered = self._gathered, None
            if gathered:
                self._write(b"".join(gathered))

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended = True
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        words = self._reason or printable(reason.getErrorMessage())[:MOST_REASON]
        self._subscriptions.clear()
        pongs, self._pongs = self._pongs, deque()
        answers, self._answers = self._answers, {}
        for pong in pongs:
            pong.errback(BrokerAway(words))
        for answer in answers.values():
            answer.errback(BrokerAway(words))
        self._owner.lost(self, words)

    def abort(self, reason: str) -> None:
        """End it at once, for this reason."""
        self._reason = self._reason or reason
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def _obey(self, control: Control) -> None:
        match control.word:
            case "INFO":
                self._informed(control.rest)
            case "PING":
                self._write(b"PONG\r\n")
            case "PONG" if self._pongs:
                self._pongs.popleft().callback(None)
            case "-ERR":
                # The server closes after all but complaints about single subjects.
                words = printable(control.rest.decode("utf-8", "replace").strip("' "))[:MOST_REASON]
                self._reason = f"the server says: {words}"
            case "PONG" | "+OK":
                pass
            case _:
                raise WireFault(f"a line {control.word[:20]!r}")

    def _informed(self, text: bytes) -> None:
        first = not self.info
        try:
            info = json.loads(text)
        except ValueError as error:
            raise WireFault("INFO without JSON") from error
        if not isinstance(info, dict):
            raise WireFault("INFO without an object")
        self.info = {**self.info, **info}
        if not first:
            return
        version = str(info.get("version", ""))
        if _numbers(version) < LEAST_VERSION:
            least = ".".join(map(str, LEAST_VERSION))
            self.abort(f"the server has version {printable(version)[:20]}, and {least} is the least")
            return
        if info.get("tls_required") or self._greeting.must_encrypt:
            if not (info.get("tls_required") or info.get("tls_available")):
                self.abort("the server does not speak TLS")
                return
            cast("ITLSTransport", self.transport).startTLS(self._greeting.tls())
        options = {
            "verbose": False,
            "pedantic": False,
            "lang": "python",
            "version": "1",
            "protocol": 1,
            "headers": True,
            "no_responders": True,
            "name": "sockd",
            **self._greeting.connect(str(info.get("nonce", ""))),
        }
        self._inbox = f"_INBOX.{info.get('client_id', 0)}.{id(self):x}."
        self._write(b"CONNECT %b\r\n" % json.dumps(options).encode())
        self.subscribe(f"{self._inbox}*", self._answered)
        self.ping().addCallbacks(self._accepted, lambda _: None)

    def _accepted(self, _: None) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._owner.connected(self)

    # What it does for its owner.

    def subscribe(self, subject: str, take: Take) -> int:
        """Subscribe to a subject, and return the number of the subscription."""
        self._sids += 1
        self._subscriptions[self._sids] = take
        self._write(f"SUB {subject} {self._sids}\r\n".encode())
        return self._sids

    def unsubscribe(self, sid: int) -> None:
        """End a subscription."""
        if self._subscriptions.pop(sid, None) is not None:
            self._write(f"UNSUB {sid}\r\n".encode())

    def inbox(self) -> str:
        """Return a subject that nobody else has."""
        self._requests += 1
        return f"{self._inbox}{self._requests}"

    def publish(
        self, subject: str, data: bytes, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Publish a message."""
        self._write(publication(subject, data, reply, headers))

    def ask(
        self, subject: str, data: bytes, within: float, headers: Mapping[str, str] | None = None
    ) -> Deferred[Message]:
        """Publish a message and return its answer.

        It fails with BrokerAway when there is none within so many seconds, or the connection ends.
        """
        if self._ended:
            return fail(BrokerAway("the connection has ended"))
        inbox = self.inbox()
        answer: Deferred[Message] = Deferred(lambda _: self._forget(inbox))
        self._answers[inbox] = answer
        late = self.clock.callLater(within, self._late, inbox, within)

        def answered(result: Any) -> Any:
            if late.active():
                late.cancel()
            return result

        answer.addBoth(answered)
        self.publish(subject, data, inbox, headers)
        return answer

    def ping(self) -> Deferred[None]:
        """Return what fires when the server has answered to everything before."""
        pong: Deferred[None] = Deferred()
        self._pongs.append(pong)
        self._write(b"PING\r\n")
        return pong

    def _answered(self, message: Message) -> None:
        answer = self._answers.pop(message.subject, None)
        if answer is not None:
            answer.callback(message)

    def _forget(self, inbox: str) -> None:
        self._answers.pop(inbox, None)

    def _late(self, inbox: str, within: float) -> None:
        answer = self._answers.pop(inbox, None)
        if answer is not None:
            answer.errback(BrokerAway(f"no answer within {within:g} s"))

    def _write(self, data: bytes) -> None:
        if self._gathered is not None:
            self._gathered.append(data)
        elif self.transport is not None:
            self.transport.write(data)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version."""
    found = []
    for part in version.split("."):
        if not part.isascii() or not part.isdigit() or len(part) > 6:
            break
        found.append(int(part))
    return tuple(found)
