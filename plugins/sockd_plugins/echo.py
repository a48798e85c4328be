"""Echo (RFC 862): sends back what arrives, byte for byte.

Over streams every segment is returned as it came, until the peer closes. A peer that ends its sending side
still gets everything that is on its way back. Over datagrams each one is answered by its copy, an empty one
too; a peer without an address (an unbound UNIX socket) gets no answer. The plugin has no limits and no
errors: the connection's limits bound a peer that sends and does not read.
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
        """Build an echo for each connection."""
        return Factory.forProtocol(_EchoStream)

    def datagram_protocol(self, protocol: str, context: Context) -> DatagramProtocol:  # noqa: ARG002
        """Build the echo of all peers of a listener."""
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
