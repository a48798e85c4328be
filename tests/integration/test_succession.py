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
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import sockd
from crews import (
    CONFIG,
    Shared,
    alive,
    answer_on,
    answered,
    ask,
    asked,
    begun,
    children,
    connected_to_each,
    descriptors,
    environment,
    order,
    reload,
    service_of,
    spare,
    wait_until,
    workers,
)
from running import BIN, PATIENCE, Daemon, Start

VERSION = f'__version__ = "{sockd.__version__}"'
NEW = '__version__ = "99.9"'

OTHERS = """
[service.other]
plugin = "echo"
listen = ["unix:run/other.sock"]
[service.drained]
plugin = "tells:Who"
listen = ["unix:run/drained.sock"]
"""


def installed(folder: Path) -> dict[str, str]:
    """Copy sockd for one daemon, to change it as a newer version would; return the environment for it.

    The copy has the bytecode too, where there is any: each file that is changed is newer than its own.
    """
    shutil.copytree(Path(sockd.__file__).parent, folder / "code" / "sockd")
    path = environment(folder)["PYTHONPATH"]
    return {"PYTHONPATH": f"{folder / 'code'}:{path}", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Share two workers, whose code can be changed; each upgrade leaves a daemon like the one before."""
    folder = tmp_path_factory.mktemp("crew")
    env = installed(folder) | {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "400000"}
    made = Shared(folder, CONFIG + OTHERS, env=env)
    yield made
    assert made.stop() == 0


@contextmanager
def changed(file: Path, old: str, new: str) -> Iterator[None]:
    """Change the code that is installed, for a while."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    try:
        yield
    finally:
        file.write_text(text)


def control(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "sockd", *words, "-c", "sockd.toml"], cwd=folder, capture_output=True, text=True
    )


def opened(status: dict[str, Any]) -> int:
    """Return how many connections of a service were accepted."""
    return sum(count for event, _, count in service_of(status, "who")["counts"] if event == "opened")


def metrics(daemon: Daemon) -> bytes:
    served = next(event for event in daemon.events if event.get("what") == "metrics")
    host, _, port = served["address"].removeprefix("tcp:").rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        with client.makefile("rb") as answer:
            return answer.read()


def upgrade(crew: Daemon) -> None:
    """Upgrade, and wait until the former workers are gone and another one is spare."""
    order(crew, "upgrade")
    wait_until(lambda: len(workers(crew)) == 2 and spare(crew) is not None)


def test_an_upgrade_brings_new_code_to_the_supervisor_and_keeps_its_process_and_all_connections(
    crew: Daemon,
) -> None:
    old, before = workers(crew), order(crew, "status")
    assert before["version"] == sockd.__version__
    clients = connected_to_each(crew.port("who"), old)
    counted = opened(order(crew, "status"))
    sockd_file, plugin = crew.folder / "code/sockd/__init__.py", crew.folder / "tells.py"
    with changed(sockd_file, VERSION, NEW), changed(plugin, "VERSION = 1", "VERSION = 2"):
        answer = control(crew.folder, "upgrade", "--json")
        told = (answer.returncode, json.loads(answer.stdout))
        assert told == (0, {"generation": before["generation"] + 1})
    crew.wait_for("supervisor replaced", version="99.9")
    after = order(crew, "status")
    assert (after["version"], after["pid"], after["started"]) == ("99.9", before["pid"], before["started"])
    assert after["pid"] == crew.process.pid
    assert opened(after) >= counted, "no count goes back"
    assert b"sockd_" in metrics(crew)
    assert {pid: ask(client) for pid, client in clients.items()} == {pid: pid for pid in old}
    assert {ask(client, b"version") for client in clients.values()} == {1}
    with socket.create_connection(crew.port("who"), PATIENCE) as client:
        assert ask(client) not in old
        assert ask(client, b"version") == 2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(PATIENCE)
        datagrams.connect(crew.port("who", "udp"))
        datagrams.send(b"x")
        assert int(datagrams.recv(100).split()[1]) not in old
    for client in clients.values():
        client.close()
    wait_until(lambda: not any(alive(pid) for pid in old))
    assert Path(crew.path("who")).exists()
    kept = reload(crew, CONFIG + OTHERS)["keep"]
    assert kept == ["who", "other", "drained"], "it serves what it has served"
    assert [event.get("event") for event in crew.events].count("ready") == 1


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


