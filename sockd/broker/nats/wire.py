r"""Wire format of NATS: what a client and a server write to each other.

A server begins; each line ends with CR LF:

    server  INFO {"server_id":"…","version":"2.11.0","headers":true,"max_payload":1048576,"nonce":"…",…}
    client  CONNECT {"verbose":false,"headers":true,"no_responders":true,…}
    client  PING                            server  PONG
    client  SUB rooms.> 1                   messages of these subjects come with the number 1
    client  PUB rooms.ops inbox.7 5         a subject, where an answer goes to, and the size
            hello
    client  HPUB rooms.ops inbox.7 26 31    with headers: their size, and that of all
            NATS/1.0
            Trace: 17

            hello
    server  MSG rooms.ops 1 inbox.7 5       the number is that of the subscription
            hello
    server  HMSG rooms.ops 1 inbox.7 26 31
    server  -ERR 'Authorization Violation'

The first line of headers may have a status: `NATS/1.0 503` says that nobody answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MOST_LINE = 65536
"""Bytes of a line: an INFO names every server of a cluster."""

MOST_PAYLOAD = 8 * 2**20
"""Bytes of a message with its headers: the most that a server should be set to."""


class WireFault(Exception):
    """Fault of the other end: it does not speak NATS."""


@dataclass(frozen=True, slots=True)
class Message:
    """Message to a subscription.

    Attributes:
        subject: where it was published.
        sid: number of the subscription.
        reply: where an answer goes to; empty without one.
        head: headers as they came, empty without any.
        data: the rest.
    """

    subject: str
    sid: int
    reply: str
    head: bytes
    data: bytes

    @property
    def status(self) -> int:
        """Status of an answer that has one, such as 503; 0 without."""
        status = self.head[9:12]
        return int(status) if status.isdigit() else 0

    @property
    def headers(self) -> dict[str, str]:
        """Headers by their names in lower case."""
        found = {}
        for line in self.head.decode("utf-8", "replace").split("\r\n")[1:]:
            name, colon, value = line.partition(":")
            if colon:
                found[name.lower()] = value.strip()
        return found


@dataclass(frozen=True, slots=True)
class Control:
    """Line that is no message: INFO, PING, PONG, +OK or -ERR, with the rest of the line."""

    word: str
    rest: bytes


class Reader:
    """Reader of what a server sends."""

    def __init__(self) -> None:
        self._data = b""
        self._need = 0  # bytes without which the first message is not whole

    def feed(self, data: bytes) -> Iterator[Message | Control]:
        """Yield what is whole by now.

        Raises:
            WireFault: the bytes are not NATS.
        """
        self._data = data = self._data + data if self._data else data
        if len(data) < self._need:
            return
        at = 0
        self._need = 0
        try:
            while (end := data.find(b"\r\n", at, at + MOST_LINE)) >= 0:
                line = data[at:end]
                if line.startswith((b"MSG ", b"HMSG ")):
                    words = line.decode("utf-8", "replace").split()
                    size = int(words[-1])
                    if not 0 <= size <= MOST_PAYLOAD:
                        raise WireFault(f"a message of {size} bytes")
                    begin, after = end + 2, end + 2 + size
                    if len(data) < after + 2:
                        self._need = after + 2 - at
                        break
                    yield _message(words, data, begin, after)
                    at = after + 2
                else:
                    word, _, rest = line.partition(b" ")
                    yield Control(word.decode("utf-8", "replace").upper(), rest)
                    at = end + 2
            else:
                if len(data) - at > MOST_LINE:
                    raise WireFault(f"a line of more than {MOST_LINE} bytes")
        except (ValueError, IndexError) as error:
            raise WireFault(f"no line of NATS: {bytes(data[at : at + 80])!r}") from error
        finally:
            self._data = data[at:] if at else data


def _message(words: list[str], data: bytes, begin: int, after: int) -> Message:
    """Return the message of a line `[H]MSG subject sid [reply] [size of headers] size`."""
    if words[0] == "MSG":
        reply = words[3] if len(words) == 5 else ""
        return Message(words[1], int(words[2]), reply, b"", data[begin:after])
    reply = words[3] if len(words) == 6 else ""
    middle = begin + int(words[-2])
    if not begin <= middle <= after:
        raise ValueError("headers outside of the message")
    return Message(words[1], int(words[2]), reply, data[begin:middle], data[middle:after])


def publication(
    subject: str, data: bytes, reply: str = "", headers: Mapping[str, str] | None = None
) -> bytes:
    """Return the bytes that publish a message.

    Args:
        subject: where to.
        data: the message.
        reply: where an answer goes to.
        headers: names and values, without line ends.
    """
    to = f"{subject} {reply}" if reply else subject
    if not headers:
        return b"PUB %b %d\r\n%b\r\n" % (to.encode(), len(data), data)
    head = "".join(
        ["NATS/1.0\r\n", *(f"{name}: {value}\r\n" for name, value in headers.items()), "\r\n"]
    ).encode()
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (to.encode(), len(head), len(head) + len(data), head, data)
