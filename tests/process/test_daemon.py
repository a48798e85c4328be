"""One life of the process for both roles: start, deferred reloads, changes one at a time, end."""

from __future__ import annotations

import atexit
import signal
from collections.abc import Callable, Iterator
from queue import Queue
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sockd.config import Config, Source
from sockd.config.plan import Plan
from sockd.process import daemon as module
from sockd.process.daemon import WATCH_EVERY, DaemonProcess
from sockd.process.launch import Launch
from sockd.process.role import NotChanged
from sockd.sockets.notify import Notifier
from sockd.sockets.store import Store

PATIENCE = 10.0
NOTHING = Plan((), (), (), (), (), (), ())


class FakeReactor(Clock):
    """Clock that keeps what is to be called, and notes that it was stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: Queue[Callable[[], object]] = Queue()
        self.stopped = 0

    def callWhenRunning(self, call: Callable[..., object], *given: Any) -> None:  # Twisted's name
        self.waiting.put(lambda: call(*given))

    def callFromThread(self, call: Callable[..., object], *given: Any) -> None:  # Twisted's name
        self.waiting.put(lambda: call(*given))

    def stop(self) -> None:
        self.stopped += 1

    def turn(self) -> None:
        """Make the next call; one that a thread has still to ask for is waited for."""
        self.waiting.get(timeout=PATIENCE)()
        self.advance(0)


class FakeRole:
    """Notes what it is asked to do."""

    resumed = False
    stop_within: float | None = 30.0
    hurry_within = 1.0

    def __init__(self, config: Config) -> None:
        self.config = config
        self.state = "starting"
        self.done: list[str] = []
        self.preparing: Deferred[None] | None = None
        self.reloading: Deferred[None] | None = None
        self.fault: Exception | None = None

    def bind(self) -> None:
        self.done.append("bind")

    def release(self) -> None:
        self.done.append("release")

    async def prepare(self) -> None:
        self.done.append("prepare")
        if self.fault is not None:
            raise self.fault
        if self.preparing is not None:
            await self.preparing

    async def start(self) -> None:
        self.done.append("start")
        self.state = "ready"

    async def settle(self, process: object) -> None:
        self.done.append("settle")

    def describe(self, *, ending: bool, config_ok: bool) -> str:
        return f"{ending} {config_ok}"

    async def plan(self) -> Plan:
        return NOTHING

    async def reload(self) -> Plan:
        self.done.append("reload")
        if self.reloading is not None:
            await self.reloading
        if self.fault is not None:
            raise self.fault
        return NOTHING

    def give_up_reload(self, reason: str) -> None:
        self.done.append("give up")
        if self.reloading is not None:
            reloading, self.reloading = self.reloading, None
            reloading.errback(NotChanged(reason))

    async def upgrade(self, process: object) -> None:
        raise NotChanged("no")

    def reopen_logs(self) -> None:
        self.done.append("reopen")

    def hurry(self) -> None:
        self.done.append("hurry")

    async def stop(self) -> None:
        self.state = "stopping"
        self.done.append("stop")


class FakeSource:
    """File whose state the test writes."""

    def __init__(self) -> None:
        self.state = "first"

    def stamp(self, config: Config) -> object:
        return self.state


class FakeLaunch:
    """Notes what it is to report."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def ready(self) -> None:
        self.told.append("ready")

    def failed(self, text: str) -> None:
        self.told.append(text)


class FakeStore:
    """Keeps no sockets."""

    open_socket = None

    def begin(self) -> None:
        """Keep none."""

    def leave(self) -> None:
        """Keep none."""


