"""Lack of file descriptors, as clients and the operator see it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from running import BIN, PATIENCE, Daemon

LIMIT = 96
CLIENTS = 120

CONFIG = """
[control]
listen = "unix:run/control.sock"
[service.echo]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1"]
"""


@pytest.fixture(params=["uv", "epoll"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    (tmp_path / "sockd.toml").write_text(CONFIG)
    command = (BIN / "twistd", f"--reactor={request.param}", "-n", "sockd", "-c", "sockd.toml")
    daemon = Daemon("prlimit", f"--nofile={LIMIT}:{LIMIT}", *command, cwd=tmp_path)
    try:
        yield daemon.ready()
    finally:
        assert daemon.stop() == 0


def asked(client: socket.socket, seconds: float) -> bytes:
    client.settimeout(seconds)
    try:
        client.sendall(b"?")
        return client.recv(1)
    except TimeoutError:
        return b"waits"


def status(folder: Path) -> dict[str, Any]:
    command: list[str | Path] = [BIN / "sockd", "status", "-c", "sockd.toml", "--json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_at_the_edge_accepting_pauses_and_all_else_goes_on(daemon: Daemon, tmp_path: Path) -> None:
    """Open connections stay, the operator is answered, the log stays small, and the state ends by itself."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(daemon.port("echo", which=number % 2), PATIENCE))
            for number in range(CLIENTS)
        ]
        short = daemon.wait_for("file descriptors short")
        assert short["limit"] == LIMIT
        answers = Counter(asked(client, 0.01) for client in clients)
        assert answers[b"?"] > 0
        assert answers[b"waits"] > 0
        assert answers[b""] == 0
        assert status(tmp_path)["state"] == "ready"
        while len(clients) > 20:
            clients.pop(0).close()
        # The others are accepted as those leave; then they are answered.
        assert {asked(client, PATIENCE) for client in clients} == {b"?"}
    told = [event["time"] for event in daemon.events if event.get("event") == "file descriptors short"]
    moments = [datetime.fromisoformat(time).timestamp() for time in told]
    assert all(after - before > 0.9 for before, after in pairwise(moments))
    assert not any("EMFILE" in str(event) for event in daemon.events)


def test_the_longest_idle_connections_make_room(daemon: Daemon, tmp_path: Path) -> None:
    """Idle connections are closed, so that they cannot keep others out for ever."""
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(daemon.port("echo"), PATIENCE))
        daemon.wait_for("file descriptors short")
        # Late clients wait in the kernel, behind them the next; all are accepted as idle ones are closed.
        with socket.create_connection(daemon.port("echo"), PATIENCE) as newcomer:
            assert asked(newcomer, PATIENCE) == b"?"
    [service] = status(tmp_path)["services"]
    assert ["closed", "descriptors"] in [count[:2] for count in service["counts"]]
