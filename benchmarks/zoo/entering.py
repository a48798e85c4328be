"""Bad peers that attack the entry: TLS, the PROXY header, places, descriptors."""

from __future__ import annotations

import random
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress

from benchmarks.zoo.target import LINE, UNVERIFIED, Kind, Target, drain, entered, send

HELLO_TAKEN = 100
"""Bytes of a ClientHello that are sent; a whole one has some 500."""

BAD_HEADERS = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"PROXY TCP4 999.1.1.1 192.0.2.1 1 2\r\n",
    b"PROXY TCP4 198.51.100.1 192.0.2.1 1 99999\r\n",
    b"PROXY TCP6 " + b"1:" * 60,
    b"PROXY UNKNOWN " + b"x" * 200,
    b"PROXY TCP4 198.5",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" + b"\0" * 8000,
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x02ab",
    b"\r\n\r\n\0\r\nQUIT\n\x3f\xff\x00\x00",
    b"\0",
)
"""Texts that are no header, a wrong header, and a header without an end."""


class HalfHandshake:
    """Five hundred peers that send a part of a ClientHello and then nothing."""

    kinds: Sequence[Kind] = ("tls",)

    def attack(self, target: Target, seconds: float) -> None:
        """Send the part, and stop."""
        end = time.monotonic() + seconds
        outgoing = ssl.MemoryBIO()
        with suppress(ssl.SSLWantReadError):
            UNVERIFIED.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
        hello = outgoing.read()
        peers = []
        for number in range(500):
            with suppress(OSError):
                peers.append(peer := target.knock(number))
                send(peer, hello[: HELLO_TAKEN * (number % 3)])  # also nothing at all
        time.sleep(max(0.0, end - time.monotonic()))


class NotifyIgnorer:
    """TLS peers, a hundred of them, that ask once, then send nothing, and ignore the close_notify."""

    kinds: Sequence[Kind] = ("tls",)

    def attack(self, target: Target, seconds: float) -> None:
        """Ask, and stay."""
        end = time.monotonic() + seconds
        peers = list(entered(target, 100))
        for peer in peers:
            send(peer, LINE)
        time.sleep(max(0.0, end - time.monotonic()))


class BadHeaders:
    """Trusted proxy that sends a wrong PROXY header, or half of one, again and again."""

    kinds: Sequence[Kind] = ("proxy",)

    def attack(self, target: Target, seconds: float) -> None:
        """Send each in turn; headers without an end stay open."""
        end, number, open_ones = time.monotonic() + seconds, 0, []
        while time.monotonic() < end:
            number += 1
            with suppress(OSError):
                peer = target.knock(number)
                send(peer, BAD_HEADERS[number % len(BAD_HEADERS)])
                open_ones.append(peer)
            if len(open_ones) > 300:
                open_ones.pop(0).close()


class Swarm:
    """Connections that stay, each from another address of one /64, as a trusted proxy says."""

    kinds: Sequence[Kind] = ("proxy",)

    def attack(self, target: Target, seconds: float) -> None:
        """Take every place that is free."""
        end, peers = time.monotonic() + seconds, []
        pick = random.Random(1)  # noqa: S311  # not for a secret
        while time.monotonic() < end:
            address = f"2001:db8::{pick.getrandbits(48):012x}"
            address = f"{address[:-8]}:{address[-8:-4]}:{address[-4:]}"
            with suppress(OSError):
                peer = target.knock()
                peer.setblocking(False)
                send(peer, f"PROXY TCP6 {address} 2001:db8:1::1 40112 443\r\n".encode() + LINE)
                peers.append(peer)
            if len(peers) > 2000:
                peers.pop(0).close()


class Descriptors:
    """Connections from many addresses until the server, whose limit is lowered, is out of descriptors."""

    kinds: Sequence[Kind] = ("echo", "tls")
    few = 256
    """Descriptors that the server may have meanwhile, fewer than at its start."""

    def attack(self, target: Target, seconds: float) -> None:
        """Take them, ask on each, and replace those that were closed."""
        end, number = time.monotonic() + seconds, 0
        peers: list[socket.socket] = []
        while time.monotonic() < end:
            for _ in range(20):
                number += 1
                with suppress(OSError):
                    peer = target.knock(number)
                    peer.setblocking(False)
                    peers.append(peer)
            peers = [peer for peer in peers if send(peer, LINE) >= 0][-2000:]
            for peer in peers:
                drain(peer)
