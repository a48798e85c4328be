"""The control socket and its peers in one process and one thread, on a clock of their own."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock
from typing_extensions import override

from sockd.control.listener import ControlListener, open_control
from sockd.endpoint import UnixEndpoint
from tests.control.serving import FakeOperator

TURNS = 10_000
"""Turns of the reactor after which what should have happened will not happen."""


class Peer:
    """A client that sends what it likes."""

    def __init__(self, sock: socket.socket, turn: Callable[[], None]) -> None:
        self.socket = sock
        self._turn = turn
        self._received = b""

    def send(self, data: bytes) -> None:
        """Send as much as is taken."""
        for _ in range(TURNS):
            try:
                data = data[self.socket.send(data) :]
            except BlockingIOError:
                pass
            except (BrokenPipeError, ConnectionResetError):
                return
            self._turn()
            if not data:
                return

    def line(self) -> bytes:
        """The next line that arrives; what there is of it, if the connection ends before."""
        for _ in range(TURNS):
            if b"\n" in self._received:
                line, _, self._received = self._received.partition(b"\n")
                return line
            self._turn()
            try:
                data = self.socket.recv(1 << 20)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                data = b""
            if not data:
                return self._received
            self._received += data
        raise AssertionError("no line")

    def ended(self) -> bool:
        """Whether the other end has closed."""
        for _ in range(20):
            self._turn()
        try:
            return not self.socket.recv(1)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True


class Serving:
    """A control socket that is served while somebody waits for something."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.operator = FakeOperator()
        self._reactor = _Reactor(self.clock)
        self.path = path
        self.listener = ControlListener(
            open_control(UnixEndpoint("unix", path)), self.operator, self._reactor
        )
        self.listener.open()
        self._peers: list[socket.socket] = []

    def turn(self) -> None:
        """Let the reactor do what there is to do."""
        self._reactor.iterate(0)

    def until(self, done: Callable[[], bool]) -> None:
        """Let it do things until something is the case."""
        for _ in range(TURNS):
            if done():
                return
            self.turn()
        raise AssertionError("it never came to that")

    def peer(self) -> Peer:
        """A new connection."""
        sock = socket.socket(socket.AF_UNIX)
        self._peers.append(sock)
        sock.connect(str(self.path))
        sock.setblocking(False)
        return Peer(sock, self.turn)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        for _ in range(3):
            self.turn()

    def close(self) -> None:
        """End it."""
        closed = Deferred.fromCoroutine(self.listener.close())
        self.until(lambda: closed.called)
        for sock in self._peers:
            sock.close()
        self.until(lambda: not self.listener.open_ones)
        self._reactor.close()


class _Reactor(EPollReactor):
    """One that never runs on its own, and whose time is another clock's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        super().__init__()  # type: ignore[no-untyped-call]
        self.startRunning(installSignalHandlers=False)

    @override
    def seconds(self) -> float:
        return self._clock.seconds()

    def close(self) -> None:
        """Give back what it holds open."""
        self.fireSystemEvent("shutdown")
        for reader in self.removeAll():  # type: ignore[no-untyped-call]
            reader.connectionLost(None)
        self._poller.close()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """A control socket with a fake operator behind it."""
    served = Serving(tmp_path / "run" / "control.sock")
    yield served
    served.close()
