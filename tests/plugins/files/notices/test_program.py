import errno
import json
import os
import sys
import time
from pathlib import Path
from threading import Event

import pytest

from sockd_plugins.files.notices.notice import NotDelivered, Notice
from sockd_plugins.files.notices.program import Program

NOTICE = Notice("0123456789abcdef", "box/a b.txt", 5, "sha256=00ff", "192.0.2.1", "token:x", 1_700_000_000.5)
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def directory(tmp_path: Path) -> Path:
    return tmp_path


def deliver(folder: Path, code: str, *arguments: str, seconds: float = PATIENCE) -> None:
    program = Program((sys.executable, "-c", code, *arguments), seconds, folder, "drop")
    program.deliver(NOTICE, Event())


def test_the_command_gets_the_notice_and_the_path(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_DAEMON", "secret")
    told = directory / "told"
    program = (
        "import json, os, sys;"
        "told = [sys.argv[2], json.load(sys.stdin), dict(os.environ), os.getcwd()];"
        "json.dump(told, open(sys.argv[1], 'w'))"
    )
    deliver(directory, program, str(told), "{file}")
    argument, notice, environment, folder = json.loads(told.read_text())
    assert argument == str(directory / "box/a b.txt")
    assert notice == {
        "event": "received",
        "service": "drop",
        "id": "0123456789abcdef",
        "name": "box/a b.txt",
        "size": 5,
        "sha256": "00ff",
        "host": "192.0.2.1",
        "sender": "token:x",
        "time": "2023-11-14T22:13:20.500+00:00",
    }
    assert environment["SOCKD_FILE"] == argument
    assert environment["SOCKD_DIGEST"] == "sha256=00ff"
    assert "OF_THE_DAEMON" not in environment
    assert folder == str(directory)


def test_a_failure_is_told_with_what_the_command_complains(directory: Path) -> None:
    with pytest.raises(NotDelivered, match=r"ended with exit code 3: no tape in the drive$"):
        deliver(directory, "import sys; print('no tape\\nin the drive', file=sys.stderr); sys.exit(3)")


def test_complaints_without_end_do_not_fill_memory(directory: Path) -> None:
    with pytest.raises(NotDelivered, match=r"exit code 1: y+$") as caught:
        deliver(directory, "import sys; sys.stderr.write('x' * 10**7 + 'y' * 1000); sys.exit(1)")
    assert len(str(caught.value)) < 1000


def test_a_program_that_is_missing_is_named(directory: Path) -> None:
    program = Program(("/nowhere/scan",), PATIENCE, directory, "drop")
    with pytest.raises(NotDelivered, match=r"^/nowhere/scan cannot be started: no such file or directory$"):
        program.deliver(NOTICE, Event())


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_has_started(directory: Path) -> None:
    child = directory / "child"
    program = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(child)!r}, 'w').write(str(child.pid));"
        "time.sleep(600)"
    )
    with pytest.raises(NotDelivered, match="took more than 2 seconds"):
        deliver(directory, program, seconds=2.0)
    wait_for_end(int(child.read_text()))


def test_a_child_that_is_left_behind_is_ended(directory: Path) -> None:
    child = directory / "child"
    deliver(
        directory,
        "import subprocess, sys;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(child)!r}, 'w').write(str(child.pid))",
    )
    wait_for_end(int(child.read_text()))


def test_a_command_ends_when_the_service_stops(directory: Path) -> None:
    stopping = Event()
    stopping.set()
    program = Program((sys.executable, "-c", "import time; time.sleep(600)"), PATIENCE, directory, "drop")
    with pytest.raises(NotDelivered, match="the service stops"):
        program.deliver(NOTICE, stopping)


def test_a_program_of_another_user_cannot_be_ended_and_counts_all_the_same(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "killpg", forbidden)  # as with sudo(8)
    deliver(directory, "pass")


def test_an_argument_that_no_program_can_get_is_a_failure(directory: Path) -> None:
    with pytest.raises(NotDelivered, match="cannot be started: embedded null byte"):
        deliver(directory, "pass", "a\0b")


def wait_for_end(number: int) -> None:
    """Wait until a process is gone, or is a zombie of one that does not look."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        os.sched_yield()
    raise AssertionError(f"{number} still runs")
