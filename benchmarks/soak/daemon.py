"""Daemon of a soak in a process of its own, with its own reports and those of the kernel."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.certificate import CERTIFICATE, Identity
from benchmarks.processes import HOST, START_TIMEOUT, StartError
from benchmarks.soak.configuration import CONTROL, FILE, LOG, Places
from sockd.control.client import Unreachable, ask

PATIENCE = 20.0
"""Seconds for a command to the daemon; new certificates alone may take five."""

STOP_TIMEOUT = 20.0
"""Seconds to end after SIGTERM: its drain_timeout and the load of other processes."""

SETTLED = 0.5
"""Seconds between two equal samples."""

EXPECTED = {"not reloaded"}
"""Events at the level of errors that a soak causes on purpose."""

_PAGES = {"metrics": b"sockd_ready 1", "status.json": b'"state":"ready"', "readyz": b"ready"}
"""Text that each page must hold."""

_SOCKD = Path(sys.executable).with_name("sockd")


class NotDone(Exception):
    """Failure of the daemon to execute a command."""


@dataclass(frozen=True, slots=True)
class Held:
    """Resources that a daemon holds, in all its processes, and has to release.

    Attributes:
        descriptors: that are open.
        timers: delayed calls of the reactor.
    """

    descriptors: int
    timers: int

    @classmethod
    def told(cls, status: Mapping[str, Any]) -> Held:
        """Read the resources from a status."""
        processes = [status, *status.get("workers", ())]
        descriptors = sum(each["descriptors"]["used"] for each in processes)
        return cls(descriptors, sum(each["timers"] for each in processes))


class Log:
    """Log of the daemon, over every change of the file.

    Attributes:
        events: how often each was written.
        faults: lines that report an error.
    """

    def __init__(self, file: Path) -> None:
        self.events: Counter[str] = Counter()
        self.faults: list[str] = []
        self._file = file
        self._stream = file.open()

    def read(self) -> None:
        """Read the new lines."""
        for line in self._stream:
            record = json.loads(line)
            self.events[record["event"]] += 1
            if record["level"] in ("error", "critical") and record["event"] not in EXPECTED:
                self.faults.append(line.strip()[:2000])

    def change(self, told: Callable[[], None]) -> None:
        """Move the file away and let the daemon open it again."""
        moved = self._file.with_name(f"{self._file.name}.1")
        self._file.rename(moved)
        told()
        _wait_for("a new log", self._file.exists)
        self.read()
        self.close()
        self._stream = self._file.open()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class Process:
    """Process as the kernel describes it; a process that has ended has no values."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")

    def children(self) -> list[Process]:
        """Return the child processes."""
        pid = self._proc.name
        words = (self._proc / "task" / pid / "children").read_text().split()
        return [Process(int(word)) for word in words]

    def memory(self) -> tuple[int, int]:
        """Return private and resident memory, in KB."""
        sizes = dict.fromkeys(("Private_Dirty:", "Rss:"), 0)
        with suppress(OSError):
            for line in (self._proc / "smaps_rollup").read_text().splitlines():
                name, *rest = line.split()
                if name in sizes:
                    sizes[name] = int(rest[0])
        return sizes["Private_Dirty:"], sizes["Rss:"]

    def threads(self) -> int:
        """Return the number of threads."""
        with suppress(OSError):
            return len(os.listdir(self._proc / "task"))
        return 0

    def cpu(self) -> float:
        """Return the seconds of processor time of the process and of its ended children."""
        with suppress(OSError):
            fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
            return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        return 0.0


