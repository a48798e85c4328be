from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from sockd.config import SocketOptions
from sockd.endpoint import parse
from sockd.sockets import BoundSocket, open_socket


@pytest.fixture(params=["udp:0", "udp6:0"])
def bound(request: pytest.FixtureRequest) -> Iterator[BoundSocket]:
    opened = open_socket(parse(request.param), SocketOptions())
    opened.socket.setblocking(False)
    yield opened
    opened.close()


def test_datagrams_to_a_multicast_group_are_dropped_by_the_kernel_and_others_are_not(
    bound: BoundSocket,
) -> None:
    """Fault 15: even a group that the machine has joined is not answered."""
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
