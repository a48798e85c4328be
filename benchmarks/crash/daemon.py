"""Daemon of a trial: started in a moment, killed or stopped, and started again on the same ports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.crash.board import Board
from benchmarks.processes import START_TIMEOUT, StartError, free_ports

HOST = "127.0.7.1"
"""Address of the daemons: a port is free again when one starts anew, because no client has this address."""

CONFIGURATION = "sockd.toml"
LOG = "log"

STOP_TIMEOUT = 10.0
"""Seconds for a daemon to end in order."""


def kind(protocol: str) -> str:
    """Return the kind of the sockets of a protocol."""
    return "udp" if protocol == "tftp" else "tcp"


def configuration(received: Path, ports: Mapping[str, int], options: str = "") -> str:
    """Return a configuration that receives files in a folder.

    Args:
        received: the folder.
        ports: of each protocol.
        options: more options of the plugin, as TOML lines.
    """
    listeners = ", ".join(
        f'{{ endpoint = "{kind(name)}:{port}:interface={HOST}", protocol = "{name}" }}'
        for name, port in ports.items()
    )
    return (
        f'[service.files]\nplugin = "files"\nlisten = [{listeners}]\n'
        f'[service.files.options]\ndirectory = "{received}"\nunverified = "unverified"\n'
        f'quota = "8GiB"\nreserve = 0\nreserve_files = 0\n{options}\n'
    )


class Nursery:
    """Process that forks the daemons of a run (`nursery.py`), one at a time.

    Args:
        board: for the library in it.
        folder: working folder of the daemons, which is not on the disk of the trials.
        protocols: that the daemons speak.
    """

    def __init__(self, board: Board, folder: Path, protocols: tuple[str, ...]) -> None:
        self.folder = folder
        numbers = free_ports(*map(kind, protocols))
        self.ports = dict(zip(protocols, numbers, strict=True))
        self._pid = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.crash.nursery"],
            env=os.environ | board.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End the daemon and the process."""
        self.kill()
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    @property
    def runs(self) -> bool:
        """True while a daemon is there."""
        if self._pid == 0:
            return False
        state = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"

    def start(self, received: Path, options: str = "") -> None:
        """Start a daemon, and return when it is ready.

        Raises:
            StartError: it does not start.
        """
        (self.folder / CONFIGURATION).write_text(configuration(received, self.ports, options))
        log = self.folder / LOG
        log.unlink(missing_ok=True)
        self._pid = int(self._ask(f"start {self.folder}"))
        until = time.monotonic() + START_TIMEOUT
        while not (log.exists() and '"ready"' in log.read_text()):
            if not self.runs or time.monotonic() > until:
                self.kill()
                raise StartError(f"the daemon does not start: {log.read_text()[-1000:]}")
            time.sleep(0.005)

    def kill(self) -> None:
        """Kill the daemon, if there is one, and wait for its end."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self.wait()

    def stop(self) -> None:
        """Stop the daemon in order.

        Raises:
            StartError: it does not end.
        """
        os.kill(self._pid, signal.SIGTERM)
        until = time.monotonic() + STOP_TIMEOUT
        while self.runs:
            if time.monotonic() > until:
                self.kill()
                raise StartError("the daemon does not stop")
            time.sleep(0.005)
        self.wait()

    def wait(self) -> int:
        """Wait for the end of the daemon; return its status (waitpid(2))."""
        self._pid = 0
        return int(self._ask("wait"))

    def descriptors(self) -> int:
        """Count the descriptors of the daemon."""
        return len(os.listdir(f"/proc/{self._pid}/fd"))

    @property
    def pid(self) -> int:
        """Process of the daemon."""
        return self._pid

    def said(self) -> str:
        """Return the log of the daemon."""
        return (self.folder / LOG).read_text()

    def _ask(self, line: str) -> str:
        if self._process.stdin is None or self._process.stdout is None:
            raise StartError("the nursery has no pipes")
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise StartError("the nursery has ended")
        return answer


@contextmanager
def nursery(board: Board, folder: Path, protocols: tuple[str, ...]) -> Iterator[Nursery]:
    """Start the process that forks daemons, and end it."""
    made = Nursery(board, folder, protocols)
    try:
        yield made
    finally:
        made.close()
