"""Daemon that root has started and that goes on as another user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crews import wait_until
from everybody import ENVIRONMENT, TWISTD, needs_interpreter, needs_root
from running import PATIENCE

pytestmark = [needs_root, needs_interpreter]

CONFIG = """
[daemon]
workers = {workers}
[log]
file = "log/sockd.log"
[control]
listen = "unix:control/socket"
[service.echo]
plugin = "echo"
listen = ["unix:run/echo.sock", "unix:top.sock"]
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder of root that every user may enter."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_files_made_by_root_belong_to_the_user_and_are_gone_at_the_end(
    folder: Path, workers: int, number: int
) -> None:
    user = pwd.getpwnam("nobody")
    (folder / "log").mkdir()
    os.chown(folder / "log", user.pw_uid, user.pw_gid)
    (folder / "sockd.toml").write_text(CONFIG.format(workers=workers))
    command = (*TWISTD, "--uid=nobody", "--pidfile=it.pid", "sockd", "-c", "sockd.toml")
    subprocess.run(command, cwd=folder, env=os.environ | ENVIRONMENT, timeout=PATIENCE, check=True)
    pid = int((folder / "it.pid").read_text())
    try:
        names = "log/sockd.log control control/socket run run/echo.sock top.sock it.pid state"
        for name in names.split():
            assert (folder / name).lstat().st_uid == user.pw_uid, name
        log = folder / "log" / "sockd.log"
        log.rename(folder / "log" / "old")
        os.kill(pid, signal.SIGUSR1)
        wait_until(log.exists)
    finally:
        os.kill(pid, number)
    # In folders of root only a process that has stayed root can remove them.
    wait_until(lambda: not (folder / "it.pid").exists() and not (folder / "top.sock").exists())
    if number == signal.SIGTERM:
        assert not (folder / "run" / "echo.sock").exists()
        assert not (folder / "control" / "socket").exists()


@pytest.mark.parametrize("user", ["54321"])
def test_a_user_that_nobody_knows_is_one_clear_line(folder: Path, user: str) -> None:
    (folder / "sockd.toml").write_text(CONFIG.format(workers=0))
    command = (*TWISTD, f"--uid={user}", "sockd", "-c", "sockd.toml")
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        timeout=PATIENCE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"sockd: there is no user with the number {user} (--uid)\n"
