"""Order of the tests, and what keeps a failing one from making others fail."""

from __future__ import annotations

import gc
import signal
import sys
import traceback
import warnings
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(  # a test that fails because the machine is busy tells nothing
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")


def pytest_configure() -> None:
    """Keep the compiled tests, and let Ctrl-C end programs under test.

    A shell that runs the tests in the background has Ctrl-C ignored, for what they start, too.
    """
    sys.dont_write_bytecode = False  # to compile all tests takes seven seconds, in each process
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let long tests begin first; otherwise the order stays random."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Close what a failed test has left open, once its report is written.

    A socket or file that is garbage warns, and a warning fails the test that happens to run then. A debugger
    (--pdb) still needs the variables, and gets them.
    """
    report = yield
    if report.failed and call.excinfo is not None and not item.config.option.usepdb:
        _forget_variables(call.excinfo.value)
    return report


def _forget_variables(error: BaseException) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for each in _linked(error, set()):
            for frame, _ in traceback.walk_tb(each.__traceback__):
                with suppress(RuntimeError):  # the frames of pytest itself still run
                    frame.clear()
                    frame.f_locals  # noqa: B018  # until Python 3.13 a copy, which is made anew here
        gc.collect()


def _linked(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Yield an exception, and all that it was raised from or holds."""
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    held = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for other in (error.__cause__, error.__context__, *held):
        if other is not None:
            yield from _linked(other, seen)
