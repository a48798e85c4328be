"""Disturbances of the daemon while it serves: reloads, new certificates, a new log, commands."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from benchmarks.soak.configuration import VERSIONS
from benchmarks.soak.daemon import Daemon
from benchmarks.soak.load import Upgrade

RELOAD, CERTIFICATE, COMMAND, LOG, UPGRADE = 30.0, 60.0, 60.0, 150.0, 240.0
"""Seconds between two disturbances of a kind, in a run that is long enough."""

SHORTEST = 5
"""Times that each happens at least, however short the run is; the log is replaced at least twice."""

FAULTY = 10
"""Reloads of which one has a configuration that cannot be served; the fifth is the first."""


class Disturbances:
    """Schedule of the disturbances of a daemon.

    Args:
        daemon: to disturb.
        upgrade: records the time of each upgrade.
        seconds: duration of the run.

    Attributes:
        done: how often each has happened.
        errors: what went wrong.
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
        """Make one disturbance; record an error."""
        name = what.__name__.strip("_")
        try:
            what()
        except Exception as error:  # every error is a result
            self.errors.append(f"{time.strftime('%H:%M:%S')} {name}: {type(error).__name__}: {error}")
        else:
            self.done[name] += 1

    def back_to_first_version(self) -> None:
        """Reload the first version of the configuration."""
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
