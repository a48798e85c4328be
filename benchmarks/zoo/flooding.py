"""Bad peers that send, connect or reset as fast as they can."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress

from benchmarks.processes import HOST
from benchmarks.zoo.target import LINE, SOURCES, Kind, Target, drain, entered, send

AT_ONCE = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which closing resets the connection."""

BLOCK = 64 * 1024

FLOODERS = 20
"""Connections that flood at the same time, as in fault 9."""


class Reset:
    """Peer that sends a quarter of a megabyte and resets, one connection after another."""

    kinds: Sequence[Kind] = ("echo", "tls")

    def attack(self, target: Target, seconds: float) -> None:
        """Send and reset, again and again."""
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            number += 1
            with suppress(OSError), target.enter(number) as peer:
                peer.setblocking(False)
                send(peer, LINE * (4 * BLOCK // len(LINE)))
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)


class GiantLine:
    """Twenty peers that send a line without an end, and come again when they are closed."""

    kinds: Sequence[Kind] = ("lines", "upper", "chat")

    def attack(self, target: Target, seconds: float) -> None:
        """Send without an end."""
        _flood(target, b"A" * BLOCK, seconds)


class Pipeliner:
    """Twenty peers that send empty lines back to back, 64 KiB of them at a time, and read the answers."""

    kinds: Sequence[Kind] = ("lines", "upper", "chat")

    def attack(self, target: Target, seconds: float) -> None:
        """Send and read, again and again."""
        _flood(target, b"\n" * BLOCK, seconds)


class Storm:
    """Peer that connects and closes as fast as it can, from two hundred addresses."""

    kinds: Sequence[Kind] = ("echo", "tls", "lines")

    def attack(self, target: Target, seconds: float) -> None:
        """Connect and close, again and again."""
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            number += 1
            with suppress(OSError):
                target.knock(number).close()


class SingleStorm:
    """Peer that connects and closes as fast as it can, from one address, which soon exceeds its rate."""

    kinds: Sequence[Kind] = ("echo",)

    def attack(self, target: Target, seconds: float) -> None:
        """Connect and close, again and again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(OSError):
                target.knock(0).close()


class EmptyDatagrams:
    """Empty datagrams from two hundred addresses, without a pause."""

    kinds: Sequence[Kind] = ("udp",)

    def attack(self, target: Target, seconds: float) -> None:
        """Send empty datagrams."""
        end = time.monotonic() + seconds
        peers = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(SOURCES)]
        for number, peer in enumerate(peers):
            peer.bind((f"127.0.2.{1 + number}", 0))
            peer.connect((HOST, target.port))
        while time.monotonic() < end:
            for peer in peers:
                send(peer, b"")


def _flood(target: Target, block: bytes, seconds: float) -> None:
    """Send the block over and over on each connection, and replace each lost connection."""
    end = time.monotonic() + seconds
    peers: list[socket.socket] = []
    while time.monotonic() < end:
        for peer in entered(target, FLOODERS - len(peers)):
            peer.setblocking(False)
            peers.append(peer)
        peers = [peer for peer in peers if send(peer, block) >= 0]
        for peer in peers:
            drain(peer, 1 << 20)
