"""Echo (RFC 862): what arrives goes back, byte for byte.

Over streams every segment is returned as it came, until the peer closes; a peer that ends its sending
side gets all that is still on its way back. Over datagrams each one is answered by its copy, an empty one
too; a peer without an address (an unbound UNIX socket) gets none. There are no limits and no errors here:
a peer that sends and does not read is bounded by its connection's limits.
"""

from __future__ import annotations

from typing import ClassVar

from twisted.internet.interfaces import IProtocolFactory, ITransport, IUDPTransport
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from typing_extensions import override
from zope.interface import implementer

from sockd.plugin import Context, IDatagramPlugin, IStreamPlugin, Plugin, Replies


@implementer(IStreamPlugin, IDatagramPlugin)
class Echo(Plugin):
    """Return what arrives, byte for byte (RFC 862)."""

    replies: ClassVar[Replies] = Replies(factor=1)

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:  # noqa: ARG002
        """Each connection echoes for itself."""
        return Factory.forProtocol(_EchoStream)

    def datagram_protocol(self, protocol: str, context: Context) -> DatagramProtocol:  # noqa: ARG002
        """All peers are answered alike."""
        return _EchoDatagrams()


class _EchoStream(Protocol):
    transport: ITransport

    @override
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class _EchoDatagrams(DatagramProtocol):
    transport: IUDPTransport

    @override
    def datagramReceived(self, datagram: bytes, addr: tuple[str, int] | None) -> None:
        if addr is not None:
            self.transport.write(datagram, addr)
