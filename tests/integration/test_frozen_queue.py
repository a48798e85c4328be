"""Connections in the queue while new workers replace the old: none is lost.

The result does not depend on timing: the workers are stopped, so that all clients stay in the queue.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crews import Shared, wait_until, workers
from handovers import WAITING, answered, clients_of
from running import Daemon

CONFIG = """
[daemon]
workers = 2
drain_timeout = "5s"
[service.who]
plugin = "tells:Who"
listen = ["tcp:0:interface=127.0.0.1:backlog=1024"]
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Share a daemon with two workers."""
    made = Shared(tmp_path_factory.mktemp("crew"), CONFIG)
    yield made
    assert made.stop() == 0


def stop_all(pids: list[int]) -> None:
    """Stop workers, so that they accept nobody."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(stopped(pid) for pid in pids))


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("when", ["after the upgrade", "during it"])
def test_waiting_clients_are_answered_when_workers_are_upgraded(crew: Daemon, when: str) -> None:
    old = workers(crew)
    stop_all(old)
    clients = clients_of(crew.port("who"))
    crew.signal(signal.SIGUSR2)
    if when == "after the upgrade":
        crew.wait_for("upgraded")
    for pid in old:
        os.kill(pid, signal.SIGCONT)
    assert answered(clients) == WAITING
    crew.wait_for("upgraded")


def test_waiting_clients_are_answered_when_every_worker_is_killed(crew: Daemon) -> None:
    old = workers(crew)
    stop_all(old)
    clients = clients_of(crew.port("who"))
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    assert answered(clients) == WAITING


@pytest.mark.parametrize("way", ["rebind", "reuseport", "listen_tcp"])
def test_other_ways_to_hand_a_port_over_lose_some_of_them(way: str) -> None:
    """Control: these ways lose connections, so the tests above can fail."""
    assert answered_by(way) < WAITING


def test_a_socket_that_both_generations_have_loses_none_of_them() -> None:
    assert answered_by("shared") == WAITING


def answered_by(way: str) -> int:
    command = [sys.executable, str(Path(__file__).parent / "handovers.py"), way]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
