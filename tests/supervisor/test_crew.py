"""When a worker is started again; the processes are made up."""

from __future__ import annotations

import errno
import signal
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sockd.control.words import Refused
from sockd.supervisor import crew as module
from sockd.supervisor.crew import BACK_OFF, STEADY, Crew
from sockd.supervisor.spare import NO_SLOT
from sockd.supervisor.worker_process import Order
from sockd.telemetry.supervision import SupervisorEvents


class Made:
    """A worker that starts at once, unless it is told otherwise."""

    faults: tuple[str, ...] = ()
    shortage = False
    all: list[Made]
    spares: list[Made] | None = None

    def __init__(
        self, reactor: Clock, slot: int, generation: int, seat: int, options: Any, ended: Any, *rest: Any
    ) -> None:
        if Made.shortage:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        self.slot, self.generation, self.seat = slot, generation, seat
        self.state = self.state_before = "starting"
        self.started_at = reactor.seconds()
        self.pid = 1000 + len(Made.all)
        self.code: int | None = None
        self.fault = ""
        self.last = None
        self.alive = True
        self.gone: Deferred[None] = Deferred()
        self._ended = ended
        if slot != NO_SLOT:
            Made.all.append(self)
        elif Made.spares is not None:
            Made.spares.append(self)

    async def prepare(self, order: Order) -> None:
        if Made.spares is None:
            await Deferred()  # it takes its time
        if Made.faults:
            raise Refused(Made.faults[0])
        self.state = "spare"

    async def start(self, order: Order) -> None:
        if Made.faults:
            raise Refused(Made.faults[0])
        self.state = "ready"

    async def open(self) -> dict[str, Any]:
        self.state = "open"
        return {}

    async def ask(self, command: str, **arguments: Any) -> None:
        """Does as it is told."""

    def kill(self) -> None:
        self.ends(-signal.SIGKILL)

    def ends(self, code: int) -> None:
        if self.alive:
            self.state_before, self.state, self.code, self.alive = self.state, "gone", code, False
            self._ended(self, code)
            self.gone.callback(None)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def crew(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Crew:
    monkeypatch.setattr(module, "WorkerProcess", Made)
    monkeypatch.setattr(Made, "all", [], raising=False)
    monkeypatch.setattr(Made, "faults", ())
    monkeypatch.setattr(Made, "shortage", False)
    monkeypatch.setattr(Made, "spares", None)
    forgotten: list[int] = []
    order = Order({}, ())
    made = Crew(
        clock, 2, 8, lambda slot, seat: order, lambda: order, (), SupervisorEvents(), forgotten.append
    )
    result(made.start())
    return made


def result(step: Any) -> Any:
    """What becomes of something that need not wait."""
    results: list[Any] = []
    Deferred.fromCoroutine(step).addBoth(results.append)
    return getattr(results[0], "value", results[0])


def seconds_until_next(clock: Clock) -> float:
    """How long until another worker is started."""
    before, began = len(Made.all), clock.seconds()
    while len(Made.all) == before:
        clock.advance(0.25)
        assert clock.seconds() - began < 100
    return clock.seconds() - began


def test_one_that_ends_again_and_again_is_started_ever_later(crew: Crew, clock: Clock) -> None:
    delays = []
    for _ in range(10):
        Made.all[-1].ends(1)
        delays.append(seconds_until_next(clock))
    assert delays == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]  # the clock advances by quarters
    assert BACK_OFF[0] == 0


def test_one_that_has_served_for_long_is_started_at_once(crew: Crew, clock: Clock) -> None:
    for _ in range(5):
        Made.all[-1].ends(1)
        seconds_until_next(clock)
    clock.advance(STEADY + 1)
    Made.all[-1].ends(1)
    assert seconds_until_next(clock) == 0.25


def test_one_that_was_killed_is_soon_back_however_often(crew: Crew, clock: Clock) -> None:
    for _ in range(20):
        Made.all[-1].ends(-signal.SIGKILL)
        assert seconds_until_next(clock) == 0.25


def test_one_that_cannot_serve_is_tried_again_ever_later(crew: Crew, clock: Clock) -> None:
    Made.faults = ("no tape in the drive",)
    Made.all[-1].ends(1)
    assert [seconds_until_next(clock) for _ in range(5)] == [0.25, 0.5, 1, 2, 4]
    Made.faults = ()
    seconds_until_next(clock)
    assert len(crew.serving) == 2


