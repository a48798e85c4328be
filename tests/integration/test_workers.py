"""Workers under one supervisor: service, replacement, and totals of all of them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from crews import (
    PLUGINS,
    Shared,
    alive,
    answered,
    ask,
    asked,
    children,
    connected_to_each,
    descriptors,
    descriptors_of,
    environment,
    name_of,
    order,
    reload,
    served_by,
    service_of,
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

OTHERS = """
[service.alone]
plugin = "tells:Alone"
listen = ["tcp:0:interface=127.0.0.1"]
[service.other]
plugin = "banner"
listen = ["unix:run/other.sock"]
options.text = "before"
"""

LOADED = """
with open("loaded", "a") as file:
    print(os.getpid(), file=file)
"""
"""Addition to the plugins: the processes that have loaded them."""


def config(workers: int = 2, drain: str = "2s", more: str = "") -> str:
    return CONFIG.format(workers=workers, drain=drain) + more


def crew_config(more: str = "") -> str:
    """Return the configuration of the crew that the tests share, or of one with more services."""
    return config(drain="1h", more=OTHERS + more)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Share two workers that tell which one serves, and finish what they have as long as it takes."""
    made = Shared(tmp_path_factory.mktemp("crew"), crew_config(), plugins=PLUGINS + LOADED)
    yield made
    assert made.stop() == 0


def closed(client: socket.socket) -> bool:
    client.settimeout(PATIENCE)
    with suppress(ConnectionError):
        return client.recv(100) == b""
    return True


def close(clients: dict[int, socket.socket]) -> None:
    for client in clients.values():
        client.close()


def test_every_worker_serves_and_ready_is_told_once(crew: Daemon) -> None:
    pids = workers(crew)
    assert len(pids) == 2
    close(connected_to_each(crew.port("who"), pids))
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.connect(crew.path("who"))
        assert ask(client) in pids
    assert [event.get("event") for event in crew.events].count("ready") == 1


def test_the_supervisor_loads_no_plugin(crew: Daemon) -> None:
    checks = spare(crew)
    reload(crew, crew_config())
    loaded = {int(line) for line in (crew.folder / "loaded").read_text().split()}
    assert loaded >= {*workers(crew), checks}, "and the one that checks the file for a reload"
    assert crew.process.pid not in loaded


def test_a_worker_that_is_killed_is_replaced_and_the_other_serves_on(crew: Daemon) -> None:
    pids = workers(crew)
    clients = connected_to_each(crew.port("who"), pids)
    os.kill(pids[0], signal.SIGKILL)
    assert closed(clients[pids[0]])
    event = crew.wait_for("worker ended", worker_pid=pids[0])
    assert event["how"] == "SIGKILL"
    crew.wait_for("worker started")
    assert ask(clients[pids[1]]) == pids[1]
    close(clients)
    close(connected_to_each(crew.port("who"), workers(crew)))


def test_the_spare_worker_takes_the_place_of_one_that_dies_and_another_one_is_prepared(crew: Daemon) -> None:
    ready = spare(crew)
    os.kill(workers(crew)[0], signal.SIGKILL)
    assert crew.wait_for("worker started")["worker_pid"] == ready
    wait_until(lambda: spare(crew) not in (None, ready))
    assert ready in workers(crew)


def test_a_spare_worker_that_is_told_to_end_does_so_and_is_replaced(crew: Daemon) -> None:
    before, told = len(crew.events), spare(crew)
    assert told is not None
    os.kill(told, signal.SIGTERM)
    wait_until(lambda: spare(crew) not in (None, told))
    assert "traceback" not in str(crew.events[before:])


def test_a_worker_that_could_not_be_replaced_is_told_before_one_is_missing(crew: Daemon) -> None:
    good = (crew.folder / "tells.py").read_text()
    (crew.folder / "tells.py").write_text("1 / 0")
    os.kill(workers(crew)[0], signal.SIGKILL)
    crew.wait_for("worker started")  # it has loaded the good version
    assert "ZeroDivisionError" in crew.wait_for("no spare worker")["reason"]
    (crew.folder / "tells.py").write_text(good)
    wait_until(lambda: spare(crew) is not None)
    asked(crew.port("who"))


