from __future__ import annotations

from twisted.internet.task import Clock

from sockd_plugins.files.stream.alarm import Alarm


def rings(*steps: float | str | tuple[str, float]) -> list[float]:
    """Return the times at which an alarm rings; a number is a time that passes."""
    clock, found = Clock(), list[float]()
    alarm = Alarm(clock, lambda: found.append(clock.seconds()))
    for step in steps:
        if isinstance(step, float):
            for _ in range(round(step * 8)):
                clock.advance(0.125)
        elif isinstance(step, tuple):
            alarm.set(step[1])
        else:
            getattr(alarm, step)()
    alarm.stop()
    assert not clock.getDelayedCalls()
    return found


def test_it_rings_once_and_at_the_time_that_was_set_last() -> None:
    assert rings(("set", 1.0), 5.0) == [1.0]
    assert rings(("set", 1.0), 0.5, ("set", 1.0), 5.0) == [1.5]
    assert rings(("set", 9.0), 0.5, ("set", 1.0), 9.0) == [1.5]
    assert rings(("set", 1.0), 2.0, ("set", 1.0), 2.0) == [1.0, 3.0]


def test_it_does_not_ring_when_it_is_cleared_or_stopped() -> None:
    assert rings(("set", 1.0), 0.5, "clear", 5.0) == []
    assert rings(("set", 1.0), 0.5, "clear", ("set", 1.0), 5.0) == [1.5]
    assert rings(("set", 1.0), 0.5, "stop", 5.0) == []


def test_it_is_set_many_times_with_one_timer() -> None:
    clock = Clock()
    alarm = Alarm(clock, lambda: None)
    for _ in range(100):
        alarm.set(1.0)
        alarm.clear()
        assert len(clock.getDelayedCalls()) == 1
