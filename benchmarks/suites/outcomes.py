"""Runner of a suite's tests on one reactor, which writes down the outcome of each.

    python outcomes.py trial ARGUMENT …      in the environment of the suite
    python outcomes.py pytest ARGUMENT …

The environment names the reactor in SUITE_REACTOR and the file of the outcomes in SUITE_OUTCOMES: a JSON
object of outcomes by test. Only the reactor of sockd is importable there.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from typing_extensions import override

KINDS = {
    "uv": "sockd.uvreactor",
    "epoll": "twisted.internet.epollreactor",
    "asyncio": "twisted.internet.asyncioreactor",
}
"""Modules whose `install` makes a reactor the one of this process."""

WORST = ["passed", "skipped", "failed"]


class Outcomes(dict[str, str]):
    """Outcomes by test; a test that ends in several ways has the worst of them."""

    def note(self, test: str, outcome: str) -> None:
        """Add an outcome of a test."""
        self[test] = max(self.get(test, WORST[0]), outcome, key=WORST.index)


outcomes = Outcomes()


def pytest_runtest_logreport(report: Any) -> None:
    """Note a phase of a test, if pytest runs it."""
    outcomes.note(report.nodeid, report.outcome)


def install() -> None:
    """Install the reactor that the environment names."""
    kind = os.environ["SUITE_REACTOR"]
    if kind == "uv":
        stand_in_for_asyncio()
    import_module(KINDS[kind]).install()


def stand_in_for_asyncio() -> None:
    """Give programs that install Twisted's asyncio reactor by themselves sockd's instead."""
    import asyncio

    import uvloop
    from twisted.internet import asyncioreactor

    from sockd import uvreactor

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncioreactor.install = uvreactor.install
    try:
        from scrapy.settings import default_settings
    except ImportError:
        return
    default_settings.TWISTED_REACTOR = "sockd.uvreactor.reactor.UVReactor"


def by_pytest(arguments: list[str]) -> None:
    """Run pytest, with this module as a plugin."""
    import pytest

    pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[sys.modules[__name__]])


def by_trial(arguments: list[str]) -> None:
    """Run trial's runner on modules."""
    from twisted.trial import reporter, runner

    class Recorder(reporter.MinimalReporter):  # type: ignore[misc]  # trial's classes are untyped
        @override
        def addSuccess(self, test: Any) -> None:
            outcomes.note(test.id(), "passed")

        @override
        def addUnexpectedSuccess(self, test: Any, *_: Any) -> None:
            outcomes.note(test.id(), "passed")

        @override
        def addExpectedFailure(self, test: Any, *_: Any) -> None:
            outcomes.note(test.id(), "passed")

        @override
        def addSkip(self, test: Any, *_: Any) -> None:
            outcomes.note(test.id(), "skipped")

        @override
        def addFailure(self, test: Any, failure: Any) -> None:
            super().addFailure(test, failure)
            outcomes.note(test.id(), "failed")

        @override
        def addError(self, test: Any, failure: Any) -> None:
            super().addError(test, failure)
            outcomes.note(test.id(), "failed")

    loader = runner.TestLoader()
    suite = runner.TestSuite([loader.loadByName(name, recurse=True) for name in arguments])
    runner.TrialRunner(Recorder, workingDirectory="trial.temporary").run(suite)


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    install()
    run = by_pytest if sys.argv[1] == "pytest" else by_trial
    try:
        run(sys.argv[2:])
    finally:
        Path(os.environ["SUITE_OUTCOMES"]).write_text(json.dumps(outcomes))
