from __future__ import annotations

import ast
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from pwd import getpwnam

import pytest

TRAPS = Path(__file__).with_name("traps.py")
TWISTD = Path(sys.executable).with_name("twistd")

HELPERS = {"descriptors", "pair", "turns"}

NAMES = [
    node.name
    for node in ast.parse(TRAPS.read_text()).body
    if isinstance(node, ast.FunctionDef) and not node.args.args and node.name not in HELPERS
]

PATIENCE = 30
"""Seconds until a test fails. Nothing waits this long unless something is broken."""

CONFIG = """
[log]
file = "sockd.log"
format = "json"
[service.echo]
plugin = "echo"
listen = ["tcp:{port}:interface={host}", "unix:echo.sock"]
"""

HOST = "127.0.0.1"
NOBODY = "nobody"


@pytest.mark.parametrize("name", NAMES)
def test_the_reactor_keeps_out_of_the_trap(name: str) -> None:
    pytest.importorskip("uvloop")
    root = TRAPS.parents[2]
    run = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", str(TRAPS), name],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert not run.stderr


class Detached:
    """Daemon that twistd has sent into the background, on the fast reactor."""

    def __init__(self, folder: Path, *options: str, python: Path = Path(sys.executable)) -> None:
        self.folder = folder
        self.pid_file = folder / "sockd.pid"
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            self._port = probe.getsockname()[1]
        (folder / "sockd.toml").write_text(CONFIG.format(host=HOST, port=self._port))
        command: tuple[str | Path, ...] = (
            python,
            TWISTD,
            "--reactor=uv",
            "--pidfile",
            self.pid_file,
            *options,
            "sockd",
            "-c",
            "sockd.toml",
        )
        # The launcher reads its errors until it is ready, so this returns then.
        started = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert started.returncode == 0, started.stderr
        self.pid = int(self.pid_file.read_text())
        self._process = os.pidfd_open(self.pid)

    def echoes(self) -> bool:
        """Tell whether both of its ports answer."""
        answers = []
        for kind, where in (
            (socket.AF_INET, (HOST, self._port)),
            (socket.AF_UNIX, str(self.folder / "echo.sock")),
        ):
            with socket.socket(kind) as client:
                client.settimeout(PATIENCE)
                client.connect(where)
                client.sendall(b"hello")
                answers.append(client.recv(5))
        return answers == [b"hello", b"hello"]

    def ended_by(self, number: int) -> bool:
        """Send a signal, and wait for the end."""
        signal.pidfd_send_signal(self._process, number)
        watch = select.poll()
        watch.register(self._process, select.POLLIN)
        return bool(watch.poll(PATIENCE * 1000))

    def close(self) -> None:
        with suppress(ProcessLookupError):  # it has ended
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        os.close(self._process)


@pytest.fixture
def detached() -> Iterator[list[Detached]]:
    """Start daemons that are ended after the test."""
    pytest.importorskip("uvloop")
    daemons: list[Detached] = []
    yield daemons
    for daemon in daemons:
        daemon.close()


def test_a_detached_daemon_serves_and_ends_in_order(tmp_path: Path, detached: list[Detached]) -> None:
    detached.append(daemon := Detached(tmp_path))
    assert daemon.echoes()
    assert daemon.ended_by(signal.SIGTERM)
    assert '"stopped"' in (daemon.folder / "sockd.log").read_text()
    assert not daemon.pid_file.exists()


def others_may_enter(path: Path) -> bool:
    return all(above.stat().st_mode & 0o001 for above in path.resolve().parents)


@pytest.fixture
def python_of_all() -> Iterator[Path]:
    """Return an interpreter like this one that every user may start; this one may be below /root."""
    python = Path(sys.executable).resolve()
    if others_may_enter(python):
        yield python
        return
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        home, copy = Path(sys.base_prefix), Path(name)
        left_out = shutil.ignore_patterns("site-packages", "test", "config-*", "__pycache__", "*.a")
        shutil.copytree(home / "lib", copy / "lib", ignore=left_out, symlinks=True)
        (copy / "bin").mkdir()
        shutil.copy(python, copy / "bin")
        yield copy / "bin" / python.name


@pytest.fixture
def folder_of_nobody() -> Iterator[Path]:
    """Return a folder in which another user may write; pytest's own are private."""
    if os.getuid() != 0:
        pytest.skip("only root may change the user")
    user = getpwnam(NOBODY)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not (others_may_enter(TRAPS) and others_may_enter(folder)):
            pytest.skip(f"{TRAPS} lies in a folder that only root may enter")
        os.chown(folder, user.pw_uid, user.pw_gid)
        yield folder


def test_a_daemon_serves_as_the_user_that_twistd_has_changed_to(
    folder_of_nobody: Path, python_of_all: Path, detached: list[Detached]
) -> None:
    user = getpwnam(NOBODY)
    who = f"--uid={user.pw_uid}", f"--gid={user.pw_gid}"
    detached.append(daemon := Detached(folder_of_nobody, *who, python=python_of_all))
    status = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    owners = {line.split()[0]: {int(one) for one in line.split()[1:]} for line in status if "id:\t" in line}
    assert owners["Uid:"] == {user.pw_uid}
    assert owners["Gid:"] == {user.pw_gid}
    assert daemon.echoes()
    assert daemon.ended_by(signal.SIGTERM)
    assert '"stopped"' in (daemon.folder / "sockd.log").read_text()
    assert not daemon.pid_file.exists()
