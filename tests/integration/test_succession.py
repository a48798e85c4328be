"""Supervisor that is replaced by other code, in the same process: services go on, and a failure changes
nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import sockd
from crews import (
    CONFIG,
    alive,
    ask,
    asked,
    connected_to_each,
    descriptors,
    environment,
    spare,
    wait_until,
    workers,
)
from running import BIN, PATIENCE, Daemon, Start

VERSION = f'__version__ = "{sockd.__version__}"'
NEW = '__version__ = "99.9"'


def installed(folder: Path) -> Path:
    """Return a copy of sockd for one daemon, which can be changed as a newer version would change it."""
    source = Path(sockd.__file__).parent
    copy = folder / "code" / "sockd"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def with_code(folder: Path) -> dict[str, str]:
    path = environment(folder)["PYTHONPATH"]
    return {"PYTHONPATH": f"{folder / 'code'}:{path}", "PYTHONDONTWRITEBYTECODE": "1"}


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def control(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "sockd", *words, "-c", "sockd.toml"], cwd=folder, capture_output=True, text=True
    )


def status(folder: Path) -> Any:
    return json.loads(control(folder, "status", "--json").stdout)


def opened(folder: Path) -> int:
    [who] = [service for service in status(folder)["services"] if service["name"] == "who"]
    return sum(count for event, _, count in who["counts"] if event == "opened")


def metrics(daemon: Daemon) -> bytes:
    address = daemon.wait_for("serving", what="metrics")["address"]
    host, _, port = address.removeprefix("tcp:").rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return client.makefile("rb").read()


def test_an_upgrade_brings_new_code_to_the_supervisor_and_keeps_its_process_and_all_connections(
    start: Start, tmp_path: Path
) -> None:
    code = installed(tmp_path)
    daemon = start(CONFIG, env=with_code(tmp_path)).ready()
    old, before = workers(daemon), status(tmp_path)
    assert before["version"] == sockd.__version__
    clients = connected_to_each(daemon.port("who"), old)
    counted = opened(tmp_path)
    change(code / "__init__.py", VERSION, NEW)
    answer = control(tmp_path, "upgrade", "--json")
    assert (answer.returncode, json.loads(answer.stdout)) == (0, {"generation": 2})
    daemon.wait_for("supervisor replaced", version="99.9")
    after = status(tmp_path)
    assert (after["version"], after["pid"], after["started"]) == ("99.9", before["pid"], before["started"])
    assert after["pid"] == daemon.process.pid
    assert opened(tmp_path) >= counted, "no count goes back"
    assert b"sockd_" in metrics(daemon)
    assert {pid: ask(client) for pid, client in clients.items()} == {pid: pid for pid in old}
    assert asked(daemon.port("who")) not in old
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(PATIENCE)
        datagrams.connect(daemon.port("who", "udp"))
        datagrams.send(b"x")
        assert int(datagrams.recv(100).split()[1]) not in old
    for client in clients.values():
        client.close()
    wait_until(lambda: not any(alive(pid) for pid in old))
    assert control(tmp_path, "reload").stdout.startswith("keep 1\n"), "it serves what it has served"
    assert [event.get("event") for event in daemon.events].count("ready") == 1
    daemon.signal()
    assert daemon.wait() == 0
    assert not list((tmp_path / "run").iterdir())


BREAKAGE = {
    "does not parse": ("supervisor/supervisor.py", "class Supervisor:", "class Supervisor", "SyntaxError"),
    "ends the process": ("supervisor/handover.py", "FORM = 1", "os._exit(7)\nFORM = 1", "exit code 7"),
    "takes another form of state": ("supervisor/handover.py", "FORM = 1", "FORM = 2", "restart the daemon"),
    "does not take the configuration": (
        "config/model.py",
        "    drain_timeout: Duration",
        "    drain: Duration",
        "drain_timeout",
    ),
}


def test_new_code_that_is_broken_changes_nothing(start: Start, tmp_path: Path) -> None:
    code = installed(tmp_path)
    daemon = start(CONFIG, env=with_code(tmp_path)).ready()
    with socket.create_connection(daemon.port("who"), PATIENCE) as client:
        ask(client)
        assert status(tmp_path)["generation"] == 1
        wait_until(lambda: spare(daemon) is not None)
        old, before = workers(daemon), descriptors(daemon)
        for what, (file, good, bad, reason) in BREAKAGE.items():
            change(code / file, good, bad)
            answer = control(tmp_path, "upgrade")
            assert answer.returncode == 1, what
            assert reason in answer.stderr
            refused = [event["reason"] for event in daemon.events if event.get("event") == "not upgraded"]
            assert reason in refused[-1]
            assert sorted(workers(daemon)) == sorted(old), what
            assert ask(client) in old, what
            assert status(tmp_path)["generation"] == 1
            wait_until(lambda: descriptors(daemon) <= before)  # the spare may have met the broken code too
            change(code / file, bad, good)
        assert control(tmp_path, "upgrade").returncode == 0
        assert ask(client) in old


def test_an_upgrade_whose_new_workers_cannot_serve_leaves_the_old_ones(start: Start, tmp_path: Path) -> None:
    daemon = start(CONFIG, env=environment(tmp_path)).ready()
    old = workers(daemon)
    change(tmp_path / "tells.py", "    def stream_factory", "    start = Bad.start\n    def stream_factory")
    change(
        tmp_path / "tells.py", "@implementer(", "class Bad:\n    def start(*_):\n        1 / 0\n@implementer("
    )
    answer = control(tmp_path, "upgrade")
    assert answer.returncode == 1
    assert "ZeroDivisionError" in answer.stderr
    daemon.wait_for("supervisor replaced")
    assert sorted(workers(daemon)) == sorted(old)
    assert asked(daemon.port("who")) in old


MEANWHILE = """
import os as _os, signal as _signal
if "trial" not in __import__("sys").argv:
    _os.kill({victim}, {number})
