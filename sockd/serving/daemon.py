"""The server as a service of twistd: its start and its end, signals, and what an operator may ask of it."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from twisted.application import service
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.logger import ILogObserver
from twisted.python.failure import Failure
from typing_extensions import override

from sockd.config import Config, Source, report
from sockd.config.document import MAX_FAULTS
from sockd.control.doors import Door, own_ports, renew_doors
from sockd.control.words import UPGRADE_NEEDS_WORKERS
from sockd.errors import ConfigError, reasons
from sockd.process import startup
from sockd.process.aside import aside
from sockd.process.debounce import Debounced
from sockd.process.launch import Launch
from sockd.process.life import HURRY, READ_TIMEOUT, TOO_SLOW, WATCH_EVERY, end_within, in_words, settle_memory
from sockd.serving.server import Server
from sockd.serving.status import Moved, snapshot
from sockd.sockets.notify import Notifier
from sockd.sockets.store import Store
from sockd.telemetry.events import DaemonEvents
from sockd.telemetry.logs import Log
from sockd.telemetry.watchdog import Watchdog


class NotReloaded(Exception):
    """The configuration is not served, and the earlier one is as before. Says why, in lines for a person."""


class Daemon(service.Service):
    """One process that serves.

    Args:
        server: with its sockets open.
        reactor: the one that will run.
        log: where events go; None where twistd's own options say how.
        source: the configuration's file; None where there is none.
        notifier: told how far it is, for the service manager.
        store: where sockets are kept over a restart.
        stop_within: seconds after a signal by which the process has ended, whatever happens.
        launch: detaches it, and tells whoever has started it what becomes of it.
    """

    def __init__(
        self,
        server: Server,
        reactor: Any,
        log: Log | None,
        source: Source | None,
        notifier: Notifier,
        store: Store,
        stop_within: float,
        launch: Launch,
    ) -> None:
        self.server = server
        self._reactor = reactor
        self.log = log
        self.doors: Sequence[Door] = ()
        self._source = source
        # Of the configuration's files, when they were read last.
        self._stamp = source.stamp(server.config) if source is not None else None
        self._notifier = notifier
        self._store = store
        self._stop_within = stop_within
        self._launch = launch
        self._told_to_stop = False
        self._serving = False
        self._reloading = False
        self._reload_due = False  # a signal has come before it serves, or in the midst of another one
        self._signalled = Debounced(self._reload, reactor)
        self._events = DaemonEvents()
        notifier.describe = self._in_words
        self._watchdog: Watchdog | None = None
        self._config_ok = True  # what was read last is what is served

    @override
    def setServiceParent(self, parent: Any) -> None:
        # twistd asks the application for its log observer before it starts the services.
        if self.log is not None:
            parent.setComponent(ILogObserver, self.log)
        super().setServiceParent(parent)

    # The start.

    @override
    def privilegedStartService(self) -> None:
        self._launch.begin()
        super().privilegedStartService()

    @override
    def startService(self) -> None:
        super().startService()
        failures: list[Failure] = []
        starting = Deferred.fromCoroutine(self.server.start()).addErrback(failures.append)
        if failures:
            self._refuse(failures[0])
        self._reactor.callWhenRunning(self._when_running, starting, failures)

    def _refuse(self, failure: Failure) -> NoReturn:
        """End before the reactor runs."""
        self._launch.failed(_complaint(failure))
        self.server.release()
        sys.exit(1)

    def _when_running(self, starting: Deferred[None], failures: list[Failure]) -> None:
        # The reactor has installed its own handlers, which would exit with the signal's code.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        startup.obey(
            {
                signal.SIGHUP: partial(self._reactor.callFromThread, self._signalled.ask),
                signal.SIGUSR1: self._reopen_log,
                signal.SIGUSR2: partial(self._reactor.callFromThread, self._on_upgrade),
            }
        )
        for door in self.doors:
            door.open()
            self._events.door_listening(door.name, door.bound.address)
        starting.addCallback(lambda _: self._started(failures)).addErrback(self._fail)

    def _started(self, failures: list[Failure]) -> None:
        if failures:
            self._fail(failures[0])
        elif self.running:
            self.server.open()
            self._launch.ready()
            self._store.begin()
            self._notifier.ready()
            self._show_life()
            self._watch()
            self._serving = True
            self._reload_if_due()
            if (limit := self.server.config.daemon.watchdog) is not None:
                self._watchdog = Watchdog(limit, self._events.blocked, self._reactor)
                self._watchdog.start()
            settle_memory()

    def _show_life(self) -> None:
        if (interval := self._notifier.watchdog_interval) is not None:
            self._notifier.watchdog()
            self._reactor.callLater(interval, self._show_life)

    def _fail(self, failure: Failure) -> None:
        """End a daemon that runs but cannot serve."""
        self._launch.failed(_complaint(failure))
        # twistd itself would exit with 0; of two handlers the later registered is called first.
        atexit.register(os._exit, 1)
        if self.log is not None:
            atexit.register(self.log.close)
        end_within(self._stop_within)
        self._reactor.stop()

    def _in_words(self) -> str:
        """What it does, for the service manager."""
        services = self.server.services
        listeners = sum(len(each.listeners) for each in services)
        if self._told_to_stop or not self.running:
            return f"stopping, with {self.server.connections} connections"
        return in_words(len(services), listeners, config_ok=self._config_ok)

    # What an operator may ask.

    def snapshot(self, moved: Moved | None = None) -> dict[str, Any]:
        """What it tells about itself; `moved` is what connections have told already."""
        delay = self._watchdog.delay().worst if self._watchdog is not None else 0.0
        return {
            **snapshot(self.server, moved),
            "reactor_delay": delay,
            "config_ok": self._config_ok,
            "own_ports": own_ports(self.doors),
            "log_dropped": self.log.dropped if self.log is not None else None,
        }

    async def reload(self, *, dry_run: bool = False) -> dict[str, list[str]]:
        """Serve what the configuration file says now; returns the names of services by what becomes of them.

        Raises:
            NotReloaded: nothing has changed.
        """
        if self._source is None:
            raise NotReloaded("there is no configuration file; it was started from the command line")
        if dry_run:
            await self._read_aside(self._source)
            return self.server.plan(self._loaded(self._source)).as_dict()
        if self._reloading:
            raise NotReloaded("another reload is not finished yet")
        if self.server.state != "ready":
            raise NotReloaded(f"the daemon is {self.server.state}")
        self._reloading = True
        self._notifier.reloading()
        try:
            await renew_doors(self.doors, self._store.open_socket)
            self._stamp = await self._read_aside(self._source)
            config = self._loaded(self._source)
            plan = await self.server.reload(config)
        except (NotReloaded, ExceptionGroup) as error:
            self._config_ok = False
            refusal = NotReloaded(reasons(error))
            self._events.not_reloaded(str(refusal))
            raise refusal from error
        else:
            self._config_ok = True
        finally:
            self._reloading = False
            self._notifier.ready()
            self._reload_if_due()
        if self.log is not None:
            self.set_log_level(config.log.level)
        return plan.as_dict()

    def set_log_level(self, level: str) -> None:
        """Write events of this level and above from now on.

        Raises:
            ValueError: the log is not sockd's own.
        """
        if self.log is None:
            raise ValueError("the log is not sockd's own, as twistd was given --logger or --syslog")
        self.log.set_level(level)
        self.server.tell_each_connection(level == "debug")

    def _loaded(self, source: Source) -> Config:
        try:
            return source.load()
        except ConfigError as error:
            raise NotReloaded(report(error.faults)) from error

    async def _read_aside(self, source: Source) -> object:
        """Read every file once where it holds nobody up; returns their stamp.

        Plugins are then imported on the reactor's thread, which some of them need.

        Raises:
            NotReloaded: a file cannot be read in time.
        """

        def read() -> object:
            stamp = source.stamp(self.server.config)
            try:
                replace(source, find_plugin=None).load()
            except ConfigError as error:  # told when it is loaded, unless it takes long to find so many again
                if len(error.faults) > MAX_FAULTS:
                    raise
            return stamp

        try:
            return await aside(read, READ_TIMEOUT, self._reactor)
        except ConfigError as error:
            raise NotReloaded(report(error.faults)) from error
        except TimedOut as error:
            raise NotReloaded(TOO_SLOW) from error

    def _watch(self, seen: object = None) -> None:
        """Reload when files have changed and are the same for two looks, so that nobody is writing them."""
        if self._source is None or not self.server.config.daemon.watch:
            return
        stamp = self._source.stamp(self.server.config)
        if stamp == seen != self._stamp:
            self._signalled.ask()
        self._reactor.callLater(WATCH_EVERY, self._watch, stamp)

    async def _reload(self) -> None:
        """Reload for a signal, or when files have changed."""
        if not self.running:  # it ends
            return
        if self._reloading or not self._serving:
            self._reload_due = True
            return
        with suppress(NotReloaded):  # told in the log
            await self.reload()

    def _reload_if_due(self) -> None:
        if self._reload_due:
            self._reload_due = False
            self._signalled.ask()

    def _on_upgrade(self) -> None:
        self._events.not_upgraded(UPGRADE_NEEDS_WORKERS)

    def _reopen_log(self) -> None:
        if self.log is not None:
            self.log.reopen()

    def stop(self) -> None:
        """End in order."""
        self._told_to_stop = True
        end_within(self._stop_within)
        self._reactor.stop()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # as signal calls it
        """Stop in order at the first signal, hurry at each that follows."""
        again, self._told_to_stop = self._told_to_stop, True
        end_within(HURRY if again else self._stop_within)
        self._reactor.callFromThread(self.server.hurry if again else self._reactor.stop)

    @override
    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._notifier.stopping()
        self._store.leave()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        await self.server.stop()
        for door in self.doors:
            await door.close()


def _complaint(failure: Failure) -> str:
    return f"sockd: {failure.getErrorMessage()}"
