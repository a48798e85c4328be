"""Bad peers that hold places and memory and do next to nothing with them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.zoo.target import LINE, Kind, Target, drain, entered, send

MANY = 1000
"""Connections: as many as a single machine holds easily."""

TCP_REPAIR = 19
"""Option of linux/tcp.h; Python has no name for it. A socket closed under repair sends its peer nothing."""


class Dribbler:
    """Connections, a thousand of them, that send a byte a second, and never a whole line."""

    kinds: Sequence[Kind] = ("lines", "echo", "tls")

    def attack(self, target: Target, seconds: float) -> None:
        """Send byte by byte."""
        end = time.monotonic() + seconds
        peers = _held(target, MANY, end)
        while time.monotonic() < end:
            peers = [peer for peer in peers if send(peer, b"1") >= 0]
            for peer in peers:
                drain(peer)
            time.sleep(min(1.0, max(0.0, end - time.monotonic())))


class Silent:
    """Connections, a thousand of them, that send nothing."""

    kinds: Sequence[Kind] = ("echo", "chat", "desk", "files")

    def attack(self, target: Target, seconds: float) -> None:
        """Hold the connections."""
        end = time.monotonic() + seconds
        peers = _held(target, MANY, end)
        time.sleep(max(0.0, end - time.monotonic()))
        del peers


class NonReader:
    """Peers, a hundred of them, that ask as much as they can and read no answer."""

    kinds: Sequence[Kind] = ("echo", "lines", "tls")

    def attack(self, target: Target, seconds: float) -> None:
        """Ask without reading."""
        end = time.monotonic() + seconds
        peers = _held(target, 100, end)
        much = LINE * 1024
        while time.monotonic() < end:
            peers = [peer for peer in peers if send(peer, much) >= 0]
            time.sleep(0.01)


class Stopped:
    """Process that asks as fast as it can on twenty connections, and is stopped in the midst of it."""

    kinds: Sequence[Kind] = ("echo", "tls")

    def attack(self, target: Target, seconds: float) -> None:
        """Start another process that asks, and stop it."""
        words = [
            sys.executable,
            "-m",
            "benchmarks.zoo.attack",
            "giant-line",
            target.kind,
            str(target.port),
            "600",
        ]
        child = subprocess.Popen(words, cwd=Path(__file__).parents[2])  # noqa: S603  # our own
        time.sleep(seconds / 2)
        child.send_signal(signal.SIGSTOP)
        time.sleep(seconds / 2)
        child.kill()
        child.wait()


class Busy:
    """Sixteen ordinary clients with a request in flight each: the harmless load to compare with."""

    kinds: Sequence[Kind] = ()

    def attack(self, target: Target, seconds: float) -> None:
        """Ask and read, over and over."""
        end = time.monotonic() + seconds
        peers = list(entered(target, 16))
        for peer in peers:
            peer.settimeout(1.0)
        while time.monotonic() < end:
            for peer in peers:
                send(peer, LINE)
            for peer in peers:
                drain(peer)


class HalfOpen:
    """Peers, two hundred of them, that ask once and then vanish without a packet, as in a power cut."""

    kinds: Sequence[Kind] = ("echo", "lines")

    def attack(self, target: Target, seconds: float) -> None:
        """Ask, and close without a packet."""
        end = time.monotonic() + seconds
        for peer in _held(target, 200, end):
            peer.settimeout(0.1)  # a later answer would be answered with a reset
            send(peer, LINE)
            drain(peer)
            with suppress(OSError):  # reset meanwhile
                peer.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            peer.close()
        time.sleep(max(0.0, end - time.monotonic()))

    def absent(self) -> str:
        """Say why the attack cannot be made on this machine."""
        return "" if os.geteuid() == 0 else "only root may close a connection without a packet"


def _held(target: Target, most: int, end: float) -> list[socket.socket]:
    """Return connections that send nothing, as many as can be opened in half of the time."""
    peers = []
    half = time.monotonic() + (end - time.monotonic()) / 2
    for peer in entered(target, most):
        peer.setblocking(False)
        peers.append(peer)
        if time.monotonic() > half:
            break
    return peers
