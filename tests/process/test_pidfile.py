"""The pid file, with processes that hold it, have left it behind, or have nothing to do with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockd.process.pidfile import PidFile, PidFileError

HOLDS = """
import os, sys
from pathlib import Path
from sockd.process.pidfile import PidFile
pid_file = PidFile.take(Path(sys.argv[1]))
pid_file.write()
print(flush=True)
sys.stdin.read()
"""
"""A daemon in short."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "it.pid"


@pytest.fixture
def daemon(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the file."""
    command = [sys.executable, "-c", HOLDS, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process


def taken(path: Path) -> PidFile:
    pid_file = PidFile.take(path)
    pid_file.write()
    return pid_file


def test_the_file_names_its_process_and_is_gone_at_the_end(path: Path) -> None:
    pid_file = taken(path)
    assert path.read_text() == str(os.getpid())
    pid_file.remove()
    assert not path.exists()
    os.close(pid_file.descriptor)


def test_a_daemon_that_lives_is_named(path: Path, daemon: subprocess.Popen[bytes]) -> None:
    with pytest.raises(PidFileError, match=f"^this daemon already runs, pid {daemon.pid} "):
        PidFile.take(path)
    assert path.read_text() == str(daemon.pid)


def test_its_process_removes_it_at_its_exit(path: Path, daemon: subprocess.Popen[bytes]) -> None:
    daemon.communicate()
    assert not path.exists()


def test_a_daemon_that_was_killed_is_followed_by_the_next(
    path: Path, daemon: subprocess.Popen[bytes]
) -> None:
    daemon.kill()
    daemon.wait()
    assert path.read_text() == str(daemon.pid)
    pid_file = taken(path)
    assert path.read_text() == str(os.getpid())
    pid_file.remove()
    os.close(pid_file.descriptor)


@pytest.mark.parametrize("number", ["1", "own", "parent", "", "x y", "-1", "9" * 40])
def test_the_number_of_another_program_or_its_own_or_none_is_no_reason_to_refuse(
    path: Path, number: str
) -> None:
    path.write_text({"own": str(os.getpid()), "parent": str(os.getppid())}.get(number, number))
    pid_file = taken(path)
    assert path.read_text() == str(os.getpid())
    pid_file.remove()
    os.close(pid_file.descriptor)


def test_a_start_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    path.write_text("123456789")
    pid_file = PidFile.take(path)
    pid_file.remove()
    assert path.read_text() == "123456789"
    os.close(pid_file.descriptor)


def test_a_file_that_was_made_for_a_start_that_fails_is_gone(path: Path) -> None:
    pid_file = PidFile.take(path)
    pid_file.remove()
    assert not path.exists()
    os.close(pid_file.descriptor)


def test_the_file_of_somebody_else_that_has_taken_its_place_stays(path: Path) -> None:
    pid_file = taken(path)
    path.unlink()
    path.write_text("5")
    pid_file.remove()
    assert path.read_text() == "5"
    os.close(pid_file.descriptor)


def test_another_twistd_with_the_same_file_is_refused(path: Path) -> None:
    program = path.parent / "twistd"
    program.write_text("import sys\nprint(flush=True)\nsys.stdin.read()\n")
    command = [sys.executable, str(program), "--pidfile=it.pid", "web"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=path.parent) as other:
        assert other.stdout is not None
        other.stdout.readline()
        path.write_text(str(other.pid))
        with pytest.raises(PidFileError, match=f"another twistd runs with this pid file, pid {other.pid}"):
            PidFile.take(path)
        other.communicate()


def test_a_file_that_can_no_longer_be_reached_names_nobody(path: Path) -> None:
    pid_file = taken(path)
    elsewhere = path.rename(path.parent / "elsewhere")
    pid_file.remove()
    assert elsewhere.read_text() == ""
    os.close(pid_file.descriptor)


def test_what_is_no_file_of_its_own_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    os.mkfifo(tmp_path / "fifo")
    for name, reason in {
        "folder": "is a folder",
        "link": "is a symbolic link",
        "fifo": "is no regular file",
        "none/it.pid": "no such file or directory",
    }.items():
        with pytest.raises(PidFileError, match=f"cannot write the pid file .*{name}: {reason}"):
            PidFile.take(tmp_path / name)
    assert not (tmp_path / "elsewhere").exists()
