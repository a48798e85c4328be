"""Notifications of a real daemon to systemd, over a socket as systemd opens one."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from running import PATIENCE, Daemon, Start

CONFIG = """
[daemon]
workers = {workers}
[service.echo]
plugin = "echo"
listen = ["unix:echo.sock", "unixgram:echo-datagrams.sock"]
"""

WATCHDOG = 400_000
"""Microseconds: a sign of life is due after half of them."""


class Systemd:
    """Systemd's end of the notify socket."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(PATIENCE)

    def next(self) -> dict[str, str]:
        """Return the next message that is no sign of life."""
        while (message := self._message()) == {"WATCHDOG": "1"}:
            pass
        return message

    def sign_of_life(self) -> None:
        """Wait for a sign of life."""
        while "WATCHDOG" not in self._message():
            pass

    def _message(self) -> dict[str, str]:
        lines = self._socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    end = Systemd(tmp_path)
    yield end
    end.close()


@pytest.fixture(params=[0, 2])
def workers(request: pytest.FixtureRequest) -> int:
    """Number of workers: a single process, and a supervisor."""
    return int(request.param)


@pytest.fixture
def daemon(start: Start, systemd: Systemd, workers: int) -> Daemon:
    """Start a daemon as systemd does, up to its first message."""
    env = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": str(WATCHDOG)}
    return start(CONFIG.format(workers=workers), how="run", env=env)


def serving(workers: int, services: int = 1, fault: str = "") -> str:
    many = f"; workers: {workers} of {workers}" if workers else ""
    return f"services: {services}, listeners: {services + 1}{fault}{many}"


def test_the_whole_life_of_a_daemon_is_told(
    daemon: Daemon, systemd: Systemd, workers: int, tmp_path: Path
) -> None:
    assert systemd.next() == {"READY": "1", "STATUS": serving(workers)}
    daemon.wait_for("ready")
    systemd.sign_of_life()

    def reload(text: str) -> str:
        """Return the status after a reload, whose begin and end are reported."""
        (tmp_path / "sockd.toml").write_text(text)
        before = time.monotonic_ns() // 1000
        daemon.signal(signal.SIGHUP)
        begun = systemd.next()
        assert (begun.pop("RELOADING"), list(begun)) == ("1", ["MONOTONIC_USEC"])
        assert before <= int(begun["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        over = systemd.next()
        assert over.pop("READY") == "1"
        return over["STATUS"]

    more = '[service.more]\nplugin = "echo"\nlisten = ["unix:more.sock"]\n'
    assert reload(CONFIG.format(workers=workers) + more) == serving(workers, 2)
    fault = "; the configuration read last is not served: see the log"
    assert reload("[service") == serving(workers, 2, fault)
    assert reload(CONFIG.format(workers=workers)) == serving(workers)

    daemon.signal()
    stopping = systemd.next()
    assert (stopping["STOPPING"], stopping["STATUS"].split(",")[0]) == ("1", "stopping")
    assert daemon.wait() == 0
