from __future__ import annotations

import os
from pathlib import Path

import pytest

from sockd_plugins.files.receipt.program import ProgramFailed, run_program


def run(script: str, *, seconds: float = 30, data: bytes = b"", **variables: str) -> None:
    run_program(["/bin/sh", "-c", script, "sh", "a b", "$HOME;*"], variables, data, seconds)


def test_a_program_gets_its_arguments_its_variables_and_its_input(tmp_path: Path) -> None:
    run(
        f'printf "%s|%s|%s|" "$1" "$2" "$NAME" > {tmp_path}/out; cat >> {tmp_path}/out',
        data=b"{}",
        NAME="a\nb",
    )
    assert (tmp_path / "out").read_text() == "a b|$HOME;*|a\nb|{}"


def test_the_environment_of_the_daemon_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    run(f"env > {tmp_path}/out")
    names = {line.partition("=")[0] for line in (tmp_path / "out").read_text().splitlines()}
    assert names <= {"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "PWD", "SHLVL", "_", "OLDPWD"}


def test_a_program_that_fails_is_told_with_what_it_complains_about() -> None:
    with pytest.raises(ProgramFailed) as error:
        run("echo no >&2; exit 3")
    assert str(error.value) == "it exited with 3: no"
    with pytest.raises(ProgramFailed, match="it exited with -9"):
        run("kill -9 $$")
    with pytest.raises(ProgramFailed, match="it cannot be started"):
        run_program(["/no/such/program"], {}, b"", 1)


def test_complaints_without_end_are_cut() -> None:
    with pytest.raises(ProgramFailed) as error:
        run("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1")
    assert len(str(error.value)) < 2100


def test_a_program_that_takes_too_long_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match=r"it was killed after 0\.5 seconds"):
        run(f"sleep 1000 & echo $! > {tmp_path}/pid; wait", seconds=0.5)
    pid = int((tmp_path / "pid").read_text())
    status = Path(f"/proc/{pid}/stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"
    assert os.path.exists("/proc/self")


def test_a_program_that_does_not_read_its_input_may_end() -> None:
    run("exec 0<&-; true", data=b"x" * 60_000)
