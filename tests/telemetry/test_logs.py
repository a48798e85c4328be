from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogPublisher
from twisted.python import log as legacy

from sockd.telemetry.logs import observer, open_file


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO, level: str = "info", log_format: str = "auto") -> LogPublisher:
    return LogPublisher(observer(stream, log_format, level))


def test_an_event_is_one_json_line_with_its_fields() -> None:
    stream = io.StringIO()
    Logger(namespace="sockd.echo", observer=written(stream)).info("listening", address="tcp:[::1]:7")
    record = json.loads(stream.getvalue())
    assert record.pop("time").startswith("20")
    assert record == {"level": "info", "service": "echo", "event": "listening", "address": "tcp:[::1]:7"}


def test_an_event_on_a_terminal_is_for_people() -> None:
    stream = Terminal()
    Logger(namespace="sockd.echo", observer=written(stream)).info("listening", address="tcp:7", why="a b")
    assert "listening" in stream.getvalue()
    assert "address=tcp:7" in stream.getvalue()
    assert 'why="a b"' in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(("level", "seen"), [("debug", 4), ("info", 3), ("warn", 2), ("error", 1)])
def test_only_events_of_the_level_and_above_are_written(level: str, seen: int) -> None:
    stream = io.StringIO()
    log = Logger(namespace="sockd", observer=written(stream, level))
    log.debug("a")
    log.info("b")
    log.warn("c")
    log.error("d")
    assert stream.getvalue().count("\n") == seen


def test_twisteds_own_chatter_is_not_info() -> None:
    stream = io.StringIO()
    publisher = written(stream)
    Logger(namespace="twisted.internet.tcp", observer=publisher).info("Factory starting on 7007")
    legacy.LogPublisher(publisher, publisher).msg("(TCP Port 7007 Closed)")
    assert stream.getvalue() == ""
    Logger(namespace="twisted.internet.tcp", observer=publisher).error("it broke")
    assert json.loads(stream.getvalue())["message"] == "it broke"


def test_a_failure_is_one_line_of_json_with_its_traceback_inside() -> None:
    stream = io.StringIO()
    log = Logger(namespace="sockd.bad", observer=written(stream))
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        log.failure("plugin fault", callback="dataReceived")
    assert stream.getvalue().count("\n") == 1
    record = json.loads(stream.getvalue())
    assert record["error"] == "ZeroDivisionError: division by zero"
    assert "test_logs.py" in record["traceback"]


def test_a_failure_on_a_terminal_is_followed_by_its_traceback() -> None:
    stream = Terminal()
    log = Logger(namespace="sockd.bad", observer=written(stream))
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        log.failure("plugin fault")
    assert "test_logs.py" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()


@given(log_format=st.sampled_from(["console", "json"]), text=st.text())
def test_whatever_a_peer_sends_an_event_is_one_line_without_control_characters(
    log_format: str, text: str
) -> None:
    """Faults 51 and 52."""
    stream = io.StringIO()
    publisher = written(stream, log_format=log_format)
    Logger(namespace="sockd.chat", observer=publisher).info("said", text=text, peer=text)
    Logger(namespace="plugin", observer=publisher).info("a plugin says {text}", text=text)
    assert stream.getvalue().count("\n") == 2
    assert stream.getvalue().endswith("\n")
    line = stream.getvalue().replace("\n", "")
    assert not [c for c in line if ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029\u202e\u2066"]


def test_a_log_file_is_not_for_everybody_whatever_the_umask(tmp_path: Path) -> None:
    """Fault 39."""
    with open_file(tmp_path / "log") as stream:
        stream.write("x")
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) & 0o007 == 0


def test_a_full_disk_does_not_stop_the_service() -> None:
    """Fault 53: the event is lost, the caller goes on."""
    stream = open("/dev/full", "w")  # noqa: SIM115  # closing it fails too
    log = Logger(namespace="sockd", observer=LogPublisher(observer(stream, "json", "info")))
    for _ in range(10_000):
        log.info("said")
    with pytest.raises(OSError, match="No space left"):
        stream.close()
