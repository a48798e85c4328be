"""Daemon with workers, and clients that notice every fault, for `stampede` and `reloads`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = "127.0.0.1"
PATIENCE = 60
"""Seconds to wait; enough for everything that works."""

LINE = b"0123456789abcdef\n"


class Crew:
    """`twistd sockd` with workers that serve `echo`."""

    def __init__(self, folder: Path, text: str) -> None:
        self.file = folder / "sockd.toml"
        self.file.write_text(text)
        self.events: Counter[str] = Counter()
        self.address = (HOST, 0)
        self._ready = threading.Event()
        command = [str(Path(sys.executable).parent / "twistd"), "-n", "sockd", "-c", str(self.file)]
        self.process = subprocess.Popen(  # noqa: S603  # a fixed command
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        threading.Thread(target=self._read, daemon=True).start()
        if not self._ready.wait(PATIENCE):
            raise RuntimeError("the daemon does not start")

    def _read(self) -> None:
        assert self.process.stdout is not None  # noqa: S101  # for the type checker
        for line in self.process.stdout:
            event = json.loads(line)
            if event.get("event") == "listening" and event["address"].startswith("tcp:"):
                self.address = (HOST, int(event["address"].rpartition(":")[2]))
            self.events[event.get("event", "")] += 1
            if event.get("event") == "ready":
                self._ready.set()

    def workers(self) -> list[int]:
        """Return the processes that the supervisor has started: the workers, and the spare one."""
        pid = self.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def serving(self) -> list[int]:
        """Return the processes of the workers, including those that finish."""
        return [pid for pid in self.workers() if _name(pid).startswith("sockd worker")]

    def descriptors(self) -> int:
        """Return the number of descriptors of the supervisor."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def settled(self, workers: int) -> None:
        """Wait until exactly the configured workers serve, and a spare one is ready."""
        deadline = time.monotonic() + PATIENCE
        while sorted(_name(pid)[:12] for pid in self.workers()) != [
            "sockd spare",
            *["sockd worker"] * workers,
        ]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"there are other processes than {workers} workers and a spare one")
            time.sleep(0.05)

    def wait_for(self, event: str, count: int) -> None:
        """Wait until a number of events of a name were logged."""
        deadline = time.monotonic() + PATIENCE
        while self.events[event] < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"there is no event '{event}' number {count}")
            time.sleep(0.002)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except OSError:
        return ""


@contextmanager
def crew(folder: Path, text: str) -> Iterator[Crew]:
    """Start a daemon with workers, and end it."""
    started = Crew(folder, text)
    try:
        yield started
    finally:
        started.process.terminate()
        started.process.wait(PATIENCE)


class Visitors:
    """Threads that open a connection for each request, as fast as they are answered."""

    def __init__(self, address: tuple[str, int], threads: int) -> None:
        self.served = 0
        self.faults: Counter[str] = Counter()
        self._gap = 0.0
        self._address = address
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                answer = b""
                with socket.create_connection(self._address, PATIENCE) as client:
                    client.sendall(LINE)
                    while len(answer) < len(LINE):
                        part = client.recv(100)
                        if not part:
                            raise ConnectionResetError("closed without an answer")
                        answer += part
            except OSError as error:
                with self._lock:
                    self.faults[type(error).__name__] += 1
                time.sleep(0.001)
            else:
                with self._lock:
                    now = time.monotonic()
                    self._gap = max(self._gap, now - self._last)
                    self._last = now
                    self.served += 1

    def gap(self) -> float:
        """Longest time in which no client was served, in seconds."""
        return max(self._gap, time.monotonic() - self._last)

    def end(self) -> None:
        """End all threads after their present requests."""
        self._ended.set()
        for thread in self._threads:
            thread.join()


class Streams:
    """Long connections. Each sends numbers, and each byte that comes back is compared.

    Args:
        address: of a service that echoes.
        count: of connections.
    """

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self.bytes = 0  # that have come back, of all connections
        self.faults = 0
        self._open = [Stream(socket.create_connection(address, PATIENCE)) for _ in range(count)]
        self._all = list(self._open)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            self._turn()
        deadline = time.monotonic() + PATIENCE
        while any(stream.sent > stream.received for stream in self._open) and time.monotonic() < deadline:
            self._turn(send=False)
            time.sleep(0.02)
        self.faults += sum(stream.sent > stream.received for stream in self._open)

    def _turn(self, *, send: bool = True) -> None:
        for stream in list(self._open):
            before = stream.received
            try:
                stream.turn(send=send)
            except (OSError, ValueError):
                self._open.remove(stream)
                self.faults += 1
            self.bytes += stream.received - before

    def end(self) -> None:
        """Wait for the rest, and close the connections."""
        self._ended.set()
        self._thread.join()
        for stream in self._all:
            stream.socket.close()


class Stream:
    """Connection that sends the numbers from 0 on, without end."""

    PIECE = 250
    MOST = 16 * 1024
    """Bytes of a turn, and bytes that may be in flight."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.sent = self.received = 0
        sock.setblocking(False)

    def turn(self, *, send: bool) -> None:
        """Send some more, and compare what has come back.

        Raises:
            OSError: the connection was cut.
            ValueError: something else has come, or the end.
        """
        with suppress(BlockingIOError):
            if send and self.sent - self.received < self.MOST:
                self.sent += self.socket.send(_numbers(self.sent, self.PIECE))
        with suppress(BlockingIOError):
            data = self.socket.recv(2 * self.MOST)
            if not data or data != _numbers(self.received, len(data)):
                raise ValueError(f"not what was sent, from byte {self.received} on")
            self.received += len(data)


def _numbers(start: int, size: int) -> bytes:
    """Return a piece of the endless text of all numbers, ten bytes each."""
    first = start // 10
    text = b"".join(b"%09d\n" % number for number in range(first, first + size // 10 + 2))
    return text[start % 10 : start % 10 + size]
