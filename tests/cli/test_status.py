"""`sockd status`, `ps` and `top` against a control socket with made-up services behind it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from sockd.cli import main
from sockd.cli.tables import columns, size, span
from sockd.cli.top import rates
from tests.control.serving import service

Run = Callable[..., Result]


def row(text: str, first: str) -> list[str]:
    """Return the words of the line that begins with this one."""
    [line] = [words for words in map(str.split, text.splitlines()) if words[:1] == [first]]
    return line


def test_status_has_a_line_for_each_service(run_first: Run) -> None:
    result = run_first("status")
    assert result.exit_code == 0
    assert result.stdout.startswith("sockd 1 ready, pid ")
    assert "UVReactor, delay 0.001s, descriptors 9/1024\n" in result.stdout
    assert row(result.stdout, "echo") == [
        "echo",
        "echo",
        "open",
        "2/100",
        "4",
        "12",
        "0",
        "0",
        "2.0K",
        "4.8M",
    ]
    assert row(result.stdout, "chat") == [
        "chat",
        "echo",
        "open",
        "2/100",
        "0",
        "12",
        "0",
        "1",
        "977K",
        "4.8M",
    ]


def test_status_tells_more_when_asked(run: Run) -> None:
    text = run("status", "-v").stdout
    assert text.count("tcp:127.0.0.1:7007") == 2
    assert "3/1024" in text
    assert "expired " in text
    assert "echo: connection refused: full: 4\n" in text
    assert "chat: plugin fault: dataReceived: 1\n" in text


def test_status_as_json_is_the_snapshot(run: Run) -> None:
    snapshot = json.loads(run("status", "--json").stdout)
    assert (snapshot["state"], [each["name"] for each in snapshot["services"]]) == ("ready", ["echo", "chat"])


def test_ps_lists_the_oldest_connection_first_and_shows_no_control_characters(run: Run) -> None:
    head, first, second = run("ps").stdout.splitlines()
    assert head.split() == ["ID", "PEER", "LISTENER", "AGE", "IDLE", "IN", "OUT", "STATE"]
    assert first.split()[:2] == ["echo:2", r"/tmp/\x1b[31m\u202epeer"]
    assert second.split() == [
        "echo:1",
        "127.0.0.1:40112",
        "tcp:127.0.0.1:7007",
        "1m",
        "5s",
        "2s",
        "10",
        "2.0K",
        "open",
    ]


def test_ps_can_be_sorted_otherwise_and_be_json(run: Run) -> None:
    rows = json.loads(run("ps", "--sort", "sent", "--json").stdout)
    assert [each["id"] for each in rows] == ["echo:1", "echo:2"]


def test_ps_of_a_service_without_connections_is_empty_and_of_none_a_mistake(run: Run) -> None:
    assert json.loads(run("ps", "--service", "chat", "--json").stdout) == []
    assert len(json.loads(run("ps", "--service", "echo", "--json").stdout)) == 2
    result = run("ps", "--service", "chta")
    assert result.exit_code == 1
    assert result.stderr == "sockd: expected a service, found 'chta'; did you mean 'chat'?\n"


def test_top_counts_once_where_there_is_no_terminal(run: Run) -> None:
    result = run("top", "--every", "0.1")
    assert result.exit_code == 0
    names = [words[0] for words in map(str.split, result.stdout.splitlines()) if words]
    assert names[-2:] == ["chat", "echo"]
    [chat, echo] = json.loads(run("top", "--every", "0.1", "--json").stdout)
    assert chat["received"] > chat["opened"] > 0 == chat["faults"] == echo["received"]
    assert (chat["connections"], chat["max_connections"]) == (2, 100)


def snapshot(**changes: Any) -> Any:
    return {"services": [service("echo", counts=[["opened", "", 10]], received=100, sent=0) | changes]}


def test_rates_are_differences_by_time() -> None:
    [row] = rates(snapshot(), snapshot(received=300, counts=[["opened", "", 15]]), 2.0)
    assert (row.received, row.opened, row.sent) == (100.0, 2.5, 0.0)


def test_a_count_that_began_anew_or_a_new_service_is_counted_from_zero() -> None:
    [row] = rates(snapshot(), snapshot(received=20, counts=[["opened", "", 2]]), 1.0)
    assert (row.received, row.opened) == (20.0, 2.0)
    [row] = rates(cast("Any", {"services": []}), snapshot(), 1.0)
    assert (row.received, row.opened) == (100.0, 10.0)


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [(0, "0"), (999, "999"), (1000, "1.0K"), (102_300, "99.9K"), (102_400, "100K"), (2**20 - 1, "1.0M")],
)
def test_sizes_are_short(bytes_: int, text: str) -> None:
    assert size(bytes_) == text


def test_the_largest_size_is_still_one() -> None:
    assert size(5 * 2**50) == "5.0P"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0s"), (59, "59s"), (65, "1m 5s"), (3600, "1h 0m"), (200_000, "2d 7h")]
)
def test_times_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_columns_without_rows_are_their_heads() -> None:
    assert columns(("A", "B"), []) == "A  B"


@pytest.mark.parametrize("command", ["status", "ps", "top", "stop", "reload"])
def test_a_daemon_that_cannot_be_reached_is_one_line_and_exit_code_3(tmp_path: Path, command: str) -> None:
    result = CliRunner().invoke(main, [command, "--socket", str(tmp_path / "none")])
    assert result.exit_code == 3
    assert result.stderr == f"sockd: nobody listens at {tmp_path}/none: is the daemon running?\n"


def test_a_file_that_is_not_there_asks_for_another_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["status", "-c", str(tmp_path / "none.toml"), "--json"])
    assert result.exit_code == 3
    assert "name the file with -c, or the socket with --socket" in json.loads(result.stdout)["error"]


def test_a_faulty_control_table_is_told_as_check_tells_it(tmp_path: Path) -> None:
    path = tmp_path / "sockd.toml"
    path.write_text('[control]\nlisten = "tcp:1"')
    result = CliRunner().invoke(main, ["status", "-c", str(path)])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"{path}:2:11: control.listen: expected a UNIX socket such as ")
    assert '  2 | listen = "tcp:1"\n' in result.stderr


@pytest.mark.parametrize("end", [b"q", b"\x03"])
def test_top_on_a_terminal_shows_what_happens_until_a_key_ends_it(served: Path, end: bytes) -> None:
    ours, theirs = pty.openpty()
    sockd, path = Path(sys.executable).parent / "sockd", served / "sockd.toml"
    command: list[str | Path] = [sockd, "top", "-c", path, "--every", "0.1"]
    top = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"NEW/s" not in shown:
        shown += os.read(ours, 1000)
    os.write(ours, end)
    try:
        while data := os.read(ours, 1000):
            shown += data
    except OSError:  # Linux reports a terminal that is gone so
        pass
    os.close(ours)
    assert top.wait() == 0
    assert b"chat" in shown
    assert b"Traceback" not in shown
