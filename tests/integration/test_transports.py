"""Behaviour of each service over every transport that it claims."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

import pytest

from running import PATIENCE, Daemon

STREAMS = ["tcp", "tcp6", "unix"]
DATAGRAMS = ["udp", "udp6", "unixgram"]


def stream(daemon: Daemon, service: str, kind: str) -> socket.socket:
    if kind == "unix":
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(PATIENCE)
        client.connect(daemon.path(service))
        return client
    return socket.create_connection(daemon.port(service, which=STREAMS.index(kind)), PATIENCE)


def datagram(daemon: Daemon, service: str, kind: str) -> socket.socket:
    if kind == "unixgram":
        client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        client.bind("")
        client.connect(daemon.path(service, "unixgram"))
    else:
        client = udp_client(daemon, kind)
        client.connect(daemon.port(service, "udp", DATAGRAMS.index(kind)))
    client.settimeout(PATIENCE)
    return client


def udp_client(daemon: Daemon, kind: str) -> socket.socket:
    """Return a socket on a port that the daemon has over neither IPv4 nor IPv6; those are never answered."""
    addresses = [event["address"] for event in daemon.events if event.get("event") == "listening"]
    own = {int(address.rpartition(":")[2]) for address in addresses if address.startswith("udp:")}
    while True:
        client = socket.socket(socket.AF_INET6 if kind == "udp6" else socket.AF_INET, socket.SOCK_DGRAM)
        client.bind(("::1" if kind == "udp6" else "127.0.0.1", 0))
        if client.getsockname()[1] not in own:
            return client
        client.close()


def all_of(client: socket.socket) -> bytes:
    received = b""
    while data := client.recv(65536):
        received += data
    return received


def exactly(client: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        data = client.recv(65536)
        assert data, f"closed after {len(received)} of {size} bytes"
        received += data
    return received


def send_and_end(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)


SERVICES: dict[str, Callable[[bytes], bytes]] = {
    "echo": lambda data: data,
    "upper": lambda data: data.decode().upper().encode(),
}
service_over_streams = pytest.mark.parametrize("service", SERVICES)
over_streams = pytest.mark.parametrize("kind", STREAMS)
over_datagrams = pytest.mark.parametrize("kind", DATAGRAMS)


@service_over_streams
@over_streams
def test_requests_are_answered_before_a_half_closed_stream_ends(
    daemon: Daemon, service: str, kind: str
) -> None:
    text = ("Große Straße, naïve café, λόγος " * 40_000).encode()
    with stream(daemon, service, kind) as client:
        sender = threading.Thread(target=send_and_end, args=(client, text))
        sender.start()
        answer = all_of(client)
        sender.join()
    assert answer == SERVICES[service](text)


@service_over_streams
@over_streams
def test_a_stream_cut_byte_by_byte_gives_the_same_answer(daemon: Daemon, service: str, kind: str) -> None:
    text = "żółw ß λ".encode()
    with stream(daemon, service, kind) as client:
        for index in range(len(text)):
            client.sendall(text[index : index + 1])
        assert exactly(client, len(SERVICES[service](text))) == SERVICES[service](text)


@service_over_streams
@over_streams
def test_one_connection_is_served_again_and_again(daemon: Daemon, service: str, kind: str) -> None:
    with stream(daemon, service, kind) as client:
        for number in range(200):
            text = f"message {number}".encode()
            client.sendall(text)
            assert exactly(client, len(text)) == SERVICES[service](text)


@service_over_streams
@over_streams
def test_many_peers_are_served_at_once(daemon: Daemon, service: str, kind: str) -> None:
    clients = [stream(daemon, service, kind) for _ in range(100)]
    try:
        for number, client in enumerate(clients):
            client.sendall(f"peer {number}".encode())
        for number, client in enumerate(clients):
            expected = SERVICES[service](f"peer {number}".encode())
            assert exactly(client, len(expected)) == expected
    finally:
        for client in clients:
            client.close()


@service_over_streams
@over_streams
def test_peers_that_vanish_harm_nobody(daemon: Daemon, service: str, kind: str) -> None:
    """Peers that vanish with output pending, in the middle of a character, or by reset."""
    with stream(daemon, service, kind) as neighbour:
        for _ in range(20):
            client = stream(daemon, service, kind)
            if kind != "unix":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall("ż".encode()[:1] * 5000)
            client.close()
        neighbour.sendall(b"still here")
        assert exactly(neighbour, 10) == SERVICES[service](b"still here")


@service_over_streams
@over_streams
def test_a_peer_that_never_reads_does_not_keep_others_waiting(
    daemon: Daemon, service: str, kind: str
) -> None:
    """The daemon stops reading from such a peer, so its input is bounded."""
    with stream(daemon, service, kind) as greedy, stream(daemon, service, kind) as neighbour:
        greedy.setblocking(False)
        sent = 0
        try:
            for _ in range(1000):
                sent += greedy.send(b"x" * 65536)
        except BlockingIOError:
            pass
        assert sent < 1000 * 65536
        neighbour.sendall(b"and now?")
        assert exactly(neighbour, 8) == SERVICES[service](b"and now?")


@service_over_streams
@over_datagrams
@pytest.mark.parametrize("size", [0, 1, 1200, 9000, 60_000])
def test_a_datagram_of_any_size_is_answered_whole(daemon: Daemon, service: str, kind: str, size: int) -> None:
    text = b"x" * size
    with datagram(daemon, service, kind) as client:
        client.send(text)
        assert client.recv(65536) == SERVICES[service](text)


@service_over_streams
@over_datagrams
def test_datagrams_of_many_peers_go_back_to_whoever_sent_them(
    daemon: Daemon, service: str, kind: str
) -> None:
    clients = [datagram(daemon, service, kind) for _ in range(50)]
    try:
        for number, client in enumerate(clients):
            client.send(f"peer {number}".encode())
        for number, client in enumerate(clients):
            assert client.recv(65536) == SERVICES[service](f"peer {number}".encode())
    finally:
        for client in clients:
            client.close()


@over_datagrams
def test_a_datagram_peer_that_has_gone_does_not_close_the_port(daemon: Daemon, kind: str) -> None:
    for _ in range(20):
        datagram(daemon, "echo", kind).close()
        gone = datagram(daemon, "echo", kind)
        gone.send(b"x")
        gone.close()
    with datagram(daemon, "echo", kind) as client:
        client.send(b"still open?")
        assert client.recv(100) == b"still open?"


@over_streams
def test_the_time_over_a_stream_is_one_answer_for_each_line(daemon: Daemon, kind: str) -> None:
    with stream(daemon, "time", kind) as client:
        client.sendall(b"%Y\n%1000d\n\n")
        client.shutdown(socket.SHUT_WR)
        year, refusal, default = all_of(client).decode().splitlines()
    assert year.isdigit()
    assert refusal.startswith("error:")
    assert len(default) == len("2026-11-20 10:15:00")


@over_datagrams
def test_the_time_over_datagrams_never_answers_with_more_than_it_may(daemon: Daemon, kind: str) -> None:
    """The width trick of glibc made 1,000 bytes out of six."""
    with datagram(daemon, "time", kind) as client:
        client.send(b"%1000d")
        assert len(client.recv(65536)) <= 256
        client.send(b"%Y")
        assert client.recv(65536).isdigit()


@over_streams
def test_the_banner_comes_unasked_over_streams(daemon: Daemon, kind: str) -> None:
    with stream(daemon, "banner", kind) as client:
        assert all_of(client) == b"This is socket!"


@over_datagrams
def test_the_banner_answers_a_datagram(daemon: Daemon, kind: str) -> None:
    with datagram(daemon, "banner", kind) as client:
        client.send(b"hello")
        assert client.recv(100) == b"This is socket!"