def test_where_no_process_can_be_started_it_is_tried_again_until_one_can(crew: Crew, clock: Clock) -> None:
    Made.shortage = True
    Made.all[-1].ends(1)
    clock.advance(60)
    assert len(crew.serving) == 1
    Made.shortage = False
    seconds_until_next(clock)
    assert len(crew.serving) == 2


def test_seats_are_given_to_one_process_at_a_time_and_taken_back(crew: Crew, clock: Clock) -> None:
    for _ in range(50):
        Made.all[-1].ends(-signal.SIGKILL)
        seconds_until_next(clock)
        assert len({worker.seat for worker in crew.serving}) == 2


def test_an_upgrade_beyond_the_seats_is_refused_and_changes_nothing(crew: Crew) -> None:
    for _ in range(2):
        assert result(crew.upgrade()) is None
    before = crew.serving
    assert "have not finished yet" in str(result(crew.upgrade()))
    assert (crew.serving, crew.generation, len(crew.leaving)) == (before, 3, 4)
    for worker in list(crew.leaving):
        worker.kill()
    assert result(crew.upgrade()) is None


def test_after_the_end_nobody_is_started(crew: Crew, clock: Clock) -> None:
    stopping: list[Any] = []
    Deferred.fromCoroutine(crew.stop(10)).addBoth(stopping.append)
    clock.advance(11)
    assert stopping == [None]
    assert clock.getDelayedCalls() == []
    assert len(Made.all) == 2


# The spare one.


@pytest.fixture
def reserved(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> Crew:
    """With a spare worker that is ready at once, and whoever comes after it."""
    monkeypatch.setattr(Made, "spares", [])
    crew.spare.worker.kill()  # type: ignore[union-attr]
    crew._reactor.advance(0)
    return crew


def test_a_spare_one_takes_the_place_of_one_that_ends_and_another_one_is_prepared(
    reserved: Crew, clock: Clock
) -> None:
    assert Made.spares is not None
    [spare] = Made.spares
    before = len(Made.all)
    reserved.workers[1].kill()  # type: ignore[union-attr]
    clock.advance(0)
    assert reserved.workers[1] is spare  # type: ignore[comparison-overlap]
    assert (spare.slot, spare.state) == (1, "open")
    assert len(Made.all) == before, "nobody had to be started for it"
    assert len(Made.spares) == 2


def test_a_spare_one_that_ends_is_replaced_ever_later(reserved: Crew, clock: Clock) -> None:
    spares = Made.spares or []
    Made.faults = ("no tape in the drive",)
    spares[-1].kill()
    started = []
    for _ in range(70):
        clock.advance(1)
        started.append(len(spares))
    # At once, after 1 second more, 5, 30 and 30.
    assert [started.index(count) for count in (2, 3, 4, 5, 6)] == [0, 1, 6, 36, 66]
    assert len(reserved.serving) == 2


def test_an_upgrade_has_another_spare_one_and_the_end_has_none(reserved: Crew, clock: Clock) -> None:
    assert Made.spares is not None
    [old] = Made.spares
    assert result(reserved.upgrade()) is None
    assert not old.alive
    assert [spare.alive for spare in Made.spares] == [False, True]
    Deferred.fromCoroutine(reserved.stop(10))
    assert [spare.alive for spare in Made.spares] == [False, False]
    clock.advance(60)
    assert len(Made.spares) == 2


def test_no_more_are_started_side_by_side_than_there_are_cores(
    crew: Crew, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that serves soon is better than two that serve late."""
    monkeypatch.setattr(module, "AT_ONCE", 1)
    loaded: list[Deferred[None]] = []

    async def start(worker: Made, order: Order) -> None:
        loaded.append(Deferred())
        await loaded[-1]

    monkeypatch.setattr(Made, "start", start)
    for worker in list(crew.serving):
        worker.kill()
    clock.pump([0.1] * 10)
    assert (len(loaded), len(crew.serving)) == (1, 0)
    loaded[0].callback(None)
    clock.pump([0.1] * 10)
    assert (len(loaded), len(crew.serving)) == (2, 1)
