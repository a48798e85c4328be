"""Server on `asyncio.Protocol`, the fastest interface of asyncio: asyncio_protocol.py tcp|tls|udp PORT
stdlib|uvloop

For TLS it takes certificate.pem and key.pem of the folder that it is started in.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import cast

from typing_extensions import override


class Echo(asyncio.Protocol):
    """Echo of streams."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class EchoDatagrams(asyncio.DatagramProtocol):
    """Echo of datagrams."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    @override
    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


def encryption(protocol: str) -> ssl.SSLContext | None:
    """Return a TLS context as in the documentation of the ssl module."""
    if protocol != "tls":
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain("certificate.pem", "key.pem")
    return context


async def serve(protocol: str, port: int) -> None:
    """Serve until a signal comes."""
    loop = asyncio.get_running_loop()
    if protocol == "udp":
        await loop.create_datagram_endpoint(EchoDatagrams, ("127.0.0.1", port))
    else:
        await loop.create_server(Echo, "127.0.0.1", port, backlog=1024, ssl=encryption(protocol))
    await asyncio.Event().wait()


def main(protocol: str, port: int, loop: str) -> None:
    """Serve on the loop that the arguments name."""
    if loop == "uvloop":
        import uvloop

        uvloop.run(serve(protocol, port))
    else:
        asyncio.run(serve(protocol, port))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
