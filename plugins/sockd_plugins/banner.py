"""Banner: one fixed text for everybody, then the end.

Over streams the text is sent as soon as a peer connects, or with `after = "message"` once its first bytes
have arrived, whatever they are. No newline is added to it. Then sockd ends its own side and ignores what
the peer still sends until the peer closes too, because a socket that is closed with unread input resets
the connection, and a text in flight is lost with it. A peer that goes on for longer than 5 seconds or
with more than 64 KiB is closed. One that ends its side without the message it should send gets nothing.

Over datagrams each one, an empty one too, is answered by the text, which may have 1,232 bytes there. That
is more than was asked with, to an address that may be forged: limit who may ask, and how often.

The text is an option or a file of at most 1 MiB, which is read with the configuration: a reload sends what
the file says then.
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
"""Bytes; each peer that does not read costs as many."""

_MAX_DATAGRAM = 1_232
"""Bytes that cross every network in one IPv6 packet: 1,280 without the headers of IPv6 and UDP."""

_LINGER = 5.0
"""Seconds for a peer to take the text and close; a person's network is slow, an attacker's patience long."""

_MAX_IGNORED = 64 * 1024
"""Bytes from a peer that were sent before it could know better, such as a request; more is abuse."""


@implementer(IStreamPlugin, IDatagramPlugin)
class Banner(Plugin):
    """Send everybody the same text."""

    text: str | None = Field(default=None, max_length=_MAX_TEXT, description="What is sent.")
    file: Annotated[bytes | None, FileContent(_MAX_TEXT)] = Field(
        default=None, description="A file with what is sent, instead of `text`."
    )
    after: Literal["connect", "message"] = Field(
        default="connect", description="What a stream's peer has to do to get it: connect, or send something."
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
        """The text, however little was asked."""
        return Replies(factor=0, floor=len(self._content))

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:  # noqa: ARG002
        """Each connection gets the text once."""
        return Factory.forProtocol(partial(_BannerStream, self._content, self.after, context.clock))

    def datagram_protocol(self, protocol: str, context: Context) -> DatagramProtocol:  # noqa: ARG002
        """Each datagram gets the text."""
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
        """The text is sent; what is left is to wait for the peer."""

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