@pytest.mark.parametrize("how", ["stopped", "busy", "busy in C"])
def test_a_worker_that_hangs_is_replaced(crew: Daemon, how: str) -> None:
    said, pids = len(crew.errors), workers(crew)
    clients = connected_to_each(crew.port("who"), pids)
    if how == "stopped":
        os.kill(pids[0], signal.SIGSTOP)
    else:
        clients[pids[0]].sendall(b"hang" if how == "busy" else b"sleep")
    crew.wait_for("worker hangs", worker_pid=pids[0])
    assert ask(clients[pids[1]]) == pids[1]
    crew.wait_for("worker started")
    assert pids[0] not in workers(crew)
    close(clients)
    if how != "stopped":
        wait_until(lambda: "tells.py" in crew.errors[said:])  # the stack of the plugin that hangs


def test_a_worker_that_is_told_to_end_finishes_what_it_has_while_another_takes_its_place(
    crew: Daemon,
) -> None:
    pids = workers(crew)
    clients = connected_to_each(crew.port("who"), pids)
    os.kill(pids[0], signal.SIGTERM)
    # An idle connection would be closed after some seconds.
    wait_until(lambda: ask(clients[pids[0]]) == pids[0] and crew.has_told("worker started"))
    assert ask(clients[pids[0]]) == pids[0]
    close(clients)
    assert crew.wait_for("worker left", worker_pid=pids[0])["how"] == "exit code 0"


def test_a_worker_that_cannot_start_again_is_tried_again_ever_later(start: Start, tmp_path: Path) -> None:
    text = config(workers=1).replace("Who", "Moody", 1)
    daemon = start(text, env=environment(tmp_path)).ready()
    wait_until(lambda: spare(daemon) is not None)
    (tmp_path / "no tape").touch()
    os.kill(workers(daemon)[0], signal.SIGKILL)
    assert "no tape in the drive" in daemon.wait_for("worker not started", again_in=0.5)["reason"]
    daemon.wait_for("worker not started", again_in=1.0)
    (tmp_path / "no tape").unlink()
    daemon.wait_for("worker started")
    asked(daemon.port("who"))


