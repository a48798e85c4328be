r"""Clients' side of the desk, for `nc`, `telnet`, `socat` and the clients of every socket tutorial.

Over TCP and UNIX sockets a line is a message, ended by LF or CR LF; over UDP and UNIX datagrams a datagram
is one, and white space at its ends is ignored. Blank messages are ignored. `q` alone ends the dialogue, and
so does the end of the connection, or no datagram for `silence` seconds. The desk sends a client these texts,
each as a line or datagram that ends with LF:

    text of the option `greeting`           once, when it connects; not over UDP, whose senders may be forged
    text of the option `absent`             once, when it writes and no operator is connected
    answers of operators                    as they wrote them
    the desk is full, try again later       and a connection is closed
    a message has at most 1000 bytes        and a connection is closed
    the server is closing                   and a connection is closed

A message is shown to operators as UTF-8; other bytes and control characters are written out: `\xff`,
`\x1b`. At most half of `max_clients` take part by datagram, so that forged addresses leave the other half to
connections; no client is removed for a newcomer. Refusals by datagram are sent at most `REFUSALS` times a
second. A UNIX socket that is not bound to a path has no address, cannot be answered and is ignored. Peers
that speak telnet are refused every option, and get CR LF as line ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITransport
from twisted.internet.protocol import DatagramProtocol, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override

from sockd.framing import FrameTooLong, Lines
from sockd.telnet import Telnet
from sockd.text import decoded, printable
from sockd_plugins.desk.dialogues import Client, ClientRefused, Dialogues
from sockd_plugins.token_bucket import TokenBucket

END = "q"
"""Message of a client that ends its dialogue."""

REFUSALS, REFUSALS_AT_ONCE = 10, 50
"""Refusals by datagram per second, and at once after a quiet time: the address may be forged, or belong to a
service that answers them."""

Address = tuple[str, int] | str | bytes
"""Address of a UDP peer; or a path or an abstract name of a UNIX socket."""


class ClientLines(Protocol):
    """Connection of a client.

    Args:
        dialogues: the desk.
        greeting: text to send first; empty for none.
        max_length: bytes of a message at most.
    """

    transport: ITransport
    _telnet: Telnet

    def __init__(self, dialogues: Dialogues, greeting: str, max_length: int) -> None:
        self._dialogues = dialogues
        self._greeting = greeting
        self._lines = Lines(max_length)
        self._client: Client | None = None

    @override
    def connectionMade(self) -> None:
        self._telnet = Telnet(self.transport.write)
        peer = self.transport.getPeer()
        host, port = getattr(peer, "host", ""), getattr(peer, "port", 0)
        try:
            self._client = self._dialogues.open(_shown((host, port) if host else "unix"), self)
        except ClientRefused as refused:
            self.send(str(refused))
            self.end()
            return
        if self._greeting:
            self.send(self._greeting)

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._client is None:
            return
        try:
            for line in self._lines.feed(self._telnet.feed(data)):
                self._received(self._client, decoded(line))
                if self._client is None:
                    return
        except FrameTooLong as error:
            self.send(f"a message has at most {error.limit} bytes")
            self._leave("too long a message")
            self.end()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._leave("disconnected")

    def send(self, text: str) -> None:
        """Send one line."""
        self.transport.write(text.encode() + self._telnet.line_end)

    def end(self) -> None:
        """Close the connection."""
        self._client = None
        self.transport.loseConnection()

    def _received(self, client: Client, text: str) -> None:
        if text.strip() == END:
            self._leave(END)
            self.end()
        elif text and not text.isspace():
            self._dialogues.heard(client, text)

    def _leave(self, reason: str) -> None:
        if self._client is not None:
            self._dialogues.leave(self._client, reason)


@dataclass(frozen=True, slots=True)
class Correspondent:
    """Address of a client by datagram, with its listener."""

    listener: ClientDatagrams
    address: Address

    def send(self, text: str) -> None:
        """Send one datagram."""
        self.listener.send(text, self.address)

    def end(self) -> None:
        """Forget the address."""
        self.listener.forget(self.address)


class ClientDatagrams(DatagramProtocol):
    """Listener for clients by datagram.

    Args:
        dialogues: the desk.
        clock: for a timer for each client.
        silence: seconds without a datagram after which a client is removed.
        max_length: bytes of a message at most.
    """

    noisy = False

    def __init__(self, dialogues: Dialogues, clock: IReactorTime, silence: float, max_length: int) -> None:
        self._dialogues = dialogues
        self._clock = clock
        self._silence = silence
        self._max_length = max_length
        self._clients: dict[Address, tuple[Client, IDelayedCall]] = {}
        self._refusals = TokenBucket(REFUSALS, REFUSALS_AT_ONCE, clock.seconds)

    @override
    def datagramReceived(self, datagram: bytes, addr: Address | None) -> None:
        if addr is None:
            return
        text = decoded(datagram.strip())
        if text == END:
            self._leave(addr, END)
        elif len(datagram) > self._max_length:
            self._refuse(f"a message has at most {self._max_length} bytes", addr)
        elif addr in self._clients:
            client, timer = self._clients[addr]
            timer.reset(self._silence)
            if text:
                self._dialogues.heard(client, text)
        elif text:
            self._newcomer(addr, text)

    @override
    def stopProtocol(self) -> None:
        for addr in tuple(self._clients):
            self._leave(addr, "disconnected")

    def send(self, text: str, addr: Address) -> None:
        """Send one datagram, unless the listener is closed."""
        if self.transport is not None:
            self.transport.write(f"{text}\n".encode(), addr)  # type: ignore[arg-type]  # UNIX: a path

    def forget(self, addr: Address) -> None:
        """Forget an address; its next datagram belongs to a new client."""
        _, timer = self._clients.pop(addr)
        if timer.active():
            timer.cancel()

    def _newcomer(self, addr: Address, text: str) -> None:
        try:
            client = self._dialogues.open(_shown(addr), Correspondent(self, addr), by_datagram=True)
        except ClientRefused as refused:
            self._refuse(str(refused), addr)
            return
        timer = self._clock.callLater(self._silence, self._leave, addr, "silent")
        self._clients[addr] = client, timer
        self._dialogues.heard(client, text)

    def _refuse(self, reason: str, addr: Address) -> None:
        if self._refusals.take():
            self.send(reason, addr)

    def _leave(self, addr: Address, reason: str) -> None:
        if addr in self._clients:
            client, _ = self._clients[addr]
            self.forget(addr)
            self._dialogues.leave(client, reason)


def _shown(address: Address) -> str:
    """Format an address for operators; the name of a UNIX socket is the peer's choice."""
    if isinstance(address, tuple):
        host, port = address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return decoded(address) if isinstance(address, bytes) else printable(address)