def test_new_code_that_is_broken_changes_nothing(crew: Daemon) -> None:
    old, before = workers(crew), descriptors(crew)
    generation = order(crew, "status")["generation"]
    with socket.create_connection(crew.port("who"), PATIENCE) as client:
        ask(client)
        for what, (file, good, bad, reason) in BREAKAGE.items():
            refused = len(crew.all_of("not upgraded"))
            with changed(crew.folder / "code/sockd" / file, good, bad):
                answer = answered(crew, "upgrade")
            assert not answer["ok"], what
            assert reason in answer["error"]
            assert reason in crew.wait_for_times("not upgraded", refused + 1)["reason"]
            assert sorted(workers(crew)) == sorted(old), what
            assert ask(client) in old, what
            assert order(crew, "status")["generation"] == generation
            wait_until(lambda: descriptors(crew) <= before)  # the spare may have met the broken code too
    assert reload(crew, CONFIG + OTHERS)["keep"], "another change is possible"


def test_an_upgrade_whose_new_workers_cannot_serve_leaves_the_old_ones(crew: Daemon) -> None:
    old, plugin = workers(crew), crew.folder / "tells.py"
    bad = "\nclass Who(Who):\n    def start(self, context):\n        1 / 0\n"
    with changed(plugin, "class Alone(Who):", f"{bad}\nclass Alone(Who):"):
        answer = control(crew.folder, "upgrade")
        assert answer.returncode == 1
        assert "ZeroDivisionError" in answer.stderr
    crew.wait_for("supervisor replaced")
    assert sorted(workers(crew)) == sorted(old)
    assert asked(crew.port("who")) in old


MEANWHILE = """
import os as _os, signal as _signal
if "trial" not in __import__("sys").argv:
    for _number in {numbers}:
        _os.kill({victim}, _number)
"""


def meanwhile(victim: str, *numbers: int) -> str:
    """Return code that a successor of the supervisor runs first."""
    return "import os\n" + MEANWHILE.format(victim=victim, numbers=list(map(int, numbers)))


def test_a_worker_that_dies_while_the_supervisor_is_replaced_is_replaced_too(crew: Daemon) -> None:
    old = workers(crew)
    text = meanwhile(str(old[0]), signal.SIGKILL)
    with changed(crew.folder / "code/sockd/supervisor/successor.py", "import os\n", text):
        order(crew, "upgrade")
    assert crew.wait_for("worker ended", worker_pid=old[0])["how"] == "SIGKILL"
    assert asked(crew.port("who")) not in old
    wait_until(lambda: len(workers(crew)) == 2)


def test_signals_that_come_while_the_supervisor_is_replaced_are_obeyed_afterwards(crew: Daemon) -> None:
    """A process without a handler would be ended by each of them."""
    text = meanwhile("_os.getpid()", signal.SIGHUP, signal.SIGUSR2)
    with changed(crew.folder / "code/sockd/supervisor/successor.py", "import os\n", text):
        crew.signal(signal.SIGUSR2)
        crew.wait_for("supervisor replaced")
        crew.wait_for("not upgraded")
        crew.wait_for("upgraded")
        crew.wait_for("reloaded")


def test_a_signal_to_end_that_comes_while_the_supervisor_is_replaced_is_obeyed_afterwards(
    start: Start, tmp_path: Path
) -> None:
    daemon = start(CONFIG.replace("workers = 2", "workers = 1"), env=installed(tmp_path)).ready()
    text = meanwhile("_os.getpid()", signal.SIGTERM)
    with changed(tmp_path / "code/sockd/supervisor/successor.py", "import os\n", text):
        daemon.signal(signal.SIGUSR2)
        daemon.wait_for("supervisor replaced")
        daemon.wait_for("stopped")
    assert daemon.wait() == 0
    assert not list((tmp_path / "run").iterdir())


def test_no_worker_of_any_generation_outlives_a_supervisor_that_is_killed(
    start: Start, tmp_path: Path
) -> None:
    daemon = start(CONFIG.replace("workers = 2", "workers = 1"), env=environment(tmp_path)).ready()
    old = workers(daemon)
    clients = connected_to_each(daemon.port("who"), old)
    order(daemon, "upgrade")
    everybody = workers(daemon)
    assert set(old) < set(everybody)
    daemon.signal(signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in everybody))
    for client in clients.values():
        client.close()


@dataclass
class Ordered:
    """Upgrade, and orders before it and meanwhile.

    Attributes:
        before: status before it.
        answer: to the order to upgrade.
        reload: answer to an order to reload meanwhile.
        drain: answer to an order that waits for a connection to end.
        after: status when the former workers are gone.
    """

    before: dict[str, Any]
    answer: dict[str, Any]
    reload: dict[str, Any]
    drain: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="module")