@pytest.mark.parametrize(
    ("plugin", "size", "reason"),
    [
        ("Bad", 2, "cannot start: OSError: no tape in the drive"),
        ("Worse", 2, "service 'who': plugin 'tells:Worse' cannot start: it ends the process (exit code 3)"),
        ("None", 1, "cannot be imported"),
    ],
)
def test_workers_that_cannot_start_are_one_complaint_and_exit_1(
    start: Start, tmp_path: Path, plugin: str, size: int, reason: str
) -> None:
    daemon = start(config(workers=size).replace("Who", plugin, 1), env=environment(tmp_path))
    assert daemon.wait() == 1
    assert daemon.errors.count(reason) == 1
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


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Start two workers whose services have limits."""
    more = """
    [service.who.limits]
    max_connections = 10
    [service.sources]
    plugin = "tells:Who"
    listen = ["tcp:0:interface=127.0.0.1"]
    limits.max_per_source = 7
    """
    made = Shared(tmp_path_factory.mktemp("limited"), config(more=more))
    yield made.ready()
    assert made.stop() == 0


def test_max_connections_is_the_sum_over_all_workers(limited: Daemon) -> None:
    for _ in range(3):
        clients = [socket.create_connection(limited.port("who"), PATIENCE) for _ in range(100)]
        for client in clients:
            client.sendall(b"who\n")
        served = [client for client in clients if not closed(client)]
        assert len(served) == 10
        if _ == 1:  # the share of a dead worker is given back
            victim = max(workers(limited), key=[ask(client) for client in served].count)
            os.kill(victim, signal.SIGKILL)
            limited.wait_for("worker started")
        for client in clients:
            client.close()
        wait_until(lambda: service_of(order(limited, "status"), "who")["connections"] == 0)


def test_max_per_source_is_the_sum_over_all_workers(limited: Daemon) -> None:
    address = limited.port("sources")
    clients = [socket.create_connection(address, PATIENCE) for _ in range(60)]
    for client in clients:
        client.sendall(b"who\n")
    assert len([client for client in clients if not closed(client)]) == 7
    with closing(socket.create_connection(address, PATIENCE, source_address=("127.0.0.2", 0))) as another:
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


def test_a_service_that_keeps_state_is_served_by_one_worker(crew: Daemon) -> None:
    assert len({asked(crew.port("alone")) for _ in range(40)}) == 1
    told = [event["name"] for event in crew.events if event.get("event") == "service runs in one worker"]
    assert told == ["alone"]


def test_an_operator_sees_and_reaches_the_connections_of_all(crew: Daemon) -> None:
    clients = connected_to_each(crew.port("who"), workers(crew))
    wait_until(lambda: len(order(crew, "ps")) == 2)
    rows = order(crew, "ps")
    assert {row["id"].partition("/")[0] for row in rows} == {"0", "1"}
    assert service_of(order(crew, "status"), "who")["connections"] == 2
    order(crew, "kick", id=rows[0]["id"])
    assert [ask_or_gone(client) for client in clients.values()].count(None) == 1
    assert not answered(crew, "kick", id="7/who:1")["ok"]
    close(clients)
    order(crew, "pause", service="who")
    with socket.create_connection(crew.port("who"), PATIENCE) as waiting:
        waiting.sendall(b"who\n")
        waiting.settimeout(0.3)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        order(crew, "resume", service="who")
        waiting.settimeout(PATIENCE)
        assert waiting.recv(100)


def ask_or_gone(client: socket.socket) -> int | None:
    try:
        return ask(client)
    except (OSError, AssertionError):
        return None


def test_an_operator_ends_the_daemon_with_its_workers(start: Start, tmp_path: Path) -> None:
    daemon = start(config(workers=1), env=environment(tmp_path)).ready()
    pids = workers(daemon)
    command = [str(BIN / "sockd"), "stop", "-c", "sockd.toml"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    assert daemon.wait() == 0
    assert not [pid for pid in pids if alive(pid)]


def test_stopping_lets_connections_finish_and_a_second_signal_does_not_wait(
    start: Start, tmp_path: Path
) -> None:
    daemon = start(config(workers=1, drain="1h"), env=environment(tmp_path)).ready()
    clients = connected_to_each(daemon.port("who"), workers(daemon))
    daemon.signal()
    daemon.wait_for("stopping")
    for client in clients.values():
        ask(client)
    wait_until(lambda: refused(daemon.port("who")))
    daemon.signal()
    assert daemon.wait() in (0, -signal.SIGALRM)  # the kernel ends a process that has no time for it
    close(clients)


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, PATIENCE).close()
    except ConnectionError:
        return True
    return False


def test_connections_that_outlast_the_drain_timeout_are_cut_and_nothing_is_left(
    start: Start, tmp_path: Path
) -> None:
    daemon = start(config(drain="500ms"), env=environment(tmp_path)).ready()
    pids = workers(daemon)
    clients = connected_to_each(daemon.port("who"), pids)
    daemon.signal()
    assert daemon.wait() == 0
    assert daemon.wait_for("stopped")["cut"] == 2
    close(clients)
    assert not [pid for pid in pids if alive(pid)]
    assert not Path(daemon.path("who")).exists()


# Reload.


def test_a_reload_changes_one_service_and_leaves_a_connection_of_another(crew: Daemon) -> None:
    pids = workers(crew)
    clients = connected_to_each(crew.port("who"), pids)
    before = descriptors(crew)
    new = '[service.new]\nplugin = "banner"\nlisten = ["unix:run/new.sock"]\noptions.text = "new"\n'
    event = reload(crew, crew_config(new).replace("before", "after"))
    assert (event["restart"], event["add"], event["keep"]) == (["other"], ["new"], ["who", "alone"])
    assert {pid: ask(client) for pid, client in clients.items()} == {pid: pid for pid in pids}
    assert {banner(crew.folder / "run/other.sock") for _ in range(10)} == {b"after"}
    assert {banner(crew.folder / "run/new.sock") for _ in range(10)} == {b"new"}
    assert reload(crew, crew_config())["remove"] == ["new"]
    assert not (crew.folder / "run/new.sock").exists()
    assert {banner(crew.folder / "run/other.sock") for _ in range(10)} == {b"before"}
    assert {pid: ask(client) for pid, client in clients.items()} == {pid: pid for pid in pids}
    close(clients)
    wait_until(lambda: descriptors(crew) <= before)


def test_a_service_that_comes_and_goes_leaves_no_descriptor_in_any_worker(crew: Daemon) -> None:
    more = '[service.more]\nplugin = "echo"\nlisten = ["unix:run/more.sock"]\n'
    refused = '[service.x]\nplugin = "tells:Bad"\nlisten = ["unix:x.sock"]\n'
    reload(crew, crew_config())
    before = held(crew)
    reload(crew, crew_config(more))
    reload(crew, crew_config(more + refused), "not reloaded")
    reload(crew, crew_config())
    wait_until(lambda: held(crew) == before)


def held(crew: Daemon) -> list[int]:
    """Return the numbers of descriptors of the supervisor and its workers."""
    return [descriptors_of(pid) for pid in (crew.process.pid, *workers(crew))]


def banner(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(os.fspath(path))
        with client.makefile("rb") as lines:
            return lines.readline().strip()


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


def test_a_reload_that_fails_changes_nothing(crew: Daemon) -> None:
    (crew.folder / "exits.py").write_text("import os\nos._exit(5)\n")
    (crew.folder / "hangs.py").write_text("import time\nwhile True:\n    time.sleep(1)\n")
    pids = workers(crew)
    clients = connected_to_each(crew.port("who"), pids)
    reload(crew, crew_config())  # the connections of others are over
    before = descriptors(crew)
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        for what, text in BROKEN.items():
            wait_until(lambda: spare(crew) is not None)  # it tries the file, or a process that starts for it
            reload(crew, crew_config(text.replace("{port}", port)), "not reloaded")
            assert not (crew.folder / "x.sock").exists(), what
            assert {pid: ask(client) for pid, client in clients.items()} == {pid: pid for pid in pids}, what
            wait_until(lambda: descriptors(crew) == before)
    close(clients)
    # Later workers serve the same as the others.
    os.kill(pids[0], signal.SIGKILL)
    crew.wait_for("worker started")
    assert reload(crew, crew_config())["keep"] == ["who", "alone", "other"]


def test_reloads_that_fail_leak_nothing(crew: Daemon) -> None:
    reload(crew, crew_config())  # the connections of others are over
    before = held(crew)
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        taken = BROKEN["a port that is taken"].replace("{port}", str(other.getsockname()[1]))
        added = "[service.y]\nplugin = 'echo'\nlisten = ['unix:y.sock', 'tcp:0:interface=127.0.0.1']\n"
        for _ in range(2):
            event = reload(crew, crew_config(added + taken), "not reloaded")
            assert "already in use" in event["reason"]
    wait_until(lambda: held(crew) == before)
    reload(crew, crew_config())


# Changes that outlast a worker, and an upgrade that fails.


def test_an_upgrade_to_code_that_does_not_work_leaves_the_old_workers(crew: Daemon) -> None:
    old, before = workers(crew), descriptors(crew)
    code = (crew.folder / "tells.py").read_text()
    (crew.folder / "tells.py").write_text("1 / 0")
    answer = answered(crew, "upgrade")
    assert not answer["ok"]
    assert "ZeroDivisionError" in answer["error"]
    crew.wait_for("not upgraded")
    (crew.folder / "tells.py").write_text(code)
    assert sorted(workers(crew)) == sorted(old)
    assert asked(crew.port("who")) in old
    wait_until(lambda: descriptors(crew) <= before)  # the spare worker may have met the broken code too


def test_a_worker_goes_before_the_supervisor_when_memory_is_short(crew: Daemon) -> None:
    scores = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in workers(crew)]
    assert min(scores) > int(Path(f"/proc/{crew.process.pid}/oom_score_adj").read_text())


def test_an_operators_changes_hold_for_later_workers(crew: Daemon) -> None:
    order(crew, "pause", service="who")
    order(crew, "set", service="other", key="max_per_source", value="5")
    order(crew, "log", level="debug")

    def everywhere() -> set[tuple[str, int | None]]:
        """Return the state of one service and a limit of the other, of all workers."""
        told = order(crew, "status")
        assert len(told["workers"]) == 2
        limits = {each["name"]: each["limits"]["max_per_source"] for each in told["services"]}
        each_of = [{each["name"]: each for each in worker["services"]} for worker in told["workers"]]
        found = {(each["who"]["state"], each["other"]["limits"]["max_per_source"]) for each in each_of}
        assert {limit for _, limit in found} == {limits["other"]}, "and so in the sum"
        assert limits["who"] is None
        return found

    os.kill(workers(crew)[0], signal.SIGKILL)
    crew.wait_for("worker started")
    assert everywhere() == {("paused", 5)}
    with closing(socket.create_connection(crew.port("who"), PATIENCE)) as client:
        client.sendall(b"who\n")
        order(crew, "reload", dry_run=False)
        assert everywhere() == {("paused", None)}
        order(crew, "resume", service=None)
        assert served_by(client) in workers(crew)
    assert everywhere() == {("open", None)}


# Privileges.


PROCESSES = 60
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Launcher of a program whose user may have a limited number of processes."""


@pytest.fixture(scope="module")
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
