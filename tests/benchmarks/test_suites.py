from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from benchmarks.suites import __main__ as command
from benchmarks.suites.table import SUITES

OUTCOMES = Path(command.__file__).with_name("outcomes.py")

TESTS = """
from twisted.trial.unittest import TestCase

class Tests(TestCase):
    def test_good(self):
        from twisted.internet import reactor
        assert type(reactor).__name__ == "EPollReactor", reactor
    def test_bad(self):
        self.fail()
    def test_left_out(self):
        pass
    test_left_out.skip = "not now"
"""


def test_a_test_that_ends_otherwise_or_is_missing_differs() -> None:
    epoll = {"same": "passed", "other": "passed", "gone": "skipped"}
    uv = {"same": "passed", "other": "failed", "new": "passed"}
    assert command.differences(epoll, uv) == {
        "other": ("passed", "failed"),
        "gone": ("skipped", "missing"),
        "new": ("missing", "passed"),
    }


class Prepared:
    """Suite with prepared outcomes, run by run."""

    def __init__(self, **outcomes: list[dict[str, str]]) -> None:
        self._outcomes = outcomes

    def outcomes(self, reactor: str) -> dict[str, str]:
        return self._outcomes[reactor].pop(0)


def test_a_difference_is_the_reactor_s_if_it_repeats() -> None:
    moody = Prepared(
        epoll=[{"fault": "passed", "moody": "passed"}, {"fault": "passed", "moody": "failed"}],
        uv=[{"fault": "failed", "moody": "failed"}, {"fault": "failed", "moody": "failed"}],
    )
    _, differing = command.compare(moody, "epoll")  # type: ignore[arg-type]
    assert differing == {"fault": ("passed", "failed")}


def test_every_project_is_pinned_to_a_version_and_named_once() -> None:
    assert len({suite.name for suite in SUITES}) == len(SUITES)
    of_others = [suite for suite in SUITES if not suite.name.startswith("twisted-")]
    assert all("==" in suite.requires[0] for suite in of_others)


def test_an_unknown_suite_is_refused_with_the_names_of_all() -> None:
    result = CliRunner().invoke(command.main, ["--only", "nothing"])
    assert result.exit_code == 2
    assert "twisted-ftp" in result.output


def test_the_end_of_each_test_is_written_down(tmp_path: Path) -> None:
    (tmp_path / "some_tests.py").write_text(TESTS)
    result = tmp_path / "outcomes.json"
    done = subprocess.run(
        [sys.executable, str(OUTCOMES), "trial", "some_tests"],
        cwd=tmp_path,
        env={**os.environ, "SUITE_REACTOR": "epoll", "SUITE_OUTCOMES": str(result)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(result.read_text()) == {
        "some_tests.Tests.test_good": "passed",
        "some_tests.Tests.test_bad": "failed",
        "some_tests.Tests.test_left_out": "skipped",
    }
