"""Paths of UNIX sockets that are removed or replaced, and a start folder that is gone."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from crews import name_of, workers
from running import BIN, PATIENCE, Daemon, Start

CONFIG = """
[daemon]
workers = {workers}
drain_timeout = "1s"
[control]
listen = "unix:ctl/control.sock"
[metrics]
listen = "unix:met/metrics.sock"
[service.echo]
plugin = "echo"
listen = ["unix:run/echo.sock", "unixgram:run/echo.dgram", "tcp:0:interface=127.0.0.1"]
"""


@pytest.fixture(params=[0, 1], ids=["single", "workers"])
def daemon(request: pytest.FixtureRequest, start: Start) -> Daemon:
    return start(CONFIG.format(workers=request.param)).ready()


@pytest.fixture
def single(start: Start) -> Daemon:
    """Start one process. A supervisor treats its own sockets with the same code."""
    return start(CONFIG.format(workers=0)).ready()


def echoed(path: Path) -> bytes:
    """Return the answer to a stream's client."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"word")
        return client.recv(10)


def echoed_datagram(path: Path, own: Path) -> bytes:
    """Return the answer to a datagram."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.bind(str(own))
        client.sendto(b"word", str(path))
        return client.recv(10)


def status(folder: Path) -> str:
    command: list[str | Path] = [BIN / "sockd", "status", "-c", folder / "sockd.toml"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def complaint(folder: Path) -> str:
    """Return the line of `sockd status` about an unreachable socket."""
    command: list[str | Path] = [BIN / "sockd", "status", "-c", folder / "sockd.toml"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 3
    assert told.stdout == ""
    return told.stderr


def healthy(path: Path) -> bytes:
    """Return the first line of a metrics socket's answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        return client.makefile("rb").readline()


def reload(daemon: Daemon, event: str) -> dict[str, object]:
    daemon.events.clear()
    daemon.signal(signal.SIGHUP)
    return daemon.wait_for(event)


def test_a_reload_makes_paths_anew_that_were_removed(daemon: Daemon, tmp_path: Path) -> None:
    kept = socket.create_connection(daemon.port("echo"), PATIENCE)
    shutil.rmtree(tmp_path / "run")
    told = status(tmp_path)
    assert "echo: unix:" in told
    assert told.count("has lost its path") == 2
    assert reload(daemon, "reloaded")["listeners"] == ["echo"]
    assert echoed(tmp_path / "run/echo.sock") == b"word"
    assert echoed_datagram(tmp_path / "run/echo.dgram", tmp_path / "own") == b"word"
    assert "has lost its path" not in status(tmp_path)
    kept.sendall(b"still")
    assert kept.recv(10) == b"still"
    kept.close()
    assert reload(daemon, "reloaded")["keep"] == ["echo"]
    assert daemon.stop() == 0
    assert not (tmp_path / "run/echo.sock").exists()


PICKY = """
from pathlib import Path
from sockd_plugins.echo import Echo

class Picky(Echo):
    \"\"\"Starts in any process but one.\"\"\"
    process: str
    def start(self, context):
        if Path("/proc/self/comm").read_text().strip() == self.process:
            raise OSError("not here")
"""


