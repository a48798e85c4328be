"""JetStream over a connection: one stream, whose messages are published, read again, and delivered in order.

Requests of the API are JSON messages to `$JS.API.…`, whose answers are JSON too. A publication is answered
by its sequence in the stream. A consumer delivers messages to a subject of the client; the subject to which
each could be acknowledged has its two sequences, in the stream and of the consumer.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.python.failure import Failure

from sockd.broker.contract import BrokerAway
from sockd.broker.nats.connection import MOST_REASON, Connection, Take
from sockd.broker.nats.wire import Message
from sockd.text import printable

ANSWER = 2.0
"""Seconds for an answer. A cluster in which a leader is missing has another one after some five seconds."""

CREATED = 5.0
"""Seconds for a new stream or consumer, about which servers have to agree."""

UNUSED = 30
"""Seconds after which a server forgets a consumer to which nobody listens."""

NOBODY = 503
"""Status of an answer: nobody listens to the subject, such as the API while there is no leader."""

_WRONG_SEQUENCE = (10071, 10164)
_NO_STREAM = 10059
_NO_MESSAGE = 10037

MOST_READ, MOST_READ_BYTES = 64, 2**20
"""Messages, and their bytes, that are read with one request."""

SECOND = 10**9
"""Nanoseconds, in which the API has its durations."""


class JetStreamRefused(BrokerAway):
    """Refusal of a request by the servers.

    Attributes:
        code: their number of the error.
    """

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code


@contextmanager
def _understood() -> Iterator[None]:
    """Take an answer that has not the parts that it should have for none.

    Raises:
        BrokerAway: it cannot be read.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokerAway("an answer of JetStream cannot be read") from error


class WrongSequence(Exception):
    """Refusal of a publication: the subject's last message is another one than was expected.

    Attributes:
        last: sequence of the last message; 0 if there is none, None if the servers do not tell.
    """

    def __init__(self, last: int | None) -> None:
        super().__init__(last)
        self.last = last


@dataclass(frozen=True, slots=True)
class Stored:
    """Message of the stream.

    Attributes:
        seq: its place in the stream.
        subject: where it was published.
        data: its bytes.
    """

    seq: int
    subject: str
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamState:
    """State of the stream.

    Attributes:
        created: when it was created, as the servers write it.
        last: sequence of the last message.
    """

    created: str
    last: int


