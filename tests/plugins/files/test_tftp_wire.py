"""Transfers over TFTP on a wire that loses, repeats, delays and reorders packets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import SO_RCVBUF
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger

from sockd.plugin import Context
from sockd_plugins.files import Files
from sockd_plugins.files.storage.parts import PARTS
from sockd_plugins.files.tftp.packets import USUAL_BUFFER

ADDRESS = ("192.0.2.1", 40001)

DELAY = 0.01
"""Seconds of a packet's way."""

LATE = 0.7
"""Seconds of the way of a packet that others overtake."""

GIVES_UP = 3600.0
"""Seconds after which a client has failed."""

BLOCK = 8

Fates = Sequence[str]


@dataclass(frozen=True)
class Manner:
    """Manner of a client.

    Attributes:
        window: blocks that it asks for; 1 for none.
        repeat: seconds until it repeats.
        eager: whether it repeats a block for each acknowledgement of an earlier one, as curl does.
        goes_on: whether it sends the next block after a time-out, as atftp does.
    """

    window: int = 1
    repeat: float = 5.0
    eager: bool = False
    goes_on: bool = False


MANNERS = {
    "tftp-hpa": Manner(),
    "curl": Manner(repeat=73.0, eager=True),
    "libcurl 8": Manner(repeat=6.0, eager=True),
    "atftp": Manner(goes_on=True),
    "atftp with windows": Manner(window=4),
    "busybox": Manner(repeat=0.1),
    "large windows": Manner(window=16, repeat=1.0),
}


class Fate:
    """Fates of the packets in one direction, one after the other; in the end all arrive."""

    def __init__(self, fates: Fates) -> None:
        self._fates = iter(fates)

    def next(self) -> list[float]:
        """Return the delays with which the next packet arrives."""
        return {"lost": [], "twice": [DELAY, DELAY], "late": [LATE], "again": [DELAY, LATE]}.get(
            next(self._fates, ""), [DELAY]
        )


@dataclass
class Client:
    """Client that sends one file; `wire` carries its packets."""

    content: bytes
    manner: Manner
    clock: Clock
    wire: Any
    acknowledged: int = -1  # block; -1 before the answer to the request
    next: int = 0  # block that is sent next after a time-out by one that goes on
    done: bool = False
    error: str = ""
    timer: Any = None
    sent: int = field(default=0)

    @property
    def last(self) -> int:
        return len(self.content) // BLOCK + 1

    def send(self) -> None:
        if self.acknowledged < 0:
            window = b"windowsize\0%d\0" % self.manner.window if self.manner.window > 1 else b""
            self._send(b"\0\2a\0octet\0blksize\0%d\0tsize\0%d\0" % (BLOCK, len(self.content)) + window)
        else:
            first = self.acknowledged + 1
            for number in range(first, min(first + self.manner.window, self.last + 1)):
                self._block(number)
        self._wait()

    def _block(self, number: int) -> None:
        self.next = number + 1
        piece = self.content[(number - 1) * BLOCK : number * BLOCK]
        self._send(b"\0\3" + number.to_bytes(2) + piece)

    def _send(self, packet: bytes) -> None:
        self.sent += 1
        self.wire(packet)

    def _wait(self) -> None:
        self._stop()
        self.timer = self.clock.callLater(self.manner.repeat, self._time_out)

    def _stop(self) -> None:
        if self.timer is not None and self.timer.active():
            self.timer.cancel()

    def _time_out(self) -> None:
        if self.manner.goes_on and self.acknowledged >= 0 and self.next <= self.last:
            self._block(self.next)
            self._wait()
        else:
            self.send()

    def hears(self, packet: bytes) -> None:
        if self.done or self.error:
            return
        kind, number = packet[:2], int.from_bytes(packet[2:4])
        if kind == b"\0\5":
            self.error = packet[4:-1].decode()
            self._stop()
        elif kind == b"\0\6":
            if self.acknowledged < 0:  # a second answer to the options is ignored
                self.acknowledged = 0
                self.send()
        elif kind == b"\0\4" and self.acknowledged >= 0:
            self._acknowledge(number)

    def _acknowledge(self, number: int) -> None:
        if number > self.acknowledged or (self.manner.goes_on and number < self.next - 1):
            self.acknowledged = number
            self.done = number == self.last
            self._stop()
            if not self.done:
                self.send()
        elif self.manner.eager:
            self.send()


