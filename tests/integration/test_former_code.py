"""A daemon whose code is older than the rooms of the tree goes over to the code of today by an upgrade.

The names of modules, the state that a supervisor hands over and the commands to workers all belong to what a
running daemon relies on. The former code comes from the repository's history; without it nothing is tested.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

import sockd
from crews import (
    CONFIG,
    alive,
    ask,
    asked,
    connected_to_each,
    environment,
    order,
    reload,
    service_of,
    spare,
    wait_until,
    workers,
)
from running import BIN, Daemon, Start

FORMER = "31661671f3505987fb6a5bf82e3574fef1314e96"
"""The last commit whose files lay flat in one folder."""

ROOT = Path(sockd.__file__).parent.parent
PACKAGES = ("sockd", "plugins")


def former_code(folder: Path) -> Path:
    """Put the former code into a folder of its own, from which one daemon takes it."""
    made = subprocess.run(["git", "archive", FORMER, *PACKAGES], cwd=ROOT, capture_output=True)
    if made.returncode:
        pytest.skip("the repository has no history here")
    with tarfile.open(fileobj=BytesIO(made.stdout)) as archive:
        archive.extractall(folder / "code", filter="data")
    return folder / "code"


def install_present(code: Path) -> None:
    """Put the code of today in the place of the former."""
    code.rename(code.parent / "former")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, code / package)


def control(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Give an order with the command of today."""
    return subprocess.run(
        [BIN / "sockd", *words, "-c", "sockd.toml"], cwd=folder, capture_output=True, text=True
    )


def started(start: Start, folder: Path) -> tuple[Daemon, Path]:
    code = former_code(folder)
    path = f"{code}:{code / 'plugins'}:{environment(folder)['PYTHONPATH']}"
    # It may write its bytecode, which goes with its code.
    daemon = start(CONFIG, env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}).ready()
    command = Path(f"/proc/{workers(daemon)[0]}/cmdline").read_bytes().split(b"\0")
    assert b"sockd.supervisor.worker" in command, "the former code runs"
    return daemon, code


def test_a_daemon_of_former_code_is_upgraded_with_its_process_and_its_connections(
    start: Start, tmp_path: Path
) -> None:
    daemon, code = started(start, tmp_path)
    wait_until(lambda: spare(daemon) is not None)
    victim, kept = workers(daemon)
    before = order(daemon, "status")
    assert control(tmp_path, "set", "who.max_connections", "70").returncode == 0
    install_present(code)
    # Until it is upgraded, the former supervisor starts workers of today's code: the first worker that ends
    # is replaced by the spare one of the former code, the next one by a spare one of today's.
    for _ in range(2):
        os.kill(victim, signal.SIGKILL)
        daemon.wait_for("worker ended", worker_pid=victim)
        wait_until(lambda: len(workers(daemon)) == 2 and spare(daemon) is not None)
        [victim] = set(workers(daemon)) - {kept}
    old = [kept, victim]
    clients = connected_to_each(daemon.port("who"), old)

    answer = control(tmp_path, "upgrade", "--json")
    assert (answer.returncode, answer.stderr, json.loads(answer.stdout)) == (0, "", {"generation": 2})
    daemon.wait_for("supervisor replaced")
    after = order(daemon, "status")
    assert (after["pid"], after["started"]) == (daemon.process.pid, before["started"])
    assert (after["generation"], after["state"], after["config_ok"]) == (2, "ready", True)
    assert {(each["generation"], each["state"]) for each in after["workers"]} == {
        (1, "leaving"),
        (2, "ready"),
    }
    assert service_of(after, "who")["limits"]["max_connections"] == 70, "what an operator has set stands"
    assert {pid: ask(client) for pid, client in clients.items()} == {pid: pid for pid in old}
    assert asked(daemon.port("who")) not in old
    for client in clients.values():
        client.close()
    wait_until(lambda: not any(alive(pid) for pid in old))
    order(daemon, "pause", service="who")
    order(daemon, "resume", service="who")
    assert reload(daemon, CONFIG)["keep"] == ["who"]
    daemon.signal()
    assert daemon.wait() == 0
    assert not list((tmp_path / "run").iterdir())