def ordered(shared: Shared) -> Ordered:
    """Upgrade once, for the tests that look at what becomes of orders."""
    crew = shared.ready()
    order(crew, "set", service="who", key="max_connections", value="7")
    order(crew, "set", service="who", key="max_per_source", value="5")
    order(crew, "pause", service="other")
    for _ in range(10):
        asked(crew.port("who"))
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(crew.path("drained"))
        ask(client)
        before = order(crew, "status")
        with begun(crew, "drain", service="drained") as drain:
            wait_until(lambda: service_of(order(crew, "status"), "drained")["state"] == "paused")
            with begun(crew, "upgrade") as upgrade:
                wait_until(lambda: len(children(crew)) > 3)  # the new code is tried
                refused = answered(crew, "reload")
                answer = answer_on(upgrade)
            interrupted = answer_on(drain)
    wait_until(lambda: len(workers(crew)) == 2 and spare(crew) is not None)
    after = order(crew, "status")
    order(crew, "resume")
    reload(crew, CONFIG + OTHERS)
    return Ordered(before, answer, refused, interrupted, after)


def test_an_operator_who_upgrades_is_answered_by_the_new_code(ordered: Ordered) -> None:
    generation = ordered.before["generation"] + 1
    assert ordered.answer == {"ok": True, "result": {"generation": generation}}
    assert ordered.after["generation"] == generation


def test_one_change_at_a_time(ordered: Ordered) -> None:
    assert not ordered.reload["ok"]
    assert "upgrade is not finished yet" in str(ordered.reload)


def test_an_operator_who_waits_during_an_upgrade_is_told_to_ask_again(ordered: Ordered) -> None:
    assert not ordered.drain["ok"]
    assert "ask again" in ordered.drain["error"]


def test_an_operators_changes_outlast_the_supervisors_replacement(ordered: Ordered) -> None:
    after = ordered.after
    assert service_of(after, "other")["state"] == "paused"
    limits = service_of(after, "who")["limits"]
    assert (limits["max_connections"], limits["max_per_source"]) == (7, 5)
    each_of = [(service_of(each, "other"), service_of(each, "who")) for each in after["workers"]]
    found = [(other["state"], who["limits"]["max_per_source"]) for other, who in each_of]
    assert found == [("paused", 5), ("paused", 5)]


def test_counts_outlive_the_worker_that_counted(ordered: Ordered) -> None:
    assert opened(ordered.after) == opened(ordered.before) >= 10


def test_upgrades_leave_no_descriptor_and_no_process(crew: Daemon) -> None:
    upgrade(crew)
    before = descriptors(crew), len(children(crew))
    upgrade(crew)
    wait_until(lambda: descriptors(crew) <= before[0] and len(children(crew)) == before[1])


def test_a_daemon_in_the_background_keeps_its_pid_file_and_its_log(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(CONFIG.replace("workers = 2", "workers = 1"))
    command = [str(BIN / "twistd"), "--pidfile=it.pid", "--logfile=it.log", "sockd", "-c", "sockd.toml"]
    subprocess.run(
        command, cwd=tmp_path, env=os.environ | environment(tmp_path), check=True, timeout=PATIENCE
    )
    log, pid_file = tmp_path / "it.log", tmp_path / "it.pid"
    wait_until(lambda: '"event": "ready"' in log.read_text())
    pid = int(pid_file.read_text())
    try:
        assert control(tmp_path, "upgrade").returncode == 0
        status = json.loads(control(tmp_path, "status", "--json").stdout)
        assert (int(pid_file.read_text()), status["pid"]) == (pid, pid)
        assert '"event": "upgraded"' in log.read_text()
        log.rename(tmp_path / "old.log")
        os.kill(pid, signal.SIGUSR1)
        wait_until(log.exists)
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not alive(pid))
    assert not pid_file.exists()


def test_the_service_manager_sees_a_reload_and_goes_on_watching(crew: Daemon) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(crew.folder / "notify"))
        manager.settimeout(PATIENCE)
        lines: list[str] = []

        def until(line: str) -> None:
            deadline = time.monotonic() + PATIENCE
            while line not in lines:
                assert time.monotonic() < deadline, lines
                lines.extend(manager.recv(4096).decode().splitlines())

        until("WATCHDOG=1")
        lines.clear()
        crew.signal(signal.SIGUSR2)
        until("RELOADING=1")
        assert "READY=1" not in lines
        until("READY=1")
        crew.wait_for("upgraded")
        assert not [line for line in lines if line.startswith(("MAINPID", "STOPPING"))]
        lines.clear()
        until("WATCHDOG=1")
    (crew.folder / "notify").unlink()
