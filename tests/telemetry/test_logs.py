from __future__ import annotations

import io
import json
import os
import shlex
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogPublisher
from twisted.python import log as legacy

from sockd.telemetry.logs import observer, open_file
from sockd.telemetry.sink import Sink


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


def test_an_event_on_a_terminal_is_one_readable_line() -> None:
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


def test_informal_messages_of_twisted_count_as_debug() -> None:
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
def test_an_event_with_text_of_a_peer_is_one_line_without_control_characters(
    log_format: str, text: str
) -> None:
    stream = io.StringIO()
    publisher = written(stream, log_format=log_format)
    Logger(namespace="sockd.chat", observer=publisher).info("said", text=text, peer=text)
    Logger(namespace="plugin", observer=publisher).info("a plugin says {text}", text=text)
    assert stream.getvalue().count("\n") == 2
    assert stream.getvalue().endswith("\n")
    line = stream.getvalue().replace("\n", "")
    assert not [c for c in line if ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029\u202e\u2066"]


@pytest.mark.parametrize(
    "reason", ["x\u00a0bytes=0", "x\u3000bytes=0", "x bytes=0", "x\u2003bytes=0", "=0", 'x"', "bytes=0", ""]
)
def test_a_value_on_the_console_cannot_pass_for_another_field(reason: str) -> None:
    stream = io.StringIO()
    Logger(namespace="sockd.chat", observer=written(stream, log_format="console")).info("gone", reason=reason)
    fields = shlex.split(stream.getvalue())[4:]
    assert len(fields) == 1
    assert fields[0].startswith("reason=")


def test_the_level_can_be_changed_while_it_runs() -> None:
    stream = io.StringIO()
    chosen = observer(stream, "json", "info")
    log = Logger(namespace="sockd", observer=LogPublisher(chosen))
    log.debug("a")
    chosen.set_level("debug")
    log.debug("b")
    chosen.set_level("error")
    log.warn("c")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["b"]


def test_a_log_file_has_its_mode_under_any_umask(tmp_path: Path) -> None:
    open_file(tmp_path / "log").close()
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640


def test_events_are_in_the_file_when_the_log_is_closed(tmp_path: Path) -> None:
    chosen = observer(open_file(tmp_path / "log"), "auto", "info")
    Logger(namespace="sockd", observer=LogPublisher(chosen)).info("ready", services=3)
    chosen.close()
    assert json.loads((tmp_path / "log").read_text())["services"] == 3


def test_events_of_the_daemon_itself_are_written_before_it_goes_on(tmp_path: Path) -> None:
    chosen = observer(open_file(tmp_path / "log"), "json", "info")
    log = Logger(namespace="sockd", observer=LogPublisher(chosen))
    for count in range(1, 10):
        log.info("stopping")
        assert (tmp_path / "log").read_text().count("stopping") == count
    chosen.close()


def test_a_renamed_log_file_is_opened_again(tmp_path: Path) -> None:
    chosen = observer(open_file(tmp_path / "log"), "json", "info")
    (tmp_path / "log").rename(tmp_path / "old")
    chosen.reopen()
    Logger(namespace="sockd", observer=LogPublisher(chosen)).info("ready")
    chosen.close()
    assert json.loads((tmp_path / "log").read_text())["event"] == "ready"


def test_a_full_disk_stops_no_service_and_the_loss_is_an_event(tmp_path: Path) -> None:
    paths = [Path("/dev/full"), tmp_path / "log"]
    sink = Sink(lambda: os.open(paths.pop(0), os.O_WRONLY | os.O_CREAT), max_lines=10)
    chosen = observer(sink, "json", "info")
    log = Logger(namespace="sockd", observer=LogPublisher(chosen))
    for _ in range(10_000):
        log.info("said")
    assert chosen.dropped > 0
    chosen.reopen()
    chosen.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    lost = [line for line in lines if line["event"] == "log lines dropped"]
    assert {line["level"] for line in lost} == {"warn"}
    assert sum(line["count"] for line in lost) == chosen.dropped
    assert len(lines) - len(lost) == 10_000 - chosen.dropped


def test_a_stream_with_a_descriptor_is_written_without_a_wait() -> None:
    """Standard output is such a stream."""
    reader, writer = os.pipe()
    with open(writer, "w") as stream, open(reader) as read:
        chosen = observer(stream, "json", "info")
        log = Logger(namespace="sockd.service", observer=LogPublisher(chosen))
        for _ in range(5_000):  # more than a pipe holds
            log.info("said")
        log.info("last")
        assert any(json.loads(line)["event"] == "last" for line in read)
        chosen.close()
