"""Sockets that the service manager keeps while the daemon restarts; the test is the manager."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crews import wait_until
from running import BIN, PATIENCE, Daemon

CONFIG = """
[daemon]
workers = {workers}
drain_timeout = "1s"
[metrics]
listen = "tcp:0:interface=127.0.0.1"
[service.echo]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1:backlog=9", "udp:0:interface=127.0.0.1", "unix:run/echo.sock"]
"""

ECHO = "tcp:0:interface=127.0.0.1:backlog=9"

LAUNCHER = """
import fcntl, os, sys
names, given, *command = sys.argv[1:]
high = []
for each in map(int, given.split()):
    high.append(fcntl.fcntl(each, fcntl.F_DUPFD, 200))
    os.close(each)
for number, descriptor in enumerate(high, 3):
    os.dup2(descriptor, number)
    os.close(descriptor)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(high)), "LISTEN_FDNAMES": names}
os.execv(command[0], command)
"""
"""Launcher of a program as systemd starts it, with descriptors from 3 on."""


class Manager:
    """Manager of a service with Type=notify and FileDescriptorStoreMax=."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stored: list[tuple[str, int]] = []
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(0.01)
        self._daemons: list[Daemon] = []

    def start(self, text: str) -> Daemon:
        """Start the service with the sockets of the store."""
        (self.folder / "sockd.toml").write_text(text)
        names, given = (
            ":".join(name for name, _ in self.stored),
            " ".join(str(descriptor) for _, descriptor in self.stored),
        )
        command = [str(BIN / "twistd"), "-n", "sockd", "-c", "sockd.toml"]
        if self.stored:
            command = [sys.executable, "-c", LAUNCHER, names, given, *command]
        self.lines = []
        daemon = Daemon(
            *command,
            cwd=self.folder,
            env={"NOTIFY_SOCKET": str(self.folder / "notify"), "FDSTORE": "64"},
            pass_fds=[descriptor for _, descriptor in self.stored],
        )
        self._daemons.append(daemon)
        self.until("READY=1")
        return daemon.ready()

    def until(self, line: str) -> None:
        """Read messages until there is such a line."""
        daemon = self._daemons[-1]
        wait_until(lambda: line in self.take() or daemon.process.poll() is not None)
        assert line in self.lines, daemon.errors

    def holds(self, count: int) -> bool:
        """Tell whether a number of sockets are in the store."""
        self.take()
        return len(self.stored) == count

    def take(self) -> list[str]:
        """Execute the messages that have come; return their lines."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 10)
            except TimeoutError:
                return self.lines
            lines = data.decode().splitlines()
            self.lines += lines
            fields = dict(line.split("=", 1) for line in lines)
            if "FDSTORE" in fields:
                self.stored += [(fields["FDNAME"], descriptor) for descriptor in descriptors]
            if "BARRIER" in fields:
                os.close(descriptors[0])
            if "FDSTOREREMOVE" in fields:
                gone = [entry for entry in self.stored if entry[0] == fields["FDNAME"]]
                assert gone, fields
                for entry in gone:
                    os.close(entry[1])
                    self.stored.remove(entry)

    def close(self) -> None:
        """End everything."""
        for daemon in self._daemons:
            daemon.stop()
        for _, descriptor in self.stored:
            os.close(descriptor)
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Return a manager with an empty store."""
    made = Manager(tmp_path)
    yield made
    made.close()


def config(workers: int) -> str:
    return CONFIG.format(workers=workers)


def waiting(daemon: Daemon) -> list[socket.socket]:
    """Return clients that have connected and asked, on each kind of socket."""
    stream = socket.create_connection(daemon.port("echo"), PATIENCE)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.connect(daemon.port("echo", "udp"))
    local = socket.socket(socket.AF_UNIX)
    local.connect(daemon.path("echo"))
    for client in (stream, datagrams, local):
        client.settimeout(PATIENCE)
        client.sendall(b"hello\n")
    return [stream, datagrams, local]


@pytest.mark.parametrize("workers", [0, 1])
def test_clients_that_come_during_a_restart_are_served_by_the_next_daemon(
    manager: Manager, workers: int
) -> None:
    daemon = manager.start(config(workers))
    assert len(manager.stored) == 4, "the port of metrics too"
    before = daemon.port("echo"), daemon.port("echo", "udp"), daemon.path("echo")
    for how in (signal.SIGTERM, signal.SIGKILL):
        daemon.signal(how)
        daemon.wait()
        clients = waiting(daemon)
        daemon = manager.start(config(workers))
        for client in clients:
            with client:
                assert client.recv(100) == b"hello\n", how
        assert (daemon.port("echo"), daemon.port("echo", "udp"), daemon.path("echo")) == before, how
        assert len(manager.stored) == 4, how


@pytest.mark.parametrize("workers", [0, 1])
def test_sockets_that_another_configuration_does_not_want_are_closed(manager: Manager, workers: int) -> None:
    first = manager.start(config(workers))
    port = first.port("echo")
    kept = {name for name, _ in manager.stored if "tcp" not in name}
    assert len(kept) == 2
    first.stop()
    second = manager.start(config(workers).replace(ECHO, f"tcp:{port[1]}:interface=127.0.0.1:backlog=7"))
    assert {name for name, _ in manager.stored if "tcp" not in name} == kept
    assert len(manager.stored) == 4
    with socket.create_connection(second.port("echo"), PATIENCE) as client:
        client.sendall(b"hello\n")
        assert client.recv(100) == b"hello\n"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_reload_and_an_upgrade_keep_the_store_true(manager: Manager, workers: int) -> None:
    daemon = manager.start(config(workers))
    if workers:
        daemon.signal(signal.SIGUSR2)
        daemon.wait_for("upgraded")
    more = '[service.more]\nplugin = "echo"\nlisten = ["unix:run/more.sock", "tcp:0:interface=127.0.0.1"]\n'
    (manager.folder / "sockd.toml").write_text(config(workers) + more)
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("reloaded", add=["more"])
    wait_until(lambda: manager.holds(6))
    (manager.folder / "sockd.toml").write_text(config(workers))
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("reloaded", remove=["more"])
    wait_until(lambda: manager.holds(4))
    assert not (manager.folder / "run/more.sock").exists()
    daemon.stop()
    assert (manager.folder / "run/echo.sock").exists(), "it is reached by its path"


def test_a_path_that_has_become_another_ones_is_not_taken_for_its_own(manager: Manager) -> None:
    first = manager.start(config(0))
    first.stop()
    Path(first.path("echo")).unlink()
    second = manager.start(config(0))
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(second.path("echo"))
        client.sendall(b"hello\n")
        assert client.recv(100) == b"hello\n"
    assert len(manager.stored) == 4