"""


def test_a_worker_that_dies_while_the_supervisor_is_replaced_is_replaced_too(
    start: Start, tmp_path: Path
) -> None:
    code = installed(tmp_path)
    daemon = start(CONFIG, env=with_code(tmp_path)).ready()
    old = workers(daemon)
    text = MEANWHILE.format(victim=old[0], number=int(signal.SIGKILL))
    change(code / "supervisor/successor.py", "import os\n", f"import os\n{text}")
    assert control(tmp_path, "upgrade").returncode == 0
    assert daemon.wait_for("worker ended", worker_pid=old[0])["how"] == "SIGKILL"
    assert asked(daemon.port("who")) not in old
    wait_until(lambda: len(workers(daemon)) == 2)


@pytest.mark.parametrize(
    ("number", "event"),
    [(signal.SIGHUP, "reloaded"), (signal.SIGTERM, "stopped"), (signal.SIGUSR2, "not upgraded")],
)
def test_a_signal_that_comes_while_the_supervisor_is_replaced_is_obeyed_afterwards(
    start: Start, tmp_path: Path, number: int, event: str
) -> None:
    """A process without a handler would be ended by the signal."""
    code = installed(tmp_path)
    daemon = start(CONFIG, env=with_code(tmp_path)).ready()
    text = MEANWHILE.format(victim="_os.getpid()", number=int(number))
    change(code / "supervisor/successor.py", "import os\n", f"import os\n{text}")
    daemon.signal(signal.SIGUSR2)
    daemon.wait_for("supervisor replaced")
    daemon.wait_for(event)
    if number == signal.SIGTERM:
        assert daemon.wait() == 0


def test_no_worker_of_any_generation_outlives_a_supervisor_that_was_replaced(
    start: Start, tmp_path: Path
) -> None:
    daemon = start(CONFIG, env=environment(tmp_path)).ready()
    old = workers(daemon)
    clients = connected_to_each(daemon.port("who"), old)
    assert control(tmp_path, "upgrade").returncode == 0
    everybody = workers(daemon)
    assert set(old) < set(everybody)
    daemon.signal(signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in everybody))
    for client in clients.values():
        client.close()


def test_an_operator_who_waits_during_an_upgrade_is_told_to_ask_again(start: Start, tmp_path: Path) -> None:
    daemon = start(CONFIG, env=environment(tmp_path)).ready()
    with socket.create_connection(daemon.port("who"), PATIENCE) as client:
        ask(client)
        with closing(socket.socket(socket.AF_UNIX)) as operator:
            operator.settimeout(PATIENCE)
            operator.connect(str(tmp_path / "run/control.sock"))
            operator.sendall(b'{"command": "drain"}\n')
            wait_until(lambda: status(tmp_path)["services"][0]["state"] == "paused")
            assert control(tmp_path, "upgrade").returncode == 0
            answer = json.loads(operator.makefile("rb").readline())
    assert (answer["ok"], "ask again" in answer["error"]) == (False, True)


def test_an_operators_changes_outlast_the_supervisors_replacement(start: Start, tmp_path: Path) -> None:
    start(CONFIG, env=environment(tmp_path)).ready()
    assert control(tmp_path, "set", "who.max_connections", "7").returncode == 0
    assert control(tmp_path, "pause", "who").returncode == 0
    assert control(tmp_path, "upgrade").returncode == 0
    [who] = status(tmp_path)["services"]
    assert (who["state"], who["limits"]["max_connections"]) == ("paused", 7)


def test_many_upgrades_leave_no_descriptor_and_no_process(start: Start, tmp_path: Path) -> None:
    daemon = start(CONFIG, env=environment(tmp_path)).ready()
    counts = []
    for _ in range(3):
        assert control(tmp_path, "upgrade").returncode == 0
        wait_until(lambda: len(workers(daemon)) == 2 and spare(daemon) is not None)
        counts.append(descriptors(daemon))
    assert counts[0] == counts[1] == counts[2]


def test_a_daemon_in_the_background_keeps_its_pid_file_and_its_log(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(CONFIG)
    command = [str(BIN / "twistd"), "--pidfile=it.pid", "--logfile=it.log", "sockd", "-c", "sockd.toml"]
    subprocess.run(
        command, cwd=tmp_path, env=os.environ | environment(tmp_path), check=True, timeout=PATIENCE
    )
    log, pid_file = tmp_path / "it.log", tmp_path / "it.pid"
    wait_until(lambda: '"event": "ready"' in log.read_text())
    pid = int(pid_file.read_text())
    try:
        assert control(tmp_path, "upgrade").returncode == 0
        assert (int(pid_file.read_text()), status(tmp_path)["pid"]) == (pid, pid)
        assert '"event": "upgraded"' in log.read_text()
        log.rename(tmp_path / "old.log")
        os.kill(pid, signal.SIGUSR1)
        wait_until(log.exists)
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not alive(pid))
    assert not pid_file.exists()


def test_the_service_manager_sees_a_reload_and_goes_on_watching(start: Start, tmp_path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        told = environment(tmp_path) | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        daemon = start(CONFIG, env=told).ready()
        lines: list[str] = []

        def until(line: str) -> None:
            deadline = time.monotonic() + PATIENCE
            while line not in lines:
                assert time.monotonic() < deadline, lines
                lines.extend(manager.recv(4096).decode().splitlines())

        until("READY=1")
        lines.clear()
        daemon.signal(signal.SIGUSR2)
        until("RELOADING=1")
        assert "READY=1" not in lines
        until("READY=1")
        daemon.wait_for("upgraded")
        assert not [line for line in lines if line.startswith(("MAINPID", "STOPPING"))]
        lines.clear()
        until("WATCHDOG=1")
