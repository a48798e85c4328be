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
from typing import Any

import pytest

import sockd
from crews import CONFIG, alive, ask, asked, connected_to_each, environment, spare, wait_until, workers
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
    shutil.rmtree(code)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))


def control(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Give an order with the command of today."""
    return subprocess.run(
        [BIN / "sockd", *words, "-c", "sockd.toml"], cwd=folder, capture_output=True, text=True
    )


def status(folder: Path) -> Any:
    return json.loads(control(folder, "status", "--json").stdout)


def started(start: Start, folder: Path) -> tuple[Daemon, Path]:
    code = former_code(folder)
    path = f"{code}:{code / 'plugins'}:{environment(folder)['PYTHONPATH']}"
    daemon = start(CONFIG, env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}).ready()
    command = Path(f"/proc/{workers(daemon)[0]}/cmdline").read_bytes().split(b"\0")
    assert b"sockd.supervisor.worker" in command, "the former code runs"
    return daemon, code


def test_a_daemon_of_former_code_is_upgraded_with_its_process_and_its_connections(
    start: Start, tmp_path: Path
) -> None:
    daemon, code = started(start, tmp_path)
    old, before = workers(daemon), status(tmp_path)
    clients = connected_to_each(daemon.port("who"), old)
    assert control(tmp_path, "set", "who.max_connections", "70").returncode == 0
    install_present(code)
    answer = control(tmp_path, "upgrade", "--json")
    assert (answer.returncode, answer.stderr, json.loads(answer.stdout)) == (0, "", {"generation": 2})
    daemon.wait_for("supervisor replaced")
    after = status(tmp_path)
    assert (after["pid"], after["started"]) == (daemon.process.pid, before["started"])
    assert (after["generation"], after["state"], after["config_ok"]) == (2, "ready", True)
    assert {(each["generation"], each["state"]) for each in after["workers"]} == {
        (1, "leaving"),
        (2, "ready"),
    }
    [who] = after["services"]
    assert who["limits"]["max_connections"] == 70, "what an operator has set stands"
    assert {pid: ask(client) for pid, client in clients.items()} == {pid: pid for pid in old}
    assert asked(daemon.port("who")) not in old
    for client in clients.values():
        client.close()
    wait_until(lambda: not any(alive(pid) for pid in old))
    assert control(tmp_path, "pause", "who").returncode == 0
    assert control(tmp_path, "resume", "who").returncode == 0
    assert control(tmp_path, "reload").stdout.startswith("keep 1\n")
    daemon.signal()
    assert daemon.wait() == 0
    assert not list((tmp_path / "run").iterdir())


def test_the_former_supervisor_starts_workers_of_todays_code_until_it_is_upgraded(
    start: Start, tmp_path: Path
) -> None:
    daemon, code = started(start, tmp_path)
    old = workers(daemon)
    wait_until(lambda: spare(daemon) is not None)
    install_present(code)
    for victim in old:  # the first place goes to the spare worker, the second to one that is started now
        os.kill(victim, signal.SIGKILL)
        daemon.wait_for("worker ended", worker_pid=victim)
        wait_until(lambda: len(workers(daemon)) == 2 and spare(daemon) is not None)
    between = workers(daemon)
    wait_until(lambda: asked(daemon.port("who")) in between)
    assert control(tmp_path, "upgrade").returncode == 0
    assert status(tmp_path)["generation"] == 2
    wait_until(lambda: not any(alive(pid) for pid in between))
    assert asked(daemon.port("who")) not in between
