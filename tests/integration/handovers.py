"""Ways of handing a port over with a full queue: how many of the waiting clients are answered.

    python handovers.py shared|rebind|reuseport|listen_tcp

sockd does the first. The others lose connections, and so show that the test can see a loss.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

WAITING = 500
BACKLOG = 1024


def opened(address: tuple[str, int] = ("127.0.0.1", 0), *options: int) -> socket.socket:
    sock = socket.socket()
    for option in (socket.SO_REUSEADDR, *options):
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    sock.bind(address)
    sock.listen(BACKLOG)
    return sock


def clients_of(address: tuple[str, int]) -> list[socket.socket]:
    """Return clients in the queue, each with a question sent."""
    clients = []
    for _ in range(WAITING):
        client = socket.create_connection(address, 10)
        client.sendall(b"who\n")
        clients.append(client)
    return clients


def answered(clients: list[socket.socket]) -> int:
    """Return how many of the clients get an answer."""
    count = 0
    for client in clients:
        client.settimeout(10)
        with client, suppress(OSError):
            count += client.recv(100) != b""
    return count


@contextmanager
def answering(sock: socket.socket) -> Iterator[None]:
    """Start the new generation."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                peer, _ = sock.accept()
                with peer, suppress(OSError):
                    peer.recv(100)
                    peer.sendall(b"1\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    thread.join()
    sock.close()


def shared() -> int:
    """Share one socket between both generations; the old one closes its copy."""
    old = opened()
    clients = clients_of(old.getsockname())
    new = old.dup()
    old.close()
    with answering(new):
        return answered(clients)


def rebind() -> int:
    """Close the socket of the old generation, then open one for the new."""
    old = opened()
    address = old.getsockname()
    clients = clients_of(address)
    old.close()
    with answering(opened(address)):
        return answered(clients)


def reuseport() -> int:
    """Open a socket on the port for each generation; the old one closes its own."""
    old = opened(("127.0.0.1", 0), socket.SO_REUSEPORT)
    new = opened(old.getsockname(), socket.SO_REUSEPORT)
    clients = clients_of(old.getsockname())
    old.close()
    with answering(new):
        return answered(clients)


def listen_tcp() -> int:
    """Share the socket of Twisted's own port, which then stops listening."""
    from twisted.internet import reactor as installed
    from twisted.internet.protocol import Factory, Protocol

    reactor: Any = installed
    port = reactor.listenTCP(0, Factory.forProtocol(Protocol), BACKLOG, "127.0.0.1")
    new = port.socket.dup()
    new.setblocking(True)
    clients = clients_of(("127.0.0.1", port.getHost().port))
    port.stopListening().addBoth(lambda _: reactor.stop())
    reactor.run()
    with answering(new):
        return answered(clients)


WAYS: dict[str, Callable[[], int]] = {way.__name__: way for way in (shared, rebind, reuseport, listen_tcp)}

if __name__ == "__main__":
    sys.stdout.write(f"{WAYS[sys.argv[1]]()}\n")
