"""Command `python -m benchmarks.suites`, run from the root of the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from benchmarks.machine import description
from benchmarks.suites.table import SUITES, Suite

ROOT = Path(__file__).parents[2]
OUTCOMES = Path(__file__).with_name("outcomes.py")
LONGEST = 1800
"""Seconds for one suite on one reactor."""

HEADINGS = ("suite", "compared with", "tests", "passed", "skipped", "failed", "known to differ", "differ")

Outcomes = Mapping[str, str]


class SuiteError(Exception):
    """Failure to run a suite on this machine."""


def command(words: Sequence[str | Path], folder: Path, log: Path, environment: Mapping[str, str]) -> None:
    """Run a command, with its output in a file.

    Raises:
        SuiteError: the program failed or took too long.
    """
    with log.open("a") as output:
        try:
            done = subprocess.run(  # noqa: S603  # commands of the table
                words, cwd=folder, env=environment, stdout=output, stderr=output, timeout=LONGEST, check=False
            )
        except subprocess.TimeoutExpired:
            raise SuiteError(f"took longer than {LONGEST} s, see {log}") from None
    if done.returncode:
        raise SuiteError(f"{Path(words[0]).name} ended with {done.returncode}, see {log}")


class Prepared:
    """Suite in an environment of its own.

    Args:
        suite: of the project that is installed there.
        folder: for everything that it needs.
    """

    def __init__(self, suite: Suite, folder: Path) -> None:
        self._suite = suite
        self._folder = folder
        self._log = folder / "log.txt"
        self._python = folder / "env" / "bin" / "python"
        library = folder / "library"
        library.mkdir(parents=True)
        (library / "sockd").symlink_to(ROOT / "sockd")
        self._environment = {**os.environ, "PYTHONPATH": str(library), "LC_ALL": "C.UTF-8"}
        command([sys.executable, "-m", "venv", folder / "env"], folder, self._log, os.environ)
        same = [f"{name}=={version(name)}" for name in ("uvloop", "pyOpenSSL", "service-identity")]
        twisted = f"Twisted[tls]=={version('Twisted')}"
        self._pip("install", twisted, *same, *suite.requires)
        self._tests = self._source() if suite.source else folder

    def _pip(self, *words: str) -> None:
        pip = [self._python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
        command(pip, self._folder, self._log, os.environ)

    def _source(self) -> Path:
        """Return the folder of the project's source distribution."""
        project = self._suite.requires[0]
        self._pip("download", "--no-deps", "--no-binary", ":all:", "--dest", "source", project)
        archive = next((self._folder / "source").iterdir())
        with tarfile.open(archive) as packed:
            packed.extractall(self._folder / "source", filter="data")
        return next(path for path in (self._folder / "source").iterdir() if path.is_dir())

    def outcomes(self, reactor: str) -> Outcomes:
        """Run the suite on a reactor; return the outcome of each test."""
        result = self._folder / f"{reactor}.json"
        result.unlink(missing_ok=True)
        environment = {**self._environment, "SUITE_REACTOR": reactor, "SUITE_OUTCOMES": str(result)}
        words = [self._python, OUTCOMES, self._suite.runner, *self._suite.tests]
        command(words, self._tests, self._log, environment)
        found: dict[str, str] = json.loads(result.read_text())
        if not found:
            raise SuiteError(f"no test was found, see {self._log}")
        return found


def differences(one: Outcomes, other: Outcomes) -> dict[str, tuple[str, str]]:
    """Return the tests with different outcomes, with both; a test that did not run is `missing`."""
    ended = {test: (one.get(test, "missing"), other.get(test, "missing")) for test in {*one, *other}}
    return {test: pair for test, pair in sorted(ended.items()) if pair[0] != pair[1]}


def compare(prepared: Prepared, other: str) -> tuple[Outcomes, dict[str, tuple[str, str]]]:
    """Return the outcomes on sockd's reactor, and those that differ from Twisted's in each attempt."""
    mine = prepared.outcomes("uv")
    differing = differences(prepared.outcomes(other), mine)
    if differing:  # the difference is the reactor's only if it is the same in a second attempt
        again = differences(prepared.outcomes(other), prepared.outcomes("uv"))
        differing = {test: pair for test, pair in differing.items() if again.get(test) == pair}
    return mine, differing


def row(cells: Sequence[object]) -> str:
    """Format a row of the table, in Markdown."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


@click.command()
@click.option("--only", multiple=True, metavar="SUITE", help="One suite; may be repeated.")
@click.option("--list", "listing", is_flag=True, help="Name the suites, and run none.")
def main(only: Sequence[str], listing: bool) -> None:
    """Run test suites of Twisted programs and libraries on sockd's reactor and on Twisted's, and compare.

    Each is installed by pip into an environment of its own, in a temporary folder. Exits with 1 if a test
    differs that is not known to differ, or if a suite cannot be run.
    """
    names = [suite.name for suite in SUITES]
    if listing:
        click.echo("\n".join(names))
        return
    if unknown := sorted({*only} - {*names}):
        raise click.UsageError(f"no such suite: {', '.join(unknown)}; there are {', '.join(names)}")
    folder = Path(tempfile.mkdtemp(prefix="suites-"))
    lines, faults = [], 0
    for suite in SUITES:
        if only and suite.name not in only:
            continue
        click.echo(f"{suite.name} …", err=True)
        try:
            mine, differing = compare(Prepared(suite, folder / suite.name), suite.other)
        except SuiteError as error:
            faults += 1
            click.echo(f"{suite.name}: {error}")
            continue
        known = [test for test in differing if suite.knows(test)]
        new = {test: pair for test, pair in differing.items() if not suite.knows(test)}
        faults += bool(new)
        for test, (theirs, ours) in new.items():
            click.echo(f"{suite.name}: {test}: {theirs} on {suite.other}, {ours} on uv")
        ended = Counter(mine.values())
        counts = [len(mine), *(ended[outcome] for outcome in ("passed", "skipped", "failed"))]
        lines.append(row([suite.name, suite.other, *counts, len(known), len(new)]))
    click.echo(row(HEADINGS))
    click.echo("|---|---|---:|---:|---:|---:|---:|---:|")
    click.echo("\n".join(lines))
    click.echo(f"{datetime.now(UTC):%d %B %Y}, {description()}; logs in {folder}")
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
