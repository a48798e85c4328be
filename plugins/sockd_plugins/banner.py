"""Banner: sends one fixed text to each peer, then closes.

Over streams the text is sent as soon as a peer connects, or with `after = "message"` once its first bytes
have arrived, whatever they are. No newline is added. Then sockd ends its own side and ignores what the peer
still sends until the peer closes too. A socket that is closed with unread input resets the connection, and a
text under way is lost with it. A peer that goes on for longer than 5 seconds or with more than 64 KiB is
closed. A peer that ends its side before its first message gets nothing.

Over datagrams each datagram, an empty one too, is answered by the text, which may have 1,232 bytes there. The
answer is larger than the question, and its address may be forged: limit who may ask, and how often.

The text is an option or a file of at most 1 MiB. The file is read with the configuration: a reload sends its
new content.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocolFactory,
    IReactorTime,
    ITCPTransport,
    IUDPTransport,
)
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from sockd.errors import PluginError, ValueFault
from sockd.plugin import Context, FileContent, IDatagramPlugin, IStreamPlugin, Plugin, Replies

_MAX_TEXT = 1024 * 1024
"""Bytes of the text at most; each peer that does not read costs as many."""

_MAX_DATAGRAM = 1_232
"""Bytes that cross every network in one IPv6 packet: 1,280 without the headers of IPv6 and UDP."""

_LINGER = 5.0
"""Seconds for a peer to take the text and close; enough for a slow network, and a bound for an attacker."""

_MAX_IGNORED = 64 * 1024
"""Bytes that a peer may have sent before it got the text, such as a request; more is abuse."""


@implementer(IStreamPlugin, IDatagramPlugin)
class Banner(Plugin):
    """Send the same text to each peer."""

    text: str | None = Field(default=None, max_length=_MAX_TEXT, description="The text.")
    file: Annotated[bytes | None, FileContent(_MAX_TEXT)] = Field(
        default=None, description="A file with the text, instead of `text`."
    )
    after: Literal["connect", "message"] = Field(
        default="connect",
        description="When a peer over a stream gets the text: on connect, or after its first bytes.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.text is None) == (self.file is None):
            raise ValueFault("either text or file", "neither" if self.text is None else "both")
        return self

    @property
    def _content(self) -> bytes:
        return self.file if self.file is not None else (self.text or "").encode()

    @property
    def replies(self) -> Replies:
        """Bound: the text, however short the question."""
        return Replies(factor=0, floor=len(self._content))

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:  # noqa: ARG002
        """Build a protocol for each connection, which sends the text once."""
        return Factory.forProtocol(partial(_BannerStream, self._content, self.after, context.clock))

    def datagram_protocol(self, protocol: str, context: Context) -> DatagramProtocol:  # noqa: ARG002
        """Build the protocol that answers each datagram with the text."""
        content = self._content
        if len(content) > _MAX_DATAGRAM:
            raise PluginError(
                f"expected a banner of at most {_MAX_DATAGRAM} bytes for datagrams, found {len(content)}:"
                " shorten it, or list only tcp and unix endpoints"
            )
        return _BannerDatagrams(content)


@implementer(IHalfCloseableProtocol)
class _BannerStream(Protocol):
    transport: ITCPTransport

    def __init__(self, content: bytes, after: str, clock: IReactorTime) -> None:
        self._content = content
        self._after = after
        self._clock = clock
        self._ignored = 0
        self._deadline: IDelayedCall | None = None  # set once the text is sent

    @override
    def connectionMade(self) -> None:
        if self._after == "connect":
            self._send()

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._deadline is None:
            self._send()
            return
        self._ignored += len(data)
        if self._ignored > _MAX_IGNORED:
            self.transport.loseConnection()

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: the text is sent, and the peer has to close."""

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def _send(self) -> None:
        self.transport.write(self._content)
        self.transport.loseWriteConnection()
        self._deadline = self._clock.callLater(_LINGER, self.transport.loseConnection)


class _BannerDatagrams(DatagramProtocol):
    transport: IUDPTransport

    def __init__(self, content: bytes) -> None:
        self._content = content

    @override
    def datagramReceived(self, datagram: bytes, addr: tuple[str, int] | None) -> None:
        if addr is not None:
            self.transport.write(self._content, addr)
