"""Fuzzes datagram ports: whatever a peer sends, the port lives, and no more goes back than may."""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any, cast

import fuzzing
from twisted.internet.task import Clock
from twisted.logger import Logger

from sockd.datagram import DatagramPort, Loops
from sockd.discovery import find
from sockd.endpoint import parse
from sockd.limits import Admission, Terms
from sockd.plugin import Context
from sockd.sockets.open import BoundSocket
from sockd.telemetry.events import ServiceEvents

SERVICES: dict[str, dict[str, object]] = {
    "echo": {},
    "upper": {},
    "time": {},
    "banner": {"text": "This is a banner."},
    "desk": {},
    "chat": {},
}
WORDS = (
    *(
        b"/join lobby",
        b"/name ann",
        b"/here 123456",
        b"/msg bob hi",
        b"/who",
        b"/quit",
        b"hello",
        b"\0",
        b"\n",
    ),
    *("ŉΐßẞİ".encode(), b"\xc3", b"\xff", b"%Y-%m-%d", b"%H:%M:%S", b"%%", b"%9999d", b"%"),
    b"x" * 500,
)
PEERS = [("192.0.2.1", 40_000), ("192.0.2.1", 40_001), ("198.51.100.7", 5353), ("192.0.2.9", 80)]


class Wire:
    """A socket without a network."""

    family = socket.AF_INET

    def __init__(self) -> None:
        self.coming: deque[tuple[bytes, tuple[str, int]]] = deque()
        self.sent: dict[tuple[str, int], int] = {}

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.254", 7000

    def recvfrom(self, _: int) -> tuple[bytes, tuple[str, int]]:
        if not self.coming:
            raise BlockingIOError
        return self.coming.popleft()

    def sendto(self, datagram: bytes, peer: tuple[str, int]) -> int:
        self.sent[peer] = self.sent.get(peer, 0) + len(datagram)
        return len(datagram)


class Reactor(Clock):
    def addReader(self, _: object) -> None: ...

    def removeReader(self, _: object) -> None: ...


class Served:
    """One service with its port, for the whole run: what it keeps is a part of what is fuzzed."""

    def __init__(self, name: str, options: dict[str, object]) -> None:
        self.wire, self.clock = Wire(), Reactor()
        plugin: Any = find(name)(**options)
        plugin.start(Context(name, cast("Any", self.clock), Logger(), Path(mkdtemp())))
        context = Context(name, cast("Any", self.clock), Logger(), Path(mkdtemp()))
        self.replies = plugin.replies
        self.allowed: dict[tuple[str, int], float] = {}
        self.events = ServiceEvents(name, self.clock.seconds)
        bound = BoundSocket(cast("socket.socket", self.wire), cast("Any", parse("udp:7000")))
        protocol = plugin.datagram_protocol(next(iter(plugin.protocols)), context)
        admission = Admission(Terms(1), self.clock.seconds)
        loops = Loops(self.clock.seconds)
        loops.know_own([7000])
        self.port = DatagramPort(bound, protocol, plugin.replies, admission, loops, self.events, self.clock)
        self.port.startListening()

    def receive(self, datagram: bytes, peer: tuple[str, int]) -> None:
        most = max(self.replies.floor, int(len(datagram) * self.replies.factor))
        self.allowed[peer] = self.allowed.get(peer, 0) + most
        self.wire.coming.append((datagram, peer))
        self.port.doRead()
        self.clock.advance(0.01)
        faults = [kind for kind in self.events.counts if kind[0] == "plugin fault"]
        assert not faults, faults
        for other, size in self.wire.sent.items():
            assert size <= self.allowed.get(other, 0), f"{size} bytes went to {other}"
            assert other[1] >= 1024, other


SERVED = [Served(name, options) for name, options in SERVICES.items()]


def make(random: Random) -> bytes:
    """Which service, which peer, and the datagram."""
    datagram = b" ".join(random.choices(WORDS, k=random.randint(0, 4)))
    return random.randbytes(2) + fuzzing.mutate(random, datagram, WORDS)


def check(data: bytes) -> None:
    if len(data) >= 2:
        SERVED[data[0] % len(SERVED)].receive(data[2:], PEERS[data[1] % len(PEERS)])


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(fuzzing.run(make, check))
