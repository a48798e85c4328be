"""What is done to the daemon while it serves: reloads, other certificates, another log, questions."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from benchmarks.soak.configuration import VERSIONS
from benchmarks.soak.daemon import Daemon
from benchmarks.soak.load import Upgrade

RELOAD, CERTIFICATE, COMMAND, LOG, UPGRADE = 30.0, 60.0, 60.0, 150.0, 240.0
"""Seconds between two of each in a run that is long enough."""

SHORTEST = 5
"""How often each happens at least, but for the log's two times, however short the run."""

FAULTY = 10
"""One of so many reloads has a configuration that cannot be served; the fifth is the first."""


class Disturbances:
    """What has to happen to a daemon, and when.

    Args:
        daemon: the one that has to bear it.
        upgrade: has to be told of each.
        seconds: how long it will.

    Attributes:
        done: how often each has happened.
        errors: what did not go as it should.
    """

    def __init__(self, daemon: Daemon, upgrade: Upgrade, seconds: float) -> None:
        self.done: Counter[str] = Counter()
        self.errors: list[str] = []
        self._daemon = daemon
        self._clients_upgrade = upgrade
        self._reloads = self._version = 0
        every = seconds / SHORTEST
        now = time.monotonic()
        upgrades = [(self._upgrade, min(UPGRADE, every * 2))] if daemon.places.workers else []
        self._plan: dict[Callable[[], None], tuple[float, float]] = {
            what: (now + pause, pause)
            for what, pause in (
                (self._reload, min(RELOAD, every)),
                (daemon.change_certificate, min(CERTIFICATE, every * 2)),
                (daemon.check_command, min(COMMAND, every * 2)),
                (daemon.reopen_log, min(LOG, every * 2)),
                *upgrades,
            )
        }

    def go_on(self) -> None:
        """Do what is due."""
        for what, (due, pause) in self._plan.items():
            if time.monotonic() >= due:
                self.attempt(what)
                self._plan[what] = due + pause, pause

    def attempt(self, what: Callable[[], None]) -> None:
        """Do one thing, whatever becomes of it."""
        name = what.__name__.strip("_")
        try:
            what()
        except Exception as error:  # whatever goes wrong is what is looked for
            self.errors.append(f"{time.strftime('%H:%M:%S')} {name}: {type(error).__name__}: {error}")
        else:
            self.done[name] += 1

    def back_to_first_version(self) -> None:
        """Let it serve what it served at the start."""
        self._daemon.reload(0)

    def _upgrade(self) -> None:
        self._clients_upgrade.begin()
        try:
            self._daemon.upgrade()
        finally:
            self._clients_upgrade.end()

    def _reload(self) -> None:
        self._reloads += 1
        if self._reloads % FAULTY == FAULTY // 2:
            self._daemon.reload_faulty()
            self.done["faulty"] += 1
        else:
            self._version = (self._version + 1) % VERSIONS
            self._daemon.reload(self._version)
