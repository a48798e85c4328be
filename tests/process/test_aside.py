"""What hangs in a thread of its own holds nobody up."""

from __future__ import annotations

import threading

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import TimeoutError as TimedOut

from sockd.process.aside import aside

LONG = 20.0


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_a_call_is_made_elsewhere_and_its_result_comes_here() -> None:
    assert await aside(threading.get_ident, LONG, reactor) != threading.get_ident()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_what_a_call_raises_is_raised_where_it_was_asked_for() -> None:
    def call() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await aside(call, LONG, reactor)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # it has no annotations
async def test_a_call_that_hangs_is_given_up_and_comes_too_late_without_harm() -> None:
    goes_on, gone = threading.Event(), threading.Event()

    def call() -> None:
        goes_on.wait(LONG)
        gone.set()

    with pytest.raises(TimedOut):
        await aside(call, 0.01, reactor)
    goes_on.set()
    await aside(lambda: gone.wait(LONG), LONG, reactor)
