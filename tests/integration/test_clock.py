"""Steps of the wall clock while the daemon serves, as by NTP or when a virtual machine resumes."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from running import PATIENCE, Daemon
from serving import serving

DAY = 86_400

STEPPED = """
import time

def stepped(real=time.time, path=__file__ + ".step"):
    try:
        with open(path) as file:
            return real() + float(file.read() or 0)
    except OSError:
        return real()

time.time = stepped
"""
"""Module that the interpreter imports first; it sets the daemon's wall clock from a file."""

CONFIG = """
[daemon]
drain_timeout = "1s"

[service.echo]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1", "unix:run/echo.sock", "udp:0:interface=127.0.0.1"]
limits.idle_timeout = "1h"

[service.idle]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1"]
limits.idle_timeout = "1s"

[service.rate]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1"]
limits.bytes_per_second = "10KiB"
"""


class Stepped:
    """Daemon with a wall clock of its own."""

    def __init__(self, daemon: Daemon, clock: Path) -> None:
        self.daemon = daemon
        self._clock = clock

    def step(self, seconds: int) -> None:
        whole = self._clock.with_suffix(".new")
        whole.write_text(str(seconds))
        whole.rename(self._clock)

    def connect(self, service: str) -> socket.socket:
        return socket.create_connection(self.daemon.port(service), PATIENCE)


@pytest.fixture(params=["uv", "epoll"])
def stepped(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stepped]:
    (tmp_path / "sitecustomize.py").write_text(STEPPED)
    with serving(tmp_path, CONFIG, request.param) as daemon:
        yield Stepped(daemon, tmp_path / "sitecustomize.py.step")


def asked(client: socket.socket) -> bytes:
    client.sendall(b"hello")
    return client.recv(100)


@pytest.mark.parametrize("step", [DAY, -DAY])
def test_no_session_is_lost_and_no_timer_is_early_or_late(stepped: Stepped, step: int) -> None:
    unix = socket.socket(socket.AF_UNIX)
    unix.settimeout(PATIENCE)
    unix.connect(stepped.daemon.path("echo"))
    with unix, stepped.connect("echo") as busy, stepped.connect("rate") as slow:
        assert asked(busy) == asked(unix) == b"hello"
        slow.sendall(b"x" * 10_240)
        idle, began = stepped.connect("idle"), time.monotonic()
        stepped.step(step)
        with idle:
            assert idle.recv(1) == b""
        assert 0.9 <= time.monotonic() - began < PATIENCE
        received = 0
        while received < 10_240:
            received += len(slow.recv(65536))
        assert asked(busy) == asked(unix) == b"hello"


@pytest.mark.parametrize("step", [DAY, -DAY])
def test_the_daemon_still_drains_in_its_time(stepped: Stepped, step: int) -> None:
    with stepped.connect("rate") as client:
        assert asked(client) == b"hello"
        stepped.step(step)
        began = time.monotonic()
        stepped.daemon.signal()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert 0.9 <= time.monotonic() - began < PATIENCE
        assert stepped.daemon.wait() == 0


def test_the_clock_of_these_tests_can_be_set(stepped: Stepped) -> None:
    """Check the tests themselves: the time of an event is the wall clock's."""
    stepped.step(-DAY)
    stepped.daemon.signal()
    assert stepped.daemon.wait() == 0
    ready, stopping = (stepped.daemon.wait_for(name)["time"] for name in ("ready", "stopping"))
    assert stopping < ready