class Stream:
    """Stream of a connection.

    Args:
        connection: to a server.
        name: of the stream, and first token of its subjects.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self._name = name

    async def ensure(self, wanted: Mapping[str, Any]) -> StreamState:
        """Create the stream if it does not exist, and set what differs from the wanted configuration.

        Raises:
            BrokerAway: it cannot be had, or is one of something else.
        """
        subjects = [f"{self._name}.>"]
        config = {"name": self._name, "subjects": subjects, **wanted}
        try:
            found = await self._ask(f"STREAM.INFO.{self._name}", {})
        except JetStreamRefused as refused:
            if refused.code != _NO_STREAM:
                raise
            found = await self._ask(f"STREAM.CREATE.{self._name}", config, CREATED)
        with _understood():
            has = dict(found["config"])
        if has.get("subjects") != subjects:
            raise BrokerAway(f"the stream {self._name} is not sockd's: its subjects are others")
        if any(has.get(key) != value for key, value in config.items()):
            found = await self._ask(f"STREAM.UPDATE.{self._name}", {**has, **config}, CREATED)
        with _understood():
            return StreamState(str(found["created"]), int(found["state"]["last_seq"]))

    def publish(
        self,
        subject: str,
        data: bytes,
        expected: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Deferred[int]:
        """Publish a message, and return its sequence once it is stored.

        Args:
            subject: where to.
            data: its bytes.
            expected: sequence of the subject's last message, 0 for none; None for any.
            headers: further ones.

        It fails with WrongSequence, or with BrokerAway, after which it may be stored or not.
        """
        more = dict(headers or {})
        if expected is not None:
            more["Nats-Expected-Last-Subject-Sequence"] = str(expected)
        return self.connection.ask(subject, data, ANSWER, more).addCallback(_sequence)

    async def last(self, subject: str) -> Stored | None:
        """Return the last message of a subject, as the leader has it."""
        return await self._get({"last_by_subj": subject})

    async def first_from(self, subject: str, seq: int) -> Stored | None:
        """Return the first message of a subject that is not before a sequence, as the leader has it."""
        return await self._get({"next_by_subj": subject, "seq": max(1, seq)})

    async def read(self, subject: str, seq: int) -> list[Stored]:
        """Return messages of a subject from a sequence on, some of them at once.

        Any server answers that has the stream. One that lags behind may lack the last ones.
        """
        request = {
            "next_by_subj": subject,
            "seq": max(1, seq),
            "batch": MOST_READ,
            "max_bytes": MOST_READ_BYTES,
        }
        found: list[Stored] = []
        ended: Deferred[None] = Deferred()

        def take(message: Message) -> None:
            if ended.called:
                return
            if message.status == NOBODY:
                ended.errback(BrokerAway("JetStream does not answer"))
            elif message.status:  # the end of what there is, or of what was asked for
                ended.callback(None)
            elif (stored := _read(message)) is not None:
                found.append(stored)

        inbox = self.connection.inbox() + "r"
        sid = self.connection.subscribe(inbox, take)
        try:
            self.connection.publish(f"$JS.API.DIRECT.GET.{self._name}", json.dumps(request).encode(), inbox)
            await ended.addTimeout(ANSWER, self.connection.clock)
        except TimedOut as error:
            raise BrokerAway(f"no answer within {ANSWER:g} s") from error
        finally:
            self.connection.unsubscribe(sid)
        return found

    async def _get(self, request: Mapping[str, Any]) -> Stored | None:
        try:
            found = await self._ask(f"STREAM.MSG.GET.{self._name}", request)
        except JetStreamRefused as refused:
            if refused.code == _NO_MESSAGE:
                return None
            raise
        with _understood():
            return _stored(found["message"])

    async def consume(self, take: Take, start: int | None, subjects: Sequence[str] = ()) -> Consumer:
        """Have messages delivered in their order.

        Args:
            take: takes them; `place_of` tells their places.
            start: first sequence; None for the last message of each subject, and what follows.
            subjects: which ones; all without any.
        """
        inbox = self.connection.inbox() + "d"
        sid = self.connection.subscribe(inbox, take)
        config: dict[str, object] = {
            "deliver_subject": inbox,
            "ack_policy": "none",
            "replay_policy": "instant",
            "deliver_policy": "last_per_subject" if start is None else "by_start_sequence",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": UNUSED * SECOND,
        }
        if start is not None:
            config["opt_start_seq"] = start
        if subjects:
            config["filter_subjects"] = list(subjects)
        try:
            request = {"stream_name": self._name, "config": config}
            made = await self._ask(f"CONSUMER.CREATE.{self._name}", request, CREATED)
            with _understood():
                name = str(made["name"])
        except BaseException:  # whatever it was, nothing comes to a subscription without a consumer
            self.connection.unsubscribe(sid)
            raise
        return Consumer(self, sid, name)

    def forget(self, sid: int, consumer: str) -> None:
        """End a consumer; the answer is not waited for."""
        self.connection.unsubscribe(sid)
        self.connection.publish(f"$JS.API.CONSUMER.DELETE.{self._name}.{consumer}", b"")

    async def _ask(self, what: str, request: Mapping[str, Any], within: float = ANSWER) -> dict[str, Any]:
        """Ask the API.

        Raises:
            JetStreamRefused: it refuses.
            BrokerAway: it does not answer.
        """
        data = json.dumps(request).encode() if request else b""
        return _result(await self.connection.ask(f"$JS.API.{what}", data, within))


@dataclass(frozen=True, slots=True)
class Consumer:
    """Delivery of messages that can be ended."""

    stream: Stream
    sid: int
    name: str

    def close(self) -> None:
        """End it."""
        self.stream.forget(self.sid, self.name)


def place_of(message: Message) -> tuple[int, int] | None:
    """Return the sequences of a delivered message in the stream and of its consumer; None if it has none.

    `$JS.ACK.STREAM.CONSUMER.DELIVERIES.SEQ.CONSUMER_SEQ.TIME.PENDING`; servers of accounts that are named
    put two more words in front of STREAM, and may add one at the end.
    """
    words = message.reply.split(".")
    if len(words) < 9 or words[:2] != ["$JS", "ACK"]:
        return None
    at = 5 if len(words) == 9 else 7
    try:
        return int(words[at]), int(words[at + 1])
    except (ValueError, IndexError):
        return None


def _result(message: Message) -> dict[str, Any]:
    """Return the object of an answer; raises as `Stream._ask`."""
    if message.status == NOBODY:
        raise BrokerAway("JetStream does not answer")
    try:
        found = json.loads(message.data)
    except ValueError as error:
        raise BrokerAway("the answer of JetStream is no JSON") from error
    if not isinstance(found, dict):
        raise BrokerAway("the answer of JetStream is no object")
    if isinstance(problem := found.get("error"), dict):
        words, code = printable(str(problem.get("description", "")))[:MOST_REASON], problem.get("err_code")
        raise JetStreamRefused(code if isinstance(code, int) else 0, f"JetStream says: {words}")
    return found


def _sequence(message: Message) -> int:
    """Return the sequence of a stored message."""
    try:
        found = _result(message)
        with _understood():
            seq = int(found["seq"])
            if seq < 1:
                raise ValueError(f"the place {seq}")
            return seq
    except JetStreamRefused as refused:
        if refused.code not in _WRONG_SEQUENCE:
            raise
        last = re.search(r"sequence: ([0-9]{1,19})$", str(refused))
        raise WrongSequence(int(last[1]) if last else None) from refused


def refusal_of(failure: Failure) -> WrongSequence | None:
    """Return the refusal for another sequence; None if there was no answer.

    Raises:
        BaseException: the failure is another one.
    """
    if isinstance(failure.value, WrongSequence):
        return failure.value
    failure.trap(BrokerAway)
    return None


def _read(message: Message) -> Stored | None:
    """Return a message that was read directly; None if its headers are missing."""
    headers = message.headers
    try:
        return Stored(int(headers["nats-sequence"]), headers["nats-subject"], message.data)
    except (KeyError, ValueError):
        return None


def _stored(found: Mapping[str, Any]) -> Stored:
    """Return a message as the API has it in JSON, where bytes are in base64."""
    return Stored(int(found["seq"]), str(found["subject"]), b64decode(found.get("data", "")))