class Wire:
    """Service, and one client, with the wire between them."""

    def __init__(
        self, folder: Path, content: bytes, manner: Manner, there: Fates = (), back: Fates = ()
    ) -> None:
        self.folder = folder
        self.clock = Clock()
        self.there, self.back = Fate(there), Fate(back)
        self.plugin = Files(directory=folder, reserve=0, min_rate=0)
        context = Context("files", self.clock, Logger("sockd.files"), folder / "state")
        assert Deferred.fromCoroutine(self.plugin.start(context)).called
        self.port: Any = self.plugin.datagram_protocol("tftp", context)
        transport: Any = self
        self.port.makeConnection(transport)
        self.client = Client(content, manner, self.clock, self._to_service)

    def getHandle(self) -> Wire:
        return self

    def getsockopt(self, level: int, option: int) -> int:
        return {SO_RCVBUF: USUAL_BUFFER}[option]

    def setsockopt(self, level: int, option: int, value: int) -> None:
        pass

    def _to_service(self, packet: bytes) -> None:
        for delay in self.there.next():
            self.clock.callLater(delay, self.port.datagramReceived, packet, ADDRESS)

    def write(self, packet: bytes, addr: object) -> None:
        for delay in self.back.next():
            self.clock.callLater(delay, self.client.hears, packet)

    def run(self) -> None:
        """Send the file, and let the wire become quiet."""
        self.client.send()
        while not self.client.done and not self.client.error and self.clock.seconds() < GIVES_UP:
            self.clock.advance(
                max(min(call.getTime() for call in self.clock.getDelayedCalls()) - self.clock.seconds(), 0)
            )
        self.clock.pump([0.1] * 20)

    def received(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir() if path.name != PARTS}

    def stop(self) -> None:
        self.client._stop()
        self.clock.pump([0.1] * 20)
        self.port.doStop()
        assert Deferred.fromCoroutine(self.plugin.stop()).called


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


LOSSES = 2
"""Packets that are lost in a row at most. curl repeats a block that was lost after 73 seconds, and if the
options are not the usual ones the server must not bring it on."""


def no_more_losses(fates: list[str]) -> list[str]:
    """Let the packet arrive that follows as many losses as may be."""
    for number in range(LOSSES, len(fates)):
        if fates[number - LOSSES : number + 1] == ["lost"] * (LOSSES + 1):
            fates[number] = ""
    return fates


FATES = st.lists(st.sampled_from(["", "lost", "twice", "late", "again"]), max_size=30).map(no_more_losses)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(manner=st.sampled_from([*MANNERS]), size=st.integers(0, 20 * BLOCK), there=FATES, back=FATES)
def test_whatever_the_wire_does_the_file_arrives_whole_and_once(
    manner: str, size: int, there: list[str], back: list[str]
) -> None:
    content = bytes(number % 251 for number in range(size))
    with TemporaryDirectory() as name:
        wire = Wire(Path(name), content, MANNERS[manner], there, back)
        wire.run()
        try:
            assert (wire.client.done, wire.client.error) == (True, "")
            assert wire.received() == {"a": content}
        finally:
            wire.stop()


@pytest.mark.parametrize("manner", MANNERS)
def test_without_losses_no_packet_is_sent_twice(manner: str, folder: Path) -> None:
    wire = Wire(folder, b"x" * 20 * BLOCK, MANNERS[manner])
    wire.run()
    assert wire.client.done
    assert wire.client.sent == 1 + 21
    wire.stop()


def test_a_lost_block_of_curl_delays_a_file_by_seconds_and_not_by_minutes(folder: Path) -> None:
    wire = Wire(folder, b"x" * 20 * BLOCK, MANNERS["curl"], ["", "", "", "lost"])
    wire.run()
    assert wire.client.done
    assert wire.clock.seconds() < 10
    wire.stop()
