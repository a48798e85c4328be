"""Real daemons, started as a person would start them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crews import Shared
from running import BIN, Daemon, Start


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start daemons from configuration texts; each is ended after the test."""
    daemons: list[Daemon] = []

    def start_one(text: str, *, how: str = "twistd", env: dict[str, str] | None = None) -> Daemon:
        (tmp_path / "sockd.toml").write_text(text)
        command: tuple[str | Path, ...] = (BIN / "sockd", "run")
        if how == "twistd":
            command = (BIN / "twistd", "-n", "sockd", "-c", "sockd.toml")
        daemons.append(Daemon(*command, cwd=tmp_path, env=env))
        return daemons[-1]

    yield start_one
    for daemon in daemons:
        daemon.stop()


@pytest.fixture
def crew(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Daemon]:
    """Return the daemon that the module's tests share; after a test that fails they get another."""
    failed = request.session.testsfailed
    yield shared.ready()
    if request.session.testsfailed > failed:
        shared.stop()


EVERYTHING = """
[daemon]
drain_timeout = "2s"

[service.echo]
plugin = "echo"
listen = [
  "tcp:0:interface=127.0.0.1", "tcp6:0:interface=[::1]",
  "udp:0:interface=127.0.0.1", "udp6:0:interface=[::1]",
  "unix:run/echo.sock", "unixgram:run/echo-datagrams.sock",
]

[service.upper]
plugin = "upper"
listen = [
  "tcp:0:interface=127.0.0.1", "tcp6:0:interface=[::1]",
  "udp:0:interface=127.0.0.1", "udp6:0:interface=[::1]",
  "unix:run/upper.sock", "unixgram:run/upper-datagrams.sock",
]

[service.time]
plugin = "time"
listen = [
  "tcp:0:interface=127.0.0.1", "tcp6:0:interface=[::1]",
  "udp:0:interface=127.0.0.1", "udp6:0:interface=[::1]",
  "unix:run/time.sock", "unixgram:run/time-datagrams.sock",
]

[service.banner]
plugin = "banner"
listen = [
  "tcp:0:interface=127.0.0.1", "tcp6:0:interface=[::1]",
  "udp:0:interface=127.0.0.1", "udp6:0:interface=[::1]",
  "unix:run/banner.sock", "unixgram:run/banner-datagrams.sock",
]
options.text = "This is socket!"

[service.reply]
plugin = "banner"
listen = ["tcp:0:interface=127.0.0.1"]
options = { text = "test server", after = "message" }

[service.desk]
plugin = "desk"
listen = [
  "tcp:0:interface=127.0.0.1",
  "udp:0:interface=127.0.0.1",
  { endpoint = "unix:run/operator.sock:mode=600", protocol = "operator" },
]

[service.chat]
plugin = "chat"
listen = ["tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1"]

[service.files]
plugin = "files"
listen = [
  { endpoint = "tcp:0:interface=127.0.0.1", protocol = "upload" },
  { endpoint = "tcp:0:interface=127.0.0.1", protocol = "raw" },
]
options.directory = "received"

[service.web]
plugin = "factory"
listen = ["tcp:0:interface=127.0.0.1"]
options.factory = "website:site"
"""

WEBSITE = """
from twisted.web.demo import Test
from twisted.web.server import Site

def site():
    return Site(Test())
"""
"""Existing Twisted code, independent of sockd."""


@pytest.fixture(scope="module", params=["uv", "epoll"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Start one daemon that serves everything, for a module's tests that only talk to it; on each reactor."""
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "sockd.toml").write_text(EVERYTHING)
    (folder / "website.py").write_text(WEBSITE)
    command = (BIN / "twistd", f"--reactor={request.param}", "-n", "sockd", "-c", "sockd.toml")
    started = Daemon(*command, cwd=folder, env={"PYTHONPATH": str(folder)})
    try:
        started.ready()
        yield started
    finally:
        code = started.stop()
    assert code == 0
