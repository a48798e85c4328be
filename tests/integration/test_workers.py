"""Workers under one supervisor: service, replacement, and totals of all of them."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from crews import (
    alive,
    ask,
    asked,
    children,
    connected_to_each,
    descriptors,
    environment,
    name_of,
    served_by,
    spare,
    wait_until,
    workers,
)
from everybody import ENVIRONMENT, PYTHON, TWISTD, needs_interpreter, needs_root
from running import BIN, PATIENCE, Daemon, Start

CONFIG = """
[daemon]
workers = {workers}
drain_timeout = "{drain}"
[control]
listen = "unix:run/control.sock"
[service.who]
plugin = "tells:Who"
listen = ["tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1", "unix:run/who.sock"]
"""


def config(workers: int = 2, drain: str = "2s", more: str = "") -> str:
    return CONFIG.format(workers=workers, drain=drain) + more


@pytest.fixture
def crew(start: Start, tmp_path: Path) -> Daemon:
    """Start a daemon with two workers that tell which one serves."""
    return start(config(), env=environment(tmp_path)).ready()


def control(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "sockd", *words, "-c", "sockd.toml"], cwd=tmp_path, capture_output=True, text=True
    )


def closed(client: socket.socket) -> bool:
    client.settimeout(PATIENCE)
    with suppress(ConnectionError):
        return client.recv(100) == b""
    return True


def test_every_worker_serves_and_ready_is_told_once(crew: Daemon) -> None:
    pids = workers(crew)
    assert len(pids) == 2
    for client in connected_to_each(crew.port("who"), pids).values():
        client.close()
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(crew.path("who"))
        assert ask(client) in pids
    assert [event["event"] for event in crew.events].count("ready") == 1
    crew.signal()
    assert crew.wait() == 0
    assert not [pid for pid in pids if alive(pid)]
    assert not Path(crew.path("who")).exists()


def test_the_supervisor_loads_no_plugin(start: Start, tmp_path: Path) -> None:
    env = environment(tmp_path)
    with (tmp_path / "tells.py").open("a") as plugin:
        plugin.write("print(os.getpid(), file=open('loaded', 'a'))\n")
    daemon = start(config(), env=env).ready()
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("reloaded")
    loaded = {int(line) for line in (tmp_path / "loaded").read_text().split()}
    assert loaded > set(workers(daemon)), "and the one that checks the file for a reload"
    assert daemon.process.pid not in loaded


def test_a_worker_that_is_killed_is_replaced_and_the_other_serves_on(crew: Daemon) -> None:
    pids = workers(crew)
    clients = connected_to_each(crew.port("who"), pids)
    os.kill(pids[0], signal.SIGKILL)
    assert closed(clients[pids[0]])
    event = crew.wait_for("worker ended", worker_pid=pids[0])
    assert event["how"] == "SIGKILL"
    crew.wait_for("worker started")
    assert ask(clients[pids[1]]) == pids[1]
    for client in clients.values():
        client.close()
    for client in connected_to_each(crew.port("who"), workers(crew)).values():
        client.close()


def test_the_spare_worker_takes_the_place_of_one_that_dies_and_another_one_is_prepared(crew: Daemon) -> None:
    wait_until(lambda: spare(crew) is not None)
    ready = spare(crew)
    os.kill(workers(crew)[0], signal.SIGKILL)
    assert crew.wait_for("worker started")["worker_pid"] == ready
    wait_until(lambda: spare(crew) not in (None, ready))
    assert ready in workers(crew)


def test_a_spare_worker_that_is_told_to_end_does_so_and_is_replaced(crew: Daemon) -> None:
    wait_until(lambda: spare(crew) is not None)
    told = spare(crew)
    assert told is not None
    os.kill(told, signal.SIGTERM)
    wait_until(lambda: spare(crew) not in (None, told))
    assert "traceback" not in str(crew.events)


def test_a_worker_that_could_not_be_replaced_is_told_before_one_is_missing(
    start: Start, tmp_path: Path
) -> None:
    daemon = start(config(), env=environment(tmp_path)).ready()
    wait_until(lambda: spare(daemon) is not None)
    good = (tmp_path / "tells.py").read_text()
    (tmp_path / "tells.py").write_text("1 / 0")
    os.kill(workers(daemon)[0], signal.SIGKILL)
    daemon.wait_for("worker started")  # it has loaded the good version
    assert "ZeroDivisionError" in daemon.wait_for("no spare worker")["reason"]
    (tmp_path / "tells.py").write_text(good)
    wait_until(lambda: spare(daemon) is not None)
    asked(daemon.port("who"))


@pytest.mark.parametrize("how", ["stopped", "busy", "busy in C"])
def test_a_worker_that_hangs_is_replaced(crew: Daemon, how: str) -> None:
    pids = workers(crew)
    clients = connected_to_each(crew.port("who"), pids)
    if how == "stopped":
        os.kill(pids[0], signal.SIGSTOP)
    else:
        clients[pids[0]].sendall(b"hang" if how == "busy" else b"sleep")
    crew.wait_for("worker hangs", worker_pid=pids[0])
    assert ask(clients[pids[1]]) == pids[1]
    crew.wait_for("worker started")
    assert pids[0] not in workers(crew)
    for client in clients.values():
        client.close()
    crew.signal()
    assert crew.wait() == 0
    if how != "stopped":
        assert "tells.py" in crew.errors, "the stack of the plugin that hangs"


def test_a_worker_that_is_told_to_end_finishes_what_it_has_while_another_takes_its_place(
    start: Start, tmp_path: Path
) -> None:
    crew = start(config(drain="1h"), env=environment(tmp_path)).ready()
    pids = workers(crew)
    clients = connected_to_each(crew.port("who"), pids)
    os.kill(pids[0], signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while not crew.has_told("worker started"):
        assert time.monotonic() < deadline
        assert ask(clients[pids[0]]) == pids[0]  # an idle connection would be closed after some seconds
    assert ask(clients[pids[0]]) == pids[0]
    for client in clients.values():
        client.close()
    assert crew.wait_for("worker left", worker_pid=pids[0])["how"] == "exit code 0"


def test_a_worker_that_cannot_start_again_is_tried_again_ever_later(start: Start, tmp_path: Path) -> None:
    daemon = start(config(workers=1), env=environment(tmp_path)).ready()
    good = (tmp_path / "tells.py").read_text()
    wait_until(lambda: spare(daemon) is not None)
    (tmp_path / "tells.py").write_text(
        good.replace("def datagram_protocol", "1 / 0\n    def datagram_protocol")
    )
    os.kill(workers(daemon)[0], signal.SIGKILL)
    taken = daemon.wait_for("worker started")["worker_pid"]
    daemon.wait_for("no spare worker")
    os.kill(taken, signal.SIGKILL)
    assert "ZeroDivisionError" in daemon.wait_for("worker not started", again_in=0.5)["reason"]
    daemon.wait_for("worker not started", again_in=1.0)
    (tmp_path / "tells.py").write_text(good)
    daemon.wait_for("worker started")
    asked(daemon.port("who"))


@pytest.mark.parametrize(
    ("plugin", "reason"),
    [
        ("Bad", "cannot start: OSError: no tape in the drive"),
        ("Worse", "service 'who': plugin 'tells:Worse' cannot start: it ends the process (exit code 3)"),
        ("None", "tells.None"),
    ],
)
def test_workers_that_cannot_start_are_one_complaint_and_exit_1(
    start: Start, tmp_path: Path, plugin: str, reason: str
) -> None:
    daemon = start(config().replace("Who", plugin, 1), env=environment(tmp_path))
    assert daemon.wait() == 1
    assert reason.replace("tells.None", "cannot be imported") in daemon.errors
    assert "Traceback" not in daemon.errors
    assert "ready" not in [event.get("event") for event in daemon.events]
    assert not (tmp_path / "run/who.sock").exists()


def test_a_port_that_is_taken_is_one_clear_line_and_exit_1(start: Start) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        daemon = start(config().replace("tcp:0", f"tcp:{port}").replace("tells:Who", "echo"))
        assert daemon.wait() == 1
    endpoint = f"tcp:{port}:interface=127.0.0.1"
    reason = f"the address is already in use by {name_of(os.getpid())}, pid {os.getpid()}"
    assert daemon.errors == f"sockd: service 'who': cannot listen on {endpoint}: {reason}\n"


def test_no_worker_outlives_a_supervisor_that_is_killed(crew: Daemon) -> None:
    pids = workers(crew)
    clients = connected_to_each(crew.port("who"), pids)
    crew.signal(signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in pids))
    for client in clients.values():
        client.close()


def test_max_connections_is_the_sum_over_all_workers(start: Start, tmp_path: Path) -> None:
    more = "[service.who.limits]\nmax_connections = 10\n"
    daemon = start(config(workers=3, more=more), env=environment(tmp_path)).ready()
    for _ in range(3):
        clients = [socket.create_connection(daemon.port("who"), PATIENCE) for _ in range(100)]
        for client in clients:
            client.sendall(b"who\n")
        served = [client for client in clients if not closed_or_answered(client)]
        assert len(served) == 10
        if _ == 1:  # the share of a dead worker is given back
            victim = max(workers(daemon), key=[ask(client) for client in served].count)
            os.kill(victim, signal.SIGKILL)
            daemon.wait_for("worker started")
        for client in clients:
            client.close()
        wait_until(lambda: status_of(tmp_path)["connections"] == 0)


def closed_or_answered(client: socket.socket) -> bool:
    """Tell whether the connection was refused."""
    client.settimeout(PATIENCE)
    try:
        return client.recv(100) == b""
    except ConnectionError:
        return True


def status_of(folder: Path, service: str = "who") -> Any:
    snapshot = json.loads(control(folder, "status", "--json").stdout)
    return next(each for each in snapshot["services"] if each["name"] == service)


def test_max_per_source_is_the_sum_over_all_workers(start: Start, tmp_path: Path) -> None:
    more = "[service.who.limits]\nmax_per_source = 7\n"
    daemon = start(config(workers=3, more=more), env=environment(tmp_path)).ready()
    clients = [socket.create_connection(daemon.port("who"), PATIENCE) for _ in range(60)]
    for client in clients:
        client.sendall(b"who\n")
    assert len([client for client in clients if not closed_or_answered(client)]) == 7
    with closing(
        socket.create_connection(daemon.port("who"), PATIENCE, source_address=("127.0.0.2", 0))
    ) as another:
        ask(another)
    for client in clients:
        client.close()


def test_each_datagram_is_answered_once_and_those_that_wait_while_the_worker_dies_too(crew: Daemon) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(PATIENCE)
        client.connect(crew.port("who", "udp"))
        client.send(b"first")
        owner = int(client.recv(100).split()[1])
        os.kill(owner, signal.SIGSTOP)
        for number in range(50):
            client.send(b"%d" % number)
        os.kill(owner, signal.SIGKILL)
        answers = [client.recv(100).split() for _ in range(50)]
        assert [int(number) for number, _ in answers] == list(range(50))
        assert {int(pid) for _, pid in answers}.isdisjoint({owner})
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(100)


def test_a_service_that_keeps_state_is_served_by_one_worker(start: Start, tmp_path: Path) -> None:
    daemon = start(config().replace("Who", "Alone"), env=environment(tmp_path)).ready()
    assert len({asked(daemon.port("who")) for _ in range(40)}) == 1
    daemon.wait_for("service runs in one worker", name="who")


def test_an_operator_sees_and_reaches_the_connections_of_all(crew: Daemon, tmp_path: Path) -> None:
    pids = workers(crew)
    clients = connected_to_each(crew.port("who"), pids)
    rows = json.loads(control(tmp_path, "ps", "--json").stdout)
    assert {row["id"].partition("/")[0] for row in rows} == {"0", "1"}
    assert status_of(tmp_path)["connections"] == len(rows) == 2
    assert control(tmp_path, "kick", rows[0]["id"]).returncode == 0
    assert [ask_or_gone(client) for client in clients.values()].count(None) == 1
    assert control(tmp_path, "kick", "7/who:1").returncode != 0
    for client in clients.values():
        client.close()
    control(tmp_path, "pause", "who")
    with socket.create_connection(crew.port("who"), PATIENCE) as waiting:
        waiting.sendall(b"who\n")
        waiting.settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        control(tmp_path, "resume", "who")
        waiting.settimeout(PATIENCE)
        assert waiting.recv(100)
    assert control(tmp_path, "stop").returncode == 0
    assert crew.wait() == 0


def ask_or_gone(client: socket.socket) -> int | None:
    try:
        return ask(client)
    except (OSError, AssertionError):
        return None


def test_counts_outlive_the_worker_that_counted(crew: Daemon, tmp_path: Path) -> None:
    for _ in range(10):
        asked(crew.port("who"))
    crew.signal(signal.SIGUSR2)
    crew.wait_for("upgraded")
    wait_until(lambda: len(workers(crew)) == 2)
    counts = {event: count for event, _, count in status_of(tmp_path)["counts"]}
    assert counts["opened"] == 10


def test_stopping_lets_connections_finish_and_a_second_signal_does_not_wait(
    start: Start, tmp_path: Path
) -> None:
    daemon = start(config(drain="1h"), env=environment(tmp_path)).ready()
    clients = connected_to_each(daemon.port("who"), workers(daemon))
    daemon.signal()
    daemon.wait_for("stopping")
    for client in clients.values():
        ask(client)
    wait_until(lambda: refused(daemon.port("who")))
    daemon.signal()
    assert daemon.wait() in (0, -signal.SIGALRM)  # the kernel ends a process that has no time for it
    for client in clients.values():
        client.close()


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, PATIENCE).close()
    except ConnectionError:
        return True
    return False


def test_connections_that_outlast_the_drain_timeout_are_cut(start: Start, tmp_path: Path) -> None:
    daemon = start(config(drain="500ms"), env=environment(tmp_path)).ready()
    clients = connected_to_each(daemon.port("who"), workers(daemon))
    daemon.signal()
    assert daemon.wait() == 0
    assert daemon.wait_for("stopped")["cut"] == 2
    for client in clients.values():
        client.close()


# Reload.


def test_a_reload_changes_one_service_and_leaves_a_connection_of_another(
    start: Start, tmp_path: Path
) -> None:
    other = '[service.other]\nplugin = "banner"\nlisten = ["unix:run/other.sock"]\noptions.text = "{}"\n'
    daemon = start(config(more=other.format("before")), env=environment(tmp_path)).ready()
    wait_until(lambda: spare(daemon) is not None)
    pids = workers(daemon)
    clients = connected_to_each(daemon.port("who"), pids)
    before = descriptors(daemon)
    text = config(more=other.format("after") + other.format("new").replace("other", "new"))
    (tmp_path / "sockd.toml").write_text(text)
    daemon.signal(signal.SIGHUP)
    event = daemon.wait_for("reloaded")
    assert (event["restart"], event["add"], event["keep"]) == (["other"], ["new"], ["who"])
    assert {pid: ask(client) for pid, client in clients.items()} == {pid: pid for pid in pids}
    assert {banner(tmp_path / "run/other.sock") for _ in range(10)} == {b"after"}
    assert {banner(tmp_path / "run/new.sock") for _ in range(10)} == {b"new"}
    (tmp_path / "sockd.toml").write_text(config())
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("reloaded", remove=["other", "new"])
    assert not (tmp_path / "run/new.sock").exists()
    assert {pid: ask(client) for pid, client in clients.items()} == {pid: pid for pid in pids}
    wait_until(lambda: descriptors(daemon) <= before)
    for client in clients.values():
        client.close()


def test_a_service_that_comes_and_goes_leaves_no_descriptor_in_any_worker(
    start: Start, tmp_path: Path
) -> None:
    daemon = start(config(), env=environment(tmp_path)).ready()
    more = '[service.other]\nplugin = "echo"\nlisten = ["unix:run/other.sock"]\n'
    refused = '[service.x]\nplugin = "tells:Bad"\nlisten = ["unix:x.sock"]\n'

    def change(text: str, event: str) -> None:
        told = count(daemon, event)
        (tmp_path / "sockd.toml").write_text(config(more=text))
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: count(daemon, event) > told)

    def held() -> list[int]:
        return [descriptors_of(pid) for pid in (daemon.process.pid, *workers(daemon))]

    change("", "reloaded")
    before = held()
    for _ in range(2):
        change(more, "reloaded")
        change(more + refused, "not reloaded")
        change("", "reloaded")
    wait_until(lambda: held() == before)


def banner(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(os.fspath(path))
        return client.makefile("rb").readline().strip()


BROKEN = {
    "no toml": "[service",
    "an unknown key": "[service.x]\nplugin = 'echo'\nlisten = ['unix:x.sock']\nlimit = 3\n",
    "an unknown plugin": "[service.x]\nplugin = 'ehco'\nlisten = ['unix:x.sock']\n",
    "an option that there is not": (
        "[service.x]\nplugin = 'echo'\nlisten = ['unix:x.sock']\noptions.colour = 1\n"
    ),
    "a plugin that ends the process": "[service.x]\nplugin = 'exits:X'\nlisten = ['unix:x.sock']\n",
    "a plugin that hangs": "[service.x]\nplugin = 'hangs:X'\nlisten = ['unix:x.sock']\n",
    "a plugin that cannot start": "[service.x]\nplugin = 'tells:Bad'\nlisten = ['unix:x.sock']\n",
    "a port that is taken": "[service.x]\nplugin = 'echo'\nlisten = ['tcp:{port}:interface=127.0.0.1']\n",
}


FATAL = ("a plugin that ends the process", "a plugin that hangs")
"""Configurations that cost the process that tries them; another one comes ever later."""


@pytest.mark.parametrize(
    "broken", [sorted(BROKEN.keys() - FATAL), FATAL[:1], FATAL[1:]], ids=["told", *FATAL]
)
def test_a_reload_that_fails_changes_nothing(start: Start, tmp_path: Path, broken: Sequence[str]) -> None:
    daemon = start(config(), env=environment(tmp_path)).ready()
    (tmp_path / "exits.py").write_text("import os\nos._exit(5)\n")
    (tmp_path / "hangs.py").write_text("while True:\n    pass\n")
    wait_until(lambda: spare(daemon) is not None)
    pids = workers(daemon)
    clients = connected_to_each(daemon.port("who"), pids)
    before = descriptors(daemon)
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        for refused, what in enumerate(broken, 1):
            text = BROKEN[what].replace("{port}", str(other.getsockname()[1]))
            (tmp_path / "sockd.toml").write_text(config(more=text))
            daemon.signal(signal.SIGHUP)
            wait_until(lambda n=refused: count(daemon, "not reloaded") == n)  # type: ignore[misc]
            assert not (tmp_path / "x.sock").exists(), what
            assert {pid: ask(client) for pid, client in clients.items()} == {pid: pid for pid in pids}, what
            wait_until(lambda: descriptors(daemon) == before)
    for client in clients.values():
        client.close()
    # Later workers serve the same as the others.
    os.kill(pids[0], signal.SIGKILL)
    daemon.wait_for("worker started")


def test_reloads_that_fail_leak_nothing(start: Start, tmp_path: Path) -> None:
    daemon = start(config(), env=environment(tmp_path)).ready()
    wait_until(lambda: spare(daemon) is not None)

    def held() -> list[int]:
        return [descriptors_of(pid) for pid in (daemon.process.pid, *workers(daemon))]

    before = held()
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        taken = BROKEN["a port that is taken"].replace("{port}", str(other.getsockname()[1]))
        added = "[service.y]\nplugin = 'echo'\nlisten = ['unix:y.sock', 'tcp:0:interface=127.0.0.1']\n"
        (tmp_path / "sockd.toml").write_text(config(more=added + "[service.x" + taken[10:]))
        for number in range(4):
            daemon.signal(signal.SIGHUP)
            wait_until(lambda n=number: count(daemon, "not reloaded") == n + 1)  # type: ignore[misc]
    wait_until(lambda: held() == before)


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def count(daemon: Daemon, event: str) -> int:
    return [each.get("event") for each in daemon.events].count(event)


# Upgrade.


def test_an_upgrade_serves_new_code_while_old_connections_finish(start: Start, tmp_path: Path) -> None:
    daemon = start(config(drain="1h"), env=environment(tmp_path)).ready()
    old = workers(daemon)
    clients = connected_to_each(daemon.port("who"), old)
    code = (tmp_path / "tells.py").read_text()
    (tmp_path / "tells.py").write_text(code.replace("os.getpid()", "-os.getpid()"))
    assert control(tmp_path, "upgrade").returncode == 0
    daemon.wait_for("upgraded", generation=2)
    assert all(-asked(daemon.port("who")) not in old for _ in range(10))
    assert {pid: ask(client) for pid, client in clients.items()} == {pid: pid for pid in old}
    for client in clients.values():
        client.close()
    wait_until(lambda: not any(alive(pid) for pid in old))
    assert Path(daemon.path("who")).exists()


def test_an_upgrade_to_code_that_does_not_work_leaves_the_old_workers(start: Start, tmp_path: Path) -> None:
    daemon = start(config(), env=environment(tmp_path)).ready()
    wait_until(lambda: spare(daemon) is not None)
    old, before = workers(daemon), descriptors(daemon)
    code = (tmp_path / "tells.py").read_text()
    (tmp_path / "tells.py").write_text("1 / 0")
    answer = control(tmp_path, "upgrade")
    assert answer.returncode != 0
    assert "ZeroDivisionError" in answer.stdout + answer.stderr
    daemon.wait_for("not upgraded")
    (tmp_path / "tells.py").write_text(code)
    assert sorted(workers(daemon)) == sorted(old)
    assert asked(daemon.port("who")) in old
    wait_until(lambda: descriptors(daemon) <= before)  # the spare worker may have met the broken code too


def test_one_change_at_a_time(crew: Daemon, tmp_path: Path) -> None:
    wait_until(lambda: spare(crew) is not None)
    with closing(socket.socket(socket.AF_UNIX)) as operator:
        operator.settimeout(PATIENCE)
        operator.connect(str(tmp_path / "run/control.sock"))
        crew.signal(signal.SIGUSR2)
        wait_until(lambda: len(children(crew)) > 3)  # the new code is tried
        operator.sendall(b'{"command": "reload"}\n')
        assert "upgrade is not finished yet" in operator.makefile().readline()
    crew.wait_for("upgraded")


def test_a_worker_goes_before_the_supervisor_when_memory_is_short(crew: Daemon) -> None:
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in workers(crew)]
    assert min(scores) > int(Path(f"/proc/{crew.process.pid}/oom_score_adj").read_text())


def test_an_operators_changes_hold_for_later_workers(start: Start, tmp_path: Path) -> None:
    other = '[service.other]\nplugin = "echo"\nlisten = ["unix:run/other.sock"]\n'
    daemon = start(config(more=other), env=environment(tmp_path)).ready()
    for words in (("pause", "who"), ("set", "other.max_per_source", "5"), ("log", "debug")):
        assert control(tmp_path, *words).returncode == 0

    def told() -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(control(tmp_path, "status", "--json").stdout)
        return answer

    def everywhere() -> set[tuple[str, int | None]]:
        """Return the state of one service and a limit of the other, of all workers."""
        services = [{each["name"]: each for each in worker["services"]} for worker in told()["workers"]]
        return {(each["who"]["state"], each["other"]["limits"]["max_per_source"]) for each in services}

    os.kill(workers(daemon)[0], signal.SIGKILL)
    daemon.wait_for("worker started")
    assert everywhere() == {("paused", 5)}
    assert control(tmp_path, "upgrade").returncode == 0
    wait_until(lambda: len(told()["workers"]) == 2)
    assert everywhere() == {("paused", 5)}
    limits = {each["name"]: each["limits"]["max_per_source"] for each in told()["services"]}
    assert limits == {"who": None, "other": 5}
    with closing(socket.create_connection(daemon.port("who"), PATIENCE)) as client:
        client.sendall(b"who\n")
        assert control(tmp_path, "reload").returncode == 0
        assert everywhere() == {("paused", None)}
        assert control(tmp_path, "resume").returncode == 0
        assert served_by(client) in workers(daemon)
    assert everywhere() == {("open", None)}


# Privileges.


PROCESSES = 60
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Launcher of a program whose user may have a limited number of processes."""


