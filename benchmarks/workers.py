"""A daemon with workers, and clients that notice every fault, for `stampede` and `reloads`."""

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
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"
PATIENCE = 30
"""Seconds. Nothing takes this long unless it is broken."""

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
        """Every process that the supervisor has started: the workers, and the spare one."""
        pid = self.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def descriptors(self) -> int:
        """How many the supervisor has."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def settled(self, workers: int) -> None:
        """Wait until only so many workers are there, all of them serving."""
        deadline = time.monotonic() + PATIENCE
        while len(self.workers()) != workers and time.monotonic() < deadline:
            time.sleep(0.05)

    def wait_for(self, event: str, count: int) -> None:
        """Until so many events of a name have been told."""
        deadline = time.monotonic() + PATIENCE
        while self.events[event] < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"there is no event '{event}' number {count}")
            time.sleep(0.002)


@contextmanager
def crew(folder: Path, text: str) -> Iterator[Crew]:
    """Start one, and end it."""
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
        """The longest time in which nobody was served, in seconds."""
        return max(self._gap, time.monotonic() - self._last)

    def end(self) -> None:
        """Let them finish."""
        self._ended.set()
        for thread in self._threads:
            thread.join()


class Streams:
    """Long connections, each of which counts to the service and back and notices every gap."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self.rounds = 0
        self.faults = 0
        self._sockets = [socket.create_connection(address, PATIENCE) for _ in range(count)]
        self._numbers = [0] * count
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            for index, stream in enumerate(self._sockets):
                if self._numbers[index] < 0:
                    continue
                sent = b"%09d\n" % self._numbers[index]
                try:
                    stream.sendall(sent)
                    answer = b""
                    while len(answer) < len(sent) and (part := stream.recv(100)):
                        answer += part
                except OSError:
                    answer = b""
                if answer == sent:
                    self._numbers[index] += 1
                else:
                    self._numbers[index] = -1
                    self.faults += 1
            self.rounds += 1
            self._ended.wait(0.01)

    def end(self) -> None:
        """Close them."""
        self._ended.set()
        self._thread.join()
        for stream in self._sockets:
            stream.close()
