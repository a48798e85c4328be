"""Daemon in a process of its own, for tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
PATIENCE = 90.0
"""Seconds until a test fails. Nothing waits this long unless something is broken."""


class Daemon:
    """Process of a `sockd` in a folder, and its log."""

    def __init__(
        self,
        *command: str | Path,
        cwd: Path,
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.folder = cwd
        self.process = subprocess.Popen(
            [os.fspath(word) for word in command],
            cwd=cwd,
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=pass_fds,
        )
        self.events: list[dict[str, Any]] = []
        self.errors = ""
        self._forgotten = 0
        self._changed = threading.Condition()
        self._ended = 0
        self._readers = [
            threading.Thread(target=self._read_log, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.events.append(json.loads(line))
                self._changed.notify_all()
        self._end()

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line
        self._end()

    def _end(self) -> None:
        with self._changed:
            self._ended += 1
            self._changed.notify_all()

    def wait_for(self, event: str, **fields: Any) -> dict[str, Any]:
        """Return the first event of this name and these fields; wait for it if necessary."""

        with self._changed:
            self._changed.wait_for(lambda: self.has_told(event, **fields) or self._ended == 2, PATIENCE)
            record = self.has_told(event, **fields)
        assert record is not None, f"no event {event!r} {fields}: {self.events} {self.errors}"
        return record

    def has_told(self, event: str, **fields: Any) -> dict[str, Any] | None:
        """Return the first event of this name and these fields; None if there was none."""
        return next((record for record in self.all_of(event) if fields.items() <= record.items()), None)

    def all_of(self, event: str) -> list[dict[str, Any]]:
        """Return the events of this name so far."""
        return [record for record in self.events[self._forgotten :] if record.get("event") == event]

    def forget(self) -> None:
        """Let only events that are still to come count, for a test that shares the daemon with others."""
        self._forgotten = len(self.events)

    def wait_for_times(self, event: str, times: int) -> dict[str, Any]:
        """Wait until there were `times` events of this name; return the last of these."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.all_of(event)) >= times or self._ended == 2, PATIENCE)
            found = self.all_of(event)
        assert len(found) >= times, f"{len(found)} of {times} events {event!r}: {self.errors}"
        return found[times - 1]

    def ready(self) -> Daemon:
        """Wait until everything is open."""
        self.wait_for("ready")
        return self

    def addresses(self, service: str, kind: str) -> list[str]:
        """Return the addresses of the service's sockets of a kind (`tcp`, `udp`, `unix`, `unixgram`)."""
        return [
            event["address"]
            for event in self.events
            if event.get("event") == "listening"
            and event["service"] == service
            and event["address"].startswith(f"{kind}:")
        ]

    def port(self, service: str, kind: str = "tcp", which: int = 0) -> tuple[str, int]:
        """Return host and port of a listener."""
        host, _, port = self.addresses(service, kind)[which].removeprefix(f"{kind}:").rpartition(":")
        return host.strip("[]"), int(port)

    def path(self, service: str, kind: str = "unix", which: int = 0) -> str:
        """Return the path of a UNIX listener."""
        return self.addresses(service, kind)[which].removeprefix(f"{kind}:")

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to the process."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end of the process; return its exit code."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def stop(self) -> int:
        """Stop the daemon, in order if that works."""
        if self.process.poll() is None:
            self.signal()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        code = self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return code


Start = Callable[..., Daemon]
"""Type of the fixture `start`, which starts a daemon from a configuration text."""
