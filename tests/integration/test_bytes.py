"""Numbers of bytes in the log, the status and the metrics."""

from __future__ import annotations

import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from crews import wait_until
from running import BIN, PATIENCE, Daemon
from serving import serving

CONFIG = """
[log]
level = "debug"

[daemon]
workers = {workers}

[metrics]
listen = "tcp:0:interface=127.0.0.1"

[service.echo]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1", "unix:run/echo.sock"]
"""


@pytest.fixture(scope="module", params=[("uv", 0), ("epoll", 0), ("uv", 2)], ids=str)
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    reactor, workers = request.param
    with serving(tmp_path_factory.mktemp("bytes"), CONFIG.format(workers=workers), reactor) as daemon:
        yield daemon


def echoed(client: socket.socket, size: int, *, ends_first: bool) -> None:
    """Send bytes and read all of them back."""

    def send() -> None:
        client.sendall(b"x" * size)
        if ends_first:
            client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    left = size
    while left:
        left -= len(client.recv(65536))
    sender.join(PATIENCE)
    client.close()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_an_echo_has_sent_what_it_has_received(daemon: Daemon, kind: str) -> None:
    before = daemon.events.copy()
    sizes = [300_000] * 10 + [1, 0]
    for ends_first in (False, True):
        for size in sizes:
            client = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
            client.settimeout(PATIENCE)
            client.connect(daemon.path("echo") if kind == "unix" else daemon.port("echo"))
            echoed(client, size, ends_first=ends_first)
    closed = sum(event.get("event") == "connection closed" for event in before) + 2 * len(sizes)
    daemon.wait_for_times("connection closed", closed)
    moved = [
        (event["received"], event["sent"])
        for event in daemon.events[len(before) :]
        if event.get("event") == "connection closed"
    ]
    assert sorted(moved) == sorted([(size, size) for size in sizes] * 2)
    address = daemon.wait_for("serving", what="metrics")["address"].removeprefix("tcp:")
    closed_ones = [event for event in daemon.events if event.get("event") == "connection closed"]
    every = sum(event["sent"] for event in closed_ones)

    def told() -> list[float]:
        with urlopen(f"http://{address}/metrics", timeout=PATIENCE) as answer:
            lines = re.findall(rb"^sockd_(?:received|sent)_bytes_total.* (\S+)$", answer.read(), re.MULTILINE)
        with urlopen(f"http://{address}/status.json", timeout=PATIENCE) as answer:
            [service] = json.load(answer)["services"]
        return [*map(float, lines), service["received"], service["sent"]]

    # A worker that has no time to answer is missing in the report.
    wait_until(lambda: told() == [every] * 4)


MPTCP = """
[log]
level = "debug"
[service.echo]
plugin = "echo"
listen = ["systemd:echo"]
"""


AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "echo"}
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("reactor", ["uv", "epoll"])
def test_bytes_of_a_connection_over_several_paths_are_counted(tmp_path: Path, reactor: str) -> None:
    try:
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
    except OSError:
        pytest.skip("the kernel has no MPTCP")
    (tmp_path / "sockd.toml").write_text(MPTCP)
    with listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        command = (BIN / "twistd", f"--reactor={reactor}", "-n", "sockd", "-c", "sockd.toml")
        descriptor = listening.fileno()
        daemon = Daemon(
            *(sys.executable, "-c", AS_SYSTEMD, str(descriptor), *command),
            cwd=tmp_path,
            pass_fds=[descriptor],
        )
        try:
            daemon.ready()
            client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
            client.settimeout(PATIENCE)
            client.connect(listening.getsockname())
            echoed(client, 300_000, ends_first=True)
            closed = daemon.wait_for("connection closed")
            assert (closed["received"], closed["sent"]) == (300_000, 300_000)
        finally:
            daemon.stop()
