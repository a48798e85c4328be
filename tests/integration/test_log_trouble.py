"""Daemon whose log cannot be written: it serves on, and reports the lost lines."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from crews import wait_until
from running import BIN, PATIENCE, Daemon
from sockd.control.client import Unreachable, ask
from sockd.telemetry.sink import MAX_LINES

NOISY = '''
from sockd.plugin import IStreamPlugin, Plugin
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

@implementer(IStreamPlugin)
class Noisy(Plugin):
    """Writes as many events as it is told, and says when it has."""

    def stream_factory(self, protocol, context):
        class Talker(Protocol):
            def dataReceived(self, data):
                for number in range(int(data)):
                    context.logger.debug("{number} is a line of the log, as there are many", number=number)
                self.transport.write(b"done")
        return Factory.forProtocol(Talker)
'''

CONFIG = """
[daemon]
workers = {workers}
[log]
file = "{log}"
format = "json"
level = "debug"  # of which nothing is held back
[control]
listen = "unix:run/control.sock"
[service.noisy]
plugin = "noisy:Noisy"
listen = ["unix:noisy.sock"]
"""


class Noise:
    """Daemon that writes many lines to a log that does not take them."""

    def __init__(self, folder: Path, log: Path, workers: int) -> None:
        self.folder, self.log = folder, log
        (folder / "noisy.py").write_text(NOISY)
        (folder / "sockd.toml").write_text(CONFIG.format(log=log, workers=workers))
        self.daemon = Daemon(BIN / "sockd", "run", cwd=folder, env={"PYTHONPATH": str(folder)})
        wait_until(self.answers)

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = ask(self.folder / "run/control.sock", "status", PATIENCE)
        return told

    def answers(self) -> bool:
        try:
            return bool(self.status()["state"] == "ready")
        except Unreachable:
            assert self.daemon.process.poll() is None, self.daemon.errors
            return False

    def make(self, lines: int) -> None:
        """Write many lines; return when the plugin has written them and its peer is answered."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(self.folder / "noisy.sock"))
            client.sendall(str(lines).encode())
            assert client.recv(10) == b"done"

    def dropped(self) -> int:
        """Return how many lines the daemon reports as lost."""
        status = self.status()
        return sum(each["log_dropped"] for each in (status, *status.get("workers", ())))


@pytest.fixture
def noise(tmp_path: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def made(log: Path, workers: int = 0) -> Noise:
            noisy = Noise(tmp_path, log, workers)
            stack.callback(noisy.daemon.stop)
            return noisy

        yield made


def told_lost(text: str) -> int:
    """Return how many lines a log reports as lost."""
    return sum(json.loads(line)["count"] for line in text.splitlines() if "log lines dropped" in line)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_disk_that_is_full_for_good_stops_nobody(noise: Any, workers: int) -> None:
    noisy = noise(Path("/dev/full"), workers)
    noisy.make(3 * MAX_LINES)
    assert noisy.dropped() >= MAX_LINES
    assert noisy.daemon.stop() == 0
    assert "the log cannot be written (no space left on device)" in noisy.daemon.errors


def test_a_reader_that_has_stopped_stops_nobody_and_finds_what_was_lost(noise: Any, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # reads nothing
    try:
        noisy = noise(path)
        noisy.make(3 * MAX_LINES)
        lost = noisy.dropped()
        assert lost >= MAX_LINES
        text = b""

        def read() -> bool:
            nonlocal text
            while True:
                try:
                    part = os.read(reader, 65536)
                except BlockingIOError:
                    break
                text += part
            return text.endswith(b"\n") and told_lost(text.decode()) == noisy.dropped()

        wait_until(read)
        assert told_lost(text.decode()) >= lost  # the watchdog may have written more since
    finally:
        os.close(reader)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_a_disk_that_has_room_again_is_told_what_was_lost(noise: Any, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=20", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        ballast = disk / "ballast"
        noisy = noise(disk / "log")
        ballast.write_bytes(bytes(600_000))
        noisy.make(3 * MAX_LINES)
        lost = noisy.dropped()
        assert lost > 0
        ballast.unlink()
        text = ""

        def relieved() -> bool:
            """Replace a log that is smaller than the waiting lines."""
            nonlocal text
            log, moved = disk / "log", disk / "log.1"
            if log.exists():
                assert log.stat().st_mode & 0o777 == 0o640
                log.rename(moved)
                text += moved.read_text()
                moved.unlink()
                noisy.daemon.signal(signal.SIGUSR1)
            return "log lines dropped" in text

        wait_until(lambda: relieved() and told_lost(text) == noisy.dropped())
        assert told_lost(text) >= lost  # the watchdog may have written more since
        assert noisy.daemon.stop() == 0
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