@pytest.fixture
def as_nobody() -> Iterator[Daemon]:
    """Start a daemon as root for another user, on a port that only root may open."""
    user = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        (folder / "run").mkdir()
        os.chown(folder / "run", user.pw_uid, user.pw_gid)
        (folder / "sockd.toml").write_text(config().replace("tells:Who", "echo").replace("tcp:0", "tcp:877"))
        limit = (PYTHON, "-c", LIMITED, str(PROCESSES))
        command = (*limit, *TWISTD, f"--uid={user.pw_uid}", f"--gid={user.pw_gid}", "-n", "sockd")
        daemon = Daemon(*command, "-c", "sockd.toml", cwd=folder, env=ENVIRONMENT)
        try:
            yield daemon.ready()
        finally:
            assert daemon.stop() == 0
    finally:
        shutil.rmtree(folder)


@needs_root
@needs_interpreter
def test_no_process_can_become_root_where_a_user_is_given_after_an_upgrade_neither(as_nobody: Daemon) -> None:
    user = pwd.getpwnam("nobody")
    for upgraded in (False, True):
        if upgraded:
            as_nobody.signal(signal.SIGUSR2)
            as_nobody.wait_for("upgraded")
        wait_until(lambda: spare(as_nobody) is not None)
        for pid in (as_nobody.process.pid, *children(as_nobody)):
            status = Path(f"/proc/{pid}/status").read_text()
            fields = dict(line.split(":\t", 1) for line in status.splitlines())
            assert set(fields["Uid"].split()) == {str(user.pw_uid)}
            assert "0" not in fields["Groups"].split()
            assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
        socket.create_connection(("127.0.0.1", 877), PATIENCE).close()


@needs_root
@needs_interpreter
def test_where_the_user_may_have_no_more_processes_the_supervisor_waits_until_he_may(
    as_nobody: Daemon,
) -> None:
    wait_until(lambda: spare(as_nobody) is not None)
    user = pwd.getpwnam("nobody").pw_uid
    others = [subprocess.Popen(["/bin/sleep", "100"], user=user) for _ in range(PROCESSES)]
    try:
        as_nobody.signal(signal.SIGUSR2)
        assert "temporarily unavailable" in as_nobody.wait_for("not upgraded")["reason"]
        os.kill(workers(as_nobody)[0], signal.SIGKILL)
        # The spare one cannot start its threads, and after it there is none.
        as_nobody.wait_for("worker not started", reason="resource temporarily unavailable")
        with socket.create_connection(("127.0.0.1", 877), PATIENCE) as client:
            client.sendall(b"still there\n")
            assert client.recv(100) == b"still there\n"
    finally:
        for other in others:
            other.kill()
            other.wait()
    wait_until(lambda: len(workers(as_nobody)) == 2)
    wait_until(lambda: spare(as_nobody) is not None)
