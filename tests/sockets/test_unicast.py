from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sockd.config import SocketOptions
from sockd.endpoint import parse
from sockd.sockets.open import BoundSocket, open_socket


@pytest.fixture(params=["udp:0", "udp6:0"])
def bound(request: pytest.FixtureRequest) -> Iterator[BoundSocket]:
    opened = open_socket(parse(request.param), SocketOptions())
    opened.socket.setblocking(False)
    yield opened
    opened.close()


def test_datagrams_to_a_multicast_group_are_dropped_by_the_kernel_and_others_are_not(
    bound: BoundSocket,
) -> None:
    """Datagrams to a group that the machine has joined are dropped too."""
    family, port = bound.socket.family, bound.socket.getsockname()[1]
    loopback = socket.if_nametoindex("lo")
    with (
        socket.socket(family, socket.SOCK_DGRAM) as sender,
        socket.socket(family, socket.SOCK_DGRAM) as member,
    ):
        if family == socket.AF_INET:
            group, own = "239.255.77.1", "127.0.0.1"
            membership = struct.pack("4s4si", socket.inet_aton(group), bytes(4), loopback)
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, membership)
        else:
            group, own = "ff01::77:1", "::1"
            membership = socket.inet_pton(family, group) + struct.pack("i", loopback)
            member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, loopback)
        member.bind(("", 0))
        try:
            sender.sendto(b"to many", (group, member.getsockname()[1]))
        except OSError as error:
            pytest.skip(f"no way to a multicast group over the loopback interface here: {error}")
        member.settimeout(5)
        assert member.recv(100) == b"to many"  # the way is open
        sender.sendto(b"to many", (group, port))
        sender.sendto(b"to one", (own, port))
        bound.socket.settimeout(5)
        assert bound.socket.recv(100) == b"to one"


FORGED = ["224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1"]


def send_as(source: str, port: int, data: bytes) -> None:
    """Send a datagram over loopback from a forged address (RFC 791, RFC 768)."""
    udp = struct.pack("!4H", 40112, port, 8 + len(data), 0) + data
    addresses = socket.inet_aton(source) + socket.inet_aton("127.0.0.1")
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(ip + udp, ("127.0.0.1", 0))


@pytest.mark.parametrize("source", FORGED)
def test_a_source_that_can_be_no_sender_is_not_heard(source: str) -> None:
    bound = open_socket(parse("udp:0:interface=127.0.0.1"), SocketOptions())
    port = bound.socket.getsockname()[1]
    bound.socket.settimeout(5)
    try:
        send_as(source, port, b"forged")
        send_as("127.0.0.9", port, b"true")
        assert bound.socket.recvfrom(100) == (b"true", ("127.0.0.9", 40112))
    except PermissionError:
        pytest.skip("raw sockets are not permitted here")
    finally:
        bound.close()


@pytest.mark.parametrize("kind", ["udp6", "udp"])
def test_this_machine_itself_is_heard(kind: str) -> None:
    bound = open_socket(parse(f"{kind}:0"), SocketOptions())
    with socket.socket(bound.socket.family, socket.SOCK_DGRAM) as sender:
        bound.socket.settimeout(5)
        sender.sendto(b"hello", ("::1" if kind == "udp6" else "127.0.0.1", bound.socket.getsockname()[1]))
        assert bound.socket.recv(100) == b"hello"
    bound.close()


TWO_DAEMONS = {
    "udp4": ("udp:0:interface=127.0.0.1", {}, "127.0.0.1"),
    "udp6": ("udp6:0:interface=[::1]", {}, "::1"),
    "udp4 on a port for both": ("udp6:0", {"v6_only": False}, "::ffff:127.0.0.1"),
    "udp6 on a port for both": ("udp6:0", {"v6_only": False}, "::1"),
}


@pytest.mark.parametrize("kind", TWO_DAEMONS)
def test_an_answer_reaches_a_client_and_no_service(kind: str) -> None:
    """A server that answers answers ends up in a loop; a service sends nothing else."""
    endpoint, options, host = TWO_DAEMONS[kind]
    with ExitStack() as stack:
        service, other = (open_socket(parse(endpoint), SocketOptions(**options)) for _ in range(2))
        stack.callback(service.close)
        stack.callback(other.close)
        client = stack.enter_context(socket.socket(service.socket.family, socket.SOCK_DGRAM))
        client.bind((host, 0))
        client.settimeout(5)
        for receiver in (other.socket, client):
            service.socket.sendto(b"answer", (host, receiver.getsockname()[1]))
        client.sendto(b"request", (host, other.socket.getsockname()[1]))
        assert client.recv(100) == b"answer"
        other.socket.settimeout(5)
        assert other.socket.recv(100) == b"request"


def test_a_sender_is_heard_whatever_the_time_to_live_and_the_class_of_its_datagrams() -> None:
    bound = open_socket(parse("udp6:0"), SocketOptions(v6_only=False))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        bound.socket.settimeout(5)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 255)
        for code_point in (0, 1, 6, 8, 46, 63):
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, code_point << 2 | 1)
            sender.sendto(b"%d" % code_point, ("127.0.0.1", bound.socket.getsockname()[1]))
            assert bound.socket.recv(100) == b"%d" % code_point
    bound.close()


def test_answers_leave_with_the_priority_of_everything_else() -> None:
    bound = open_socket(parse("udp:0:interface=127.0.0.1"), SocketOptions())
    assert bound.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 0
    bound.close()