class Daemon:
    """Running daemon.

    Attributes:
        log: what it writes.
        places: its addresses and files.
    """

    def __init__(self, process: subprocess.Popen[bytes], places: Places, log: Log) -> None:
        self.places = places
        self.log = log
        self._process = process
        self._control = places.folder / CONTROL

    def status(self) -> dict[str, Any]:
        """Ask for the status over the control socket."""
        found: dict[str, Any] = ask(self._control, "status", PATIENCE)
        return found

    def check_pages(self) -> None:
        """Read every page of the port for metrics, and check it."""
        base = f"http://{HOST}:{self.places.ports['metrics']}"
        for path, part in _PAGES.items():
            with urllib.request.urlopen(f"{base}/{path}", timeout=PATIENCE) as answer:  # noqa: S310  # our own
                if part not in answer.read():
                    raise NotDone(f"expected {part!r} in /{path}, found none")

    def answers(self) -> bool:
        """Tell whether the daemon's own ports are open, which are opened last."""
        try:
            self.status()
            self.check_pages()
        except (Unreachable, OSError):
            return False
        return True

    def check_command(self) -> None:
        """Run `sockd status`, and check it."""
        done = subprocess.run(  # noqa: S603  # a command of this repository
            [_SOCKD, "status", "-c", FILE],
            cwd=self.places.folder,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode or b"echo" not in done.stdout:
            raise NotDone(f"sockd status ended with {done.returncode}: {done.stderr[-300:].decode()}")

    def reload(self, version: int) -> None:
        """Reload a version of the configuration."""
        self.places.write(version)
        self._signal_for("reloaded", signal.SIGHUP)

    def reload_faulty(self) -> None:
        """Reload a configuration that cannot be served."""
        self.places.write_faulty()
        self._signal_for("not reloaded", signal.SIGHUP)

    def reopen_log(self) -> None:
        """Move the log away, as logrotate does."""
        self.log.change(lambda: self._process.send_signal(signal.SIGUSR1))

    def change_certificate(self) -> None:
        """Replace the certificate, and wait until clients see the new one."""
        Identity().write(self.places.folder)
        expected = (self.places.folder / CERTIFICATE).read_text()
        address = HOST, self.places.ports["tls"]
        _wait_for("the new certificate", lambda: _same(expected, ssl.get_server_certificate(address)))

    def upgrade(self) -> None:
        """Replace the workers."""
        self._signal_for("upgraded", signal.SIGUSR2)

    def first(self) -> Process:
        """Return the process that was started: it serves itself, or has workers."""
        return Process(self._process.pid)

    def processes(self) -> list[Process]:
        """Return the process that was started and its workers."""
        return [self.first(), *self.first().children()]

    def say(self) -> None:
        """Say something in the chat, whose history opens its files for the first message."""
        with socket.create_connection((HOST, self.places.ports["chat"]), PATIENCE) as connection:
            connection.sendall(b"first\nhello\n")
            heard = b""
            while b"<first> hello" not in heard:
                time.sleep(SETTLED)
                connection.sendall(b"/since 0\n")
                if not (more := connection.recv(4096)):
                    raise NotDone("the chat has hung up")
                heard += more

    def settled(self) -> Held:
        """Return the resources once nothing is being closed any more."""
        held = None
        while held != (now := Held.told(self.status())):
            held = now
            time.sleep(SETTLED)
        return now

    def stop(self) -> int:
        """Stop the daemon in order; return its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(STOP_TIMEOUT)
        finally:
            self.log.read()

    def _signal_for(self, event: str, number: int) -> None:
        self.log.read()
        before = self.log.events[event]

        def happened() -> bool:
            self.log.read()
            return self.log.events[event] > before

        self._process.send_signal(number)
        _wait_for(event, happened)


def _same(expected: str, found: str) -> bool:
    return "".join(expected.split()) == "".join(found.split())


def _wait_for(what: str, happened: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > until:
            raise NotDone(f"expected {what} within {PATIENCE:g} s, found nothing")
        time.sleep(0.05)


@contextmanager
def serving(places: Places) -> Iterator[Daemon]:
    """Start a daemon, yield it when it is ready, and end it."""
    output = places.folder / "output"
    with output.open("w") as stream:
        process = subprocess.Popen(  # noqa: S603  # a command of this repository
            [_SOCKD, "run", "-c", FILE],
            cwd=places.folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the soak alone, which then ends the daemon in order
        )
    try:
        _wait_until_ready(process, places, output)
        with closing(Log(places.folder / LOG)) as log:
            daemon = Daemon(process, places, log)
            _wait_for("the daemon's own ports", daemon.answers)
            yield daemon
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], places: Places, output: Path) -> None:
    until = time.monotonic() + START_TIMEOUT
    log = places.folder / LOG
    while not (log.exists() and '"ready"' in log.read_text()):
        if process.poll() is not None or time.monotonic() > until:
            raise StartError(f"the daemon does not start: {output.read_text()[-1000:]}")
        time.sleep(0.05)
