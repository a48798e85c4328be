"""Plain Twisted server with the same protocols: python -m benchmarks.zoo.plain KIND=PORT…

Run it in the folder of the certificate.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import epollreactor
from twisted.internet.protocol import Factory
from twisted.internet.ssl import PrivateCertificate

from benchmarks.processes import HOST
from benchmarks.servers.twisted_plain import Echo, EchoDatagrams
from benchmarks.zoo.line_echo import LineEcho

SERVED = ("echo", "lines", "tls", "udp")
"""Protocols that plain Twisted has without more code."""


def main(*words: str) -> None:
    """Serve until a signal comes."""
    epollreactor.install()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    ports = {kind: int(port) for kind, _, port in (word.partition("=") for word in words)}
    pair = Path("key.pem").read_bytes() + Path("certificate.pem").read_bytes()
    echo, lines = Factory.forProtocol(Echo), Factory.forProtocol(LineEcho)
    reactor.listenTCP(ports["echo"], echo, backlog=1024, interface=HOST)
    reactor.listenTCP(ports["lines"], lines, backlog=1024, interface=HOST)
    options = PrivateCertificate.loadPEM(pair).options()
    reactor.listenSSL(ports["tls"], echo, options, backlog=1024, interface=HOST)
    reactor.listenUDP(ports["udp"], EchoDatagrams(), interface=HOST)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
