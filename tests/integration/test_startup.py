"""Signals before a daemon serves, and missing standard descriptors."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crews import children, name_of, wait_until, workers
from running import BIN, PATIENCE, Daemon, Start

EARLY = '''
import os
import signal
from sockd.plugin import IStreamPlugin, Plugin
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

def send():
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(os.getpid(), number)

send()

class Echo(Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

@implementer(IStreamPlugin)
class Early(Plugin):
    """Sends its process every order when it is loaded, when it starts, and once the reactor runs."""
    async def start(self, context):
        from twisted.internet.task import deferLater
        send()
        await deferLater(context.clock, 0)
        send()
    def stream_factory(self, protocol, context):
        return Factory.forProtocol(Echo)
    def stop(self):
        send()
'''

CONFIG = """
[daemon]
workers = {workers}
drain_timeout = "2s"
[service.early]
plugin = "early:Early"
listen = ["tcp:0:interface=127.0.0.1"]
"""

HOWS = pytest.mark.parametrize("how", ["twistd", "sockd"])


def echoes(address: tuple[str, int]) -> bool:
    with socket.create_connection(address, PATIENCE) as client:
        client.sendall(b"?")
        return client.recv(1) == b"?"


@pytest.fixture
def early(start: Start, tmp_path: Path) -> Callable[..., Daemon]:
    (tmp_path / "early.py").write_text(EARLY)
    return lambda workers, how: start(
        CONFIG.format(workers=workers), how=how, env={"PYTHONPATH": str(tmp_path)}
    )


@HOWS
@pytest.mark.parametrize("workers", [0, 1])
def test_no_order_that_comes_before_it_serves_or_while_it_ends_ends_it(
    early: Callable[..., Daemon], workers: int, how: str
) -> None:
    daemon = early(workers, how).ready()
    assert echoes(daemon.port("early"))
    daemon.signal()
    assert daemon.wait() == 0
    daemon.wait_for("stopped")


@HOWS
def test_a_reload_that_is_asked_for_too_early_is_done_once_it_serves(
    early: Callable[..., Daemon], how: str
) -> None:
    daemon = early(0, how).ready()
    daemon.wait_for("reloaded")
    names = [event["event"] for event in daemon.events]
    assert names.index("ready") < names.index("reloaded")


def test_without_workers_an_upgrade_by_signal_is_refused_in_the_log(start: Start) -> None:
    daemon = start('[service.echo]\nplugin = "echo"\nlisten = ["tcp:0:interface=127.0.0.1"]\n').ready()
    with socket.create_connection(daemon.port("echo"), PATIENCE) as client:
        daemon.signal(signal.SIGUSR2)
        assert "an upgrade needs workers" in daemon.wait_for("not upgraded")["reason"]
        client.sendall(b"?")
        assert client.recv(1) == b"?"


@pytest.mark.parametrize("workers", [0, 1])
def test_reopening_a_log_that_is_not_its_own_ends_nothing(tmp_path: Path, workers: int) -> None:
    (tmp_path / "early.py").write_text(EARLY)
    (tmp_path / "observer.py").write_text("def observer():\n    return lambda event: None\n")
    (tmp_path / "sockd.toml").write_text(
        CONFIG.format(workers=workers).replace("tcp:0:interface=127.0.0.1", "unix:early.sock")
    )
    command = (BIN / "twistd", "-n", "--logger=observer.observer", "sockd", "-c", "sockd.toml")
    daemon = Daemon(*command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    try:
        wait_until((tmp_path / "early.sock").exists)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / "early.sock"))
            daemon.signal(signal.SIGUSR1)
            client.sendall(b"?")
            assert client.recv(1) == b"?"
    finally:
        assert daemon.stop() == 0


def test_orders_that_reach_every_process_end_no_worker_whatever_it_does(
    early: Callable[..., Daemon],
) -> None:
    daemon = early(1, "twistd")
    seen: set[str] = set()
    # Interpreters that have just started, workers, and the spare one.
    while "ready" not in [event["event"] for event in daemon.events] or "sockd spare" not in seen:
        assert daemon.process.poll() is None, daemon.errors
        for pid in children(daemon):
            try:
                seen.add(name_of(pid))
                for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                    os.kill(pid, number)
            except OSError:
                continue
        time.sleep(0.001)  # the processes need the processor, too
    [worker] = workers(daemon)
    assert echoes(daemon.port("early"))
    assert workers(daemon) == [worker]
    assert "worker ended" not in [event["event"] for event in daemon.events]


@pytest.mark.parametrize(
    ("closed", "options", "workers"),
    [
        ("<&- >&- 2>&-", "", 0),
        ("<&- >&- 2>&-", "--reactor=epoll", 1),
        ("<&- >&- 2>&-", "-n", 1),
        ("<&-", "-n --reactor=epoll", 0),
        (">&-", "", 1),
        ("2>&-", "", 0),
    ],
)
def test_standard_descriptors_that_are_closed_are_opened_before_anything_else(
    tmp_path: Path, closed: str, options: str, workers: int
) -> None:
    (tmp_path / "sockd.toml").write_text(
        f'[daemon]\nworkers = {workers}\n[log]\nfile = "log"\n'
        '[service.echo]\nplugin = "echo"\nlisten = ["unix:echo.sock", "tcp:0:interface=127.0.0.1"]\n'
    )
    command = f"exec {BIN}/twistd --pidfile=it.pid {options} sockd -c sockd.toml {closed}"
    with subprocess.Popen(["/bin/sh", "-c", command], cwd=tmp_path) as starter:
        wait_until(lambda: (tmp_path / "log").exists() and '"ready"' in (tmp_path / "log").read_text())
        pid = int((tmp_path / "it.pid").read_text())
        try:
            kinds = {os.readlink(f"/proc/{pid}/fd/{number}").partition(":")[0] for number in range(3)}
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(str(tmp_path / "echo.sock"))
                client.sendall(b"?")
                assert client.recv(1) == b"?"
        finally:
            os.kill(pid, signal.SIGTERM)
            starter.wait(PATIENCE)
        assert starter.returncode == 0
    assert not kinds & {"socket", "anon_inode"}
    wait_until(lambda: not (tmp_path / "it.pid").exists())
