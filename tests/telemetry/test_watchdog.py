from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0
"""Seconds until a test gives up."""

LIMIT = 0.25
"""Seconds after which the programs' watchdogs report a block."""

PROGRAM = """
import json, os, re, sys, threading, time
from sockd.telemetry.watchdog import Watchdog

if sys.argv[1] == "uv":
    from sockd import uvreactor
    uvreactor.install()
else:
    from twisted.internet import epollreactor
    epollreactor.install()
from twisted.internet import reactor


def tell(**fields):
    os.write(1, json.dumps({"at": time.monotonic(), **fields}).encode() + b"\\n")


over = 0


def report(block):
    global over
    over += block.over
    tell(kind="over" if block.over else "block", seconds=block.seconds, place=block.place, stack=block.stack)
    if "report" in sys.argv:
        raise ValueError


def sleep(seconds):
    tell(kind="begin")
    time.sleep(seconds)  # line of sleep
    tell(kind="woke")


def backtrack(size):
    tell(kind="begin")
    re.match(r"(a|a)*b", "a" * size)  # line of backtrack


def hold_elsewhere(size):
    thread = threading.Thread(target=backtrack, args=(size,))
    thread.start()


def finish_when(true):
    if true():
        finish()
    else:
        reactor.callLater(0.01, finish_when, true)


def work(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:  # line of work
        pass


def turns(count, seconds):
    work(seconds)
    if count > 1:
        reactor.callLater(0, turns, count - 1, seconds)


def wakes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt"))


def finish():
    tell(kind="end", delay=watchdog.delay(), again=watchdog.delay(), wakes=wakes())
    reactor.stop()


watchdog = Watchdog(0.25, report, reactor)
reactor.callWhenRunning(watchdog.start)
reactor.callWhenRunning(tell, kind="ready")
"""

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture(params=["uv", "epoll"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start a program that has a watchdog and does what is given, on each reactor."""
    started: list[subprocess.Popen[str]] = []

    def start_one(script: str, *args: str) -> subprocess.Popen[str]:
        (tmp_path / "plugin.py").write_text(f"{PROGRAM}{script}\nreactor.run()\n")
        command = [sys.executable, str(tmp_path / "plugin.py"), request.param, *args]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Everything that it tells until it ends, which it does by itself."""
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return [json.loads(line) for line in text.splitlines()]


def of_kind(records: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record for record in records if record["kind"] == kind]


def line_of(function: str) -> str:
    """The place of the line that is marked so."""
    number = next(n for n, line in enumerate(PROGRAM.splitlines(), 1) if f"# line of {function}" in line)
    return f"plugin.py:{number} in {function}"


def test_a_sleeping_plugin_is_reported_while_it_sleeps_and_afterwards(start: Start) -> None:
    records = told(
        start("reactor.callLater(0.5, sleep, 1.5); reactor.callLater(0.6, finish_when, lambda: over)")
    )
    kinds = [record["kind"] for record in records]
    assert kinds == ["ready", "begin", "block", "woke", "over", "end"]
    ready, begin, block, woke, over, end = records
    assert LIMIT < block["seconds"] < block["at"] - ready["at"]
    assert block["place"] == over["place"] == line_of("sleep")
    assert "plugin.py" in block["stack"].split(" < ")[0]
    assert "base.py" in block["stack"] or "reactor.py" in block["stack"]
    assert woke["at"] - begin["at"] - LIMIT < over["seconds"] < over["at"] - ready["at"]
    assert over["stack"] == ""
    assert end["delay"][1] > 1
    assert end["again"][1] == 0


def test_a_call_that_holds_the_interpreter_is_reported_with_its_place_afterwards(start: Start) -> None:
    """A catastrophic regular expression."""
    records = told(
        start("reactor.callLater(0.5, backtrack, 22); reactor.callLater(0.6, finish_when, lambda: over)")
    )
    (block,) = of_kind(records, "block")
    assert block["place"] == line_of("backtrack")
    assert "re/__init__.py" in block["stack"]


def test_a_busy_loop_is_reported_like_a_sleep(start: Start) -> None:
    records = told(
        start("reactor.callLater(0.2, work, 0.8); reactor.callLater(0.3, finish_when, lambda: over)")
    )
    (block,) = of_kind(records, "block")
    assert block["place"].startswith("plugin.py:")
    assert block["place"].endswith(" in work")
    assert len(of_kind(records, "over")) == 1


def test_a_busy_reactor_that_makes_turns_is_not_reported(start: Start) -> None:
    records = told(start("reactor.callLater(0, turns, 240, 0.005); reactor.callLater(1.5, finish)"))
    assert [record["kind"] for record in records] == ["ready", "end"]
    assert records[-1]["delay"][1] > 0


def test_an_idle_reactor_is_not_reported_and_seldom_woken(start: Start) -> None:
    records = told(
        start(
            "reactor.callLater(0.5, lambda: tell(kind='idle', wakes=wakes()))\nreactor.callLater(2.5, finish)"
        )
    )
    assert [record["kind"] for record in records] == ["ready", "idle", "end"]
    assert records[-1]["wakes"] - records[1]["wakes"] < 10  # in 2 s


def test_many_blocks_write_one_stack_a_second(start: Start) -> None:
    records = told(
        start(
            "for n in range(4): reactor.callLater(0.1 + n * 0.7, sleep, 0.6)\n"
            "reactor.callLater(1, finish_when, lambda: over == 4)"
        )
    )
    blocks = of_kind(records, "block")
    stacks = [block["at"] for block in blocks if block["stack"]]
    assert len(blocks) == 4
    assert 1 <= len(stacks) < 4
    assert all(later - earlier > 0.9 for earlier, later in pairwise(stacks))


def test_a_stopped_process_is_no_block(start: Start) -> None:
    """Stopped again before the thread of the watchdog has looked, too: short turns keep it waiting."""
    process = start("reactor.callLater(2.5, finish)\nturns(4000, 0.002)")
    assert process.stdout is not None
    ready = process.stdout.readline()
    for running in (0.0, 0.02, 0.05, 0.1, 0.1):
        time.sleep(running)  # a beat or two are due
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        time.sleep(0.4)  # nothing else makes a process stand still for long enough
        process.send_signal(signal.SIGCONT)
    assert json.loads(ready)["kind"] == "ready"
    records = told(process)
    assert [record["kind"] for record in records] == ["end"]


def test_a_failed_report_does_not_end_the_watchdog(start: Start) -> None:
    script = (
        "sys.argv.append('report'); reactor.callLater(0.1, sleep, 0.5)\nreactor.callLater(1, sleep, 0.5)\n"
    )
    records = told(start(script + "reactor.callLater(1.1, finish_when, lambda: over == 2)"))
    assert len(of_kind(records, "block")) == 2


def test_a_thread_that_holds_the_interpreter_shows_in_the_delay(start: Start) -> None:
    told(
        start(
            "reactor.callLater(0.2, hold_elsewhere, 22)\n"
            "reactor.callLater(0.3, finish_when, lambda: watchdog.delay().worst > 0.2)"
        )
    )