class Running:
    """A daemon with everything around it made up."""

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.role = FakeRole(cast("Config", SimpleNamespace(daemon=SimpleNamespace(watch=True))))
        self.source = FakeSource()
        self.launch = FakeLaunch()
        self.daemon = DaemonProcess(
            self.role,
            self.reactor,
            None,
            cast("Source", self.source),
            Notifier(),
            cast("Store", FakeStore()),
            cast("Launch", self.launch),
        )

    def start(self) -> None:
        self.daemon.startService()
        self.reactor.turn()

    def reload(self) -> list[object]:
        results: list[object] = []
        Deferred.fromCoroutine(self.daemon.reload()).addBoth(results.append)
        return results


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds after which the kernel would have ended the process."""
    given: list[float] = []
    monkeypatch.setattr(module, "end_within", given.append)
    return given


@pytest.fixture
def running(limits: list[float]) -> Iterator[Running]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    yield Running()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_start_goes_step_by_step_and_is_reported_before_it_settles(running: Running) -> None:
    running.daemon.startService()
    assert running.role.done == ["prepare"]
    running.reactor.turn()
    assert running.role.done == ["prepare", "start", "settle"]
    assert running.launch.told == ["ready"]


def test_a_failure_before_the_reactor_runs_ends_the_process_with_its_reason(running: Running) -> None:
    running.role.fault = ValueError("no tape")
    with pytest.raises(SystemExit) as ended:
        running.daemon.startService()
    assert (ended.value.code, running.launch.told) == (1, ["sockd: no tape"])
    assert running.role.done == ["prepare", "release"]


def test_a_failure_after_the_reactor_runs_stops_it(
    running: Running, limits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[object] = []
    monkeypatch.setattr(atexit, "register", lambda *given: at_exit.append(given))
    running.role.preparing = Deferred()
    running.start()
    running.role.preparing.errback(ValueError("two\nlines"))
    assert running.launch.told == ["two\nlines"]
    assert (running.reactor.stopped, limits, len(at_exit)) == (1, [30.0], 2)


def test_a_reload_that_is_asked_for_during_the_start_comes_after_it(running: Running) -> None:
    running.role.preparing = Deferred()
    running.start()
    signal.raise_signal(signal.SIGHUP)
    running.reactor.turn()
    assert running.daemon.reload_due
    running.role.preparing.callback(None)
    running.reactor.advance(1)
    running.reactor.turn()  # the thread that reads the files has ended
    assert running.role.done == ["prepare", "start", "settle", "reload"]
    assert not running.daemon.reload_due


def test_a_second_change_is_refused_and_a_signal_is_deferred(running: Running) -> None:
    running.start()
    running.role.reloading = Deferred()
    first = running.reload()
    running.reactor.turn()
    second = running.reload()
    running.reactor.turn()  # the thread that looks at the files has ended
    [refused] = second
    assert "another reload is not finished yet" in str(refused)
    signal.raise_signal(signal.SIGHUP)
    running.reactor.turn()
    running.reactor.turn()
    assert running.daemon.reload_due
    assert "give up" not in running.role.done
    running.role.reloading.callback(None)
    assert first == [NOTHING]
    running.reactor.advance(2)
    running.reactor.turn()
    assert running.role.done.count("reload") == 2


def test_a_reload_that_hangs_gives_way_to_a_signal_once_the_files_have_changed(running: Running) -> None:
    running.start()
    running.role.reloading = Deferred()
    signal.raise_signal(signal.SIGHUP)
    running.reactor.turn()
    running.reactor.turn()  # the thread that looks at the files has ended
    running.source.state = "second"
    signal.raise_signal(signal.SIGHUP)
    running.reactor.turn()
    running.reactor.turn()
    assert running.role.done[-2:] == ["reload", "give up"]
    running.reactor.advance(2)
    running.reactor.turn()
    assert running.role.done[-3:] == ["reload", "give up", "reload"]
    assert running.daemon.config_ok


def test_a_reload_that_hangs_gives_way_to_an_operator_once_the_files_have_changed(running: Running) -> None:
    running.start()
    running.role.reloading = Deferred()
    first = running.reload()
    running.reactor.turn()
    running.source.state = "second"
    second = running.reload()
    running.reactor.turn()
    assert "the configuration has changed again" in str(first)
    running.reactor.turn()
    assert second == [NOTHING]
    assert running.role.done[-3:] == ["reload", "give up", "reload"]


def test_a_reload_that_fails_is_told_and_one_that_succeeds_takes_it_back(running: Running) -> None:
    running.start()
    running.role.fault = NotChanged("broken")
    failed = running.reload()
    running.reactor.turn()
    assert "broken" in str(failed)
    assert not running.daemon.config_ok
    running.role.fault = None
    running.reload()
    running.reactor.turn()
    assert running.daemon.config_ok


def test_files_that_change_are_read_when_they_are_the_same_for_two_looks(running: Running) -> None:
    running.start()
    for state in ("half", "whole"):
        running.source.state = state
        running.reactor.advance(WATCH_EVERY)
        assert not running.daemon.reload_due
    running.reactor.advance(WATCH_EVERY)
    running.reactor.turn()
    assert running.role.done.count("reload") == 1
    assert running.daemon.stamp == "whole"


def test_the_first_signal_stops_and_the_next_one_hurries(running: Running, limits: list[float]) -> None:
    running.start()
    signal.raise_signal(signal.SIGTERM)
    running.reactor.turn()
    assert (running.reactor.stopped, limits) == (1, [30.0])
    signal.raise_signal(signal.SIGINT)
    running.reactor.turn()
    assert (running.reactor.stopped, limits) == (1, [30.0, 1.0])
    assert running.role.done[-1] == "hurry"


def test_a_role_without_a_limit_is_given_none(running: Running, limits: list[float]) -> None:
    running.role.stop_within = None
    running.start()
    running.daemon.stop()
    running.daemon.stop()
    assert (running.reactor.stopped, limits) == (1, [])


def test_a_signal_for_the_logs_reaches_those_of_other_processes(running: Running) -> None:
    running.start()
    signal.raise_signal(signal.SIGUSR1)
    running.reactor.turn()
    assert running.role.done[-1] == "reopen"


def test_nothing_is_reloaded_once_the_end_has_begun(running: Running) -> None:
    running.start()
    running.daemon.stopService()
    signal.raise_signal(signal.SIGHUP)
    running.reactor.turn()
    assert running.role.done[-1] == "stop"
    assert not running.daemon.reload_due
