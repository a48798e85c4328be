"""Server with a plain Twisted `Protocol`: twisted_plain.py tcp|tls|udp|chat PORT REACTOR

For TLS it takes certificate.pem and key.pem of the folder that it is started in.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, ClassVar

from twisted.application.reactors import installReactor
from twisted.internet.interfaces import ITCPTransport, IUDPTransport
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from typing_extensions import override


class Echo(Protocol):
    """Echo of streams."""

    transport: ITCPTransport

    @override
    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    @override
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Chat(LineOnlyReceiver):
    """Chat of lines, as a tutorial has it: the first line is the name."""

    delimiter = b"\n"
    transport: ITCPTransport
    members: ClassVar[dict[bytes, Chat]] = {}
    name = b""

    @override
    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    @override
    def lineReceived(self, line: bytes) -> None:
        if not self.name:
            self.name = line
            self.members[line] = self
            return
        said = b"<%b> %b" % (self.name, line)
        for member in self.members.values():
            if member is not self:
                member.sendLine(said)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.members.pop(self.name, None)


class EchoDatagrams(DatagramProtocol):
    """Echo of datagrams."""

    transport: IUDPTransport

    @override
    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.transport.write(datagram, addr)


def main(protocol: str, port: int, name: str) -> None:
    """Serve until a signal comes."""
    if name == "asyncio-uvloop":
        import uvloop
        from twisted.internet import asyncioreactor

        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        asyncioreactor.install(loop)
    else:
        installReactor(name)
    from twisted.internet import reactor as installed

    reactor: Any = installed

    if protocol == "udp":
        reactor.listenUDP(port, EchoDatagrams(), interface="127.0.0.1")
    elif protocol == "tls":
        from twisted.internet.ssl import PrivateCertificate

        pair = Path("key.pem").read_bytes() + Path("certificate.pem").read_bytes()
        options = PrivateCertificate.loadPEM(pair).options()
        factory = Factory.forProtocol(Echo)
        reactor.listenSSL(port, factory, options, backlog=1024, interface="127.0.0.1")
    else:
        factory = Factory.forProtocol(Chat if protocol == "chat" else Echo)
        reactor.listenTCP(port, factory, backlog=1024, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