def test_paths_that_were_made_anew_stay_when_a_later_worker_refuses(start: Start, tmp_path: Path) -> None:
    (tmp_path / "picky.py").write_text(PICKY)
    before = CONFIG.format(workers=2)
    daemon = start(before, env={"PYTHONPATH": str(tmp_path)}).ready()
    last = max(map(name_of, workers(daemon)))
    picky = (
        f'[service.new]\nplugin = "picky:Picky"\nlisten = "unix:run/new.sock"\noptions.process = "{last}"\n'
    )
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "sockd.toml").write_text(before + picky)
    assert f"worker {last.split()[-1]}: " in str(reload(daemon, "not reloaded")["reason"])
    assert not (tmp_path / "run/new.sock").exists()
    assert echoed(tmp_path / "run/echo.sock") == b"word"
    assert echoed_datagram(tmp_path / "run/echo.dgram", tmp_path / "own") == b"word"
    command: list[str | Path] = [BIN / "sockd", "status", "--json", "-c", tmp_path / "sockd.toml"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert len(told["workers"]) == 2
    for worker in told["workers"]:
        [service] = worker["services"]
        assert not any(each["lost"] for each in service["listeners"])
    (tmp_path / "sockd.toml").write_text(before)
    assert reload(daemon, "reloaded")["keep"] == ["echo"]


def test_a_path_that_is_somebody_elses_now_is_told_and_left_to_him(daemon: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "run/echo.sock"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert "the address is already in use" in str(reload(daemon, "not reloaded")["reason"])
        assert status(tmp_path).count("has lost its path") == 1
        assert daemon.stop() == 0
        assert path.exists()


def test_a_reload_makes_the_daemons_own_sockets_anew(daemon: Daemon, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "ctl")
    shutil.rmtree(tmp_path / "met")
    assert f"`kill -HUP {daemon.process.pid}` makes it anew" in complaint(tmp_path)
    assert reload(daemon, "reloaded")["keep"] == ["echo"]
    told = status(tmp_path)
    assert " ready, pid " in told
    assert "has lost its path" not in told
    assert healthy(tmp_path / "met/metrics.sock") == b"HTTP/1.1 200 OK\r\n"
    assert (tmp_path / "ctl").stat().st_mode & 0o777 == 0o700
    (tmp_path / "met/metrics.sock").unlink()
    told = status(tmp_path)
    assert "metrics: unix:" in told
    assert told.count("has lost its path") == 1
    command: list[str | Path] = [BIN / "sockd", "reload", "-c", tmp_path / "sockd.toml"]
    subprocess.run(command, capture_output=True, text=True, check=True)
    assert healthy(tmp_path / "met/metrics.sock") == b"HTTP/1.1 200 OK\r\n"
    assert daemon.stop() == 0
    assert not (tmp_path / "ctl/control.sock").exists()
    assert not (tmp_path / "met/metrics.sock").exists()


def test_a_path_of_the_daemons_own_that_is_somebody_elses_now_hinders_no_reload(
    single: Daemon, tmp_path: Path
) -> None:
    path = tmp_path / "ctl/control.sock"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert reload(single, "reloaded")["keep"] == ["echo"]
        told = next(each for each in single.events if each["event"] == "unreachable")
        assert told["what"] == "control"
        assert "the address is already in use" in str(told["reason"])
    path.unlink()
    (tmp_path / "ctl").chmod(0o777)
    reload(single, "reloaded")
    told = next(each for each in single.events if each["event"] == "unreachable")
    assert "others can write to its folder" in str(told["reason"])
    (tmp_path / "ctl").chmod(0o700)
    reload(single, "reloaded")
    assert " ready, pid " in status(tmp_path)


def test_a_faulty_configuration_does_not_keep_the_control_socket_away(single: Daemon, tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(CONFIG.format(workers=0) + "[service.echo.limits]\nx = 1\n")
    (tmp_path / "ctl/control.sock").unlink()
    reload(single, "not reloaded")
    assert "the configuration read last is not served" in status(tmp_path)


def test_a_reload_needs_no_start_folder(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(CONFIG.format(workers=0))
    folder = tmp_path / "gone"
    folder.mkdir()
    daemon = Daemon(BIN / "twistd", "-n", "sockd", "-c", "../sockd.toml", cwd=folder)
    try:
        daemon.ready()
        folder.rmdir()
        reload(daemon, "reloaded")
        (tmp_path / "sockd.toml").write_text(CONFIG.format(workers=0) + "[service.echo.limits]\nx = 1\n")
        assert "unknown key 'x'" in str(reload(daemon, "not reloaded")["reason"])
    finally:
        assert daemon.stop() == 0


def test_a_reload_of_workers_needs_no_start_folder(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(CONFIG.format(workers=1))
    folder = tmp_path / "gone"
    folder.mkdir()
    daemon = Daemon(BIN / "twistd", "-n", "sockd", "-c", "../sockd.toml", cwd=folder)
    try:
        daemon.ready()
        folder.rmdir()
        reload(daemon, "reloaded")
    finally:
        assert daemon.stop() == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_start_that_fails_at_the_control_socket_leaves_no_path(
    start: Start, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "ctl").mkdir()
    (tmp_path / "ctl").chmod(0o777)
    failed = start(CONFIG.format(workers=workers))
    assert failed.wait() == 1
    assert "cannot listen on unix:" in failed.errors
    assert list((tmp_path / "run").iterdir()) == []
