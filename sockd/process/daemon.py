"""The daemon as a service of twistd: start, signals, reloads, signs of life, end. One for both roles."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from twisted.application import service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver
from twisted.python.failure import Failure
from typing_extensions import override

from sockd.config import Source
from sockd.config.plan import Plan
from sockd.control.own_ports import OwnPort, describe_own_ports, renew_own_ports
from sockd.process import startup
from sockd.process.debounce import Debounced
from sockd.process.end import end_within
from sockd.process.launch import Launch
from sockd.process.role import NotChanged, Role, read_files
from sockd.sockets.notify import Notifier
from sockd.sockets.store import Store
from sockd.telemetry.events import DaemonEvents
from sockd.telemetry.logs import Log
from sockd.telemetry.snapshot import About

WATCH_EVERY = 0.5
"""Seconds between two looks at the configuration's files."""

OUTDATED = "the configuration has changed again before it was ready"
"""Reason for the refusal of a reload that gives way to the next one."""

ENDING = (signal.SIGTERM, signal.SIGINT)
"""Signals that end the daemon in order; a further one hurries."""


class DaemonProcess(service.Service):
    """Life of a daemon's process, whichever its role is.

    Args:
        role: serving or supervising, with its sockets open.
        reactor: the one that will run.
        log: where events go; None where twistd's own options say how.
        source: the configuration's file; None where there is none.
        notifier: the way to the service manager.
        store: keeps sockets over a restart.
        launch: detaches the process, and reports to whoever has started it.

    Attributes:
        own_ports: the control socket and the metrics port, as far as they are configured.
        stamp: state of the configuration's files when they were read last.
        config_ok: whether the configuration that was read last is the one that is served.
    """

    def __init__(
        self,
        role: Role,
        reactor: Any,
        log: Log | None,
        source: Source | None,
        notifier: Notifier,
        store: Store,
        launch: Launch,
    ) -> None:
        self.role = role
        self.own_ports: Sequence[OwnPort] = ()
        self.config_ok = True
        self.notifier = notifier
        self.launch = launch
        self._reactor = reactor
        self._log = log
        self._source = source
        self._store = store
        self._told_to_stop = False
        self._serving = False
        self._changing = ""  # by a reload or an upgrade
        self._awaiting_end: list[Deferred[None]] = []  # of that change
        self._reload_deferred = False  # a signal has come before the daemon serves, or during a change
        self._reload_requests = Debounced(self._reload, reactor)
        self._looks_at_files = Debounced(self._give_way, reactor)
        self._events = DaemonEvents()
        self.stamp = self._stamp_now()
        notifier.describe = self._describe

    def resume(self, own_ports: Sequence[OwnPort], stamp: str, *, config_ok: bool, reload_due: bool) -> None:
        """Go on from the state that a former image of this process has left."""
        self.own_ports = own_ports
        self.stamp = stamp or self.stamp
        self.config_ok = config_ok
        self._reload_deferred = reload_due

    @override
    def setServiceParent(self, parent: Any) -> None:
        # twistd asks the application for its log observer before it starts the services.
        if self._log is not None:
            parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)

    # The start.

    @override
    def privilegedStartService(self) -> None:
        self.launch.begin()
        super().privilegedStartService()

    @override
    def startService(self) -> None:
        super().startService()
        prepared = Deferred.fromCoroutine(self._prepare())
        if isinstance(error := getattr(prepared, "result", None), Exception):
            self._give_up(error)
        self._reactor.callWhenRunning(self._when_running, prepared)

    async def _prepare(self) -> Exception | None:
        try:
            await self.role.prepare()
        except Exception as error:  # whatever it was, the daemon ends in order
            return error
        return None

    def _give_up(self, error: Exception) -> NoReturn:
        """End before the reactor runs."""
        self.launch.failed(_complaint(error))
        self.role.release()
        sys.exit(1)

    def _when_running(self, prepared: Deferred[Exception | None]) -> None:
        self._handle_signals()
        for port in self.own_ports:
            port.open()
            if not self.role.resumed:
                self._events.own_port_listening(port.name, port.bound.address)
        Deferred.fromCoroutine(self._start(prepared)).addCallbacks(self._settle, self._fail)

    def _handle_signals(self) -> None:
        # The reactor has installed its own handlers, which would exit with the signal's code.
        for number in ENDING:
            signal.signal(number, self._on_stop)
        soon = self._reactor.callFromThread
        startup.obey(
            {
                signal.SIGHUP: partial(soon, self._ask_reload),
                signal.SIGUSR1: partial(soon, self._reopen_logs),
                signal.SIGUSR2: partial(soon, self._on_upgrade),
            }
        )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # a former image has blocked them

    async def _start(self, prepared: Deferred[Exception | None]) -> None:
        if (error := await prepared) is not None:
            raise error
        if not self.running:
            return
        await self.role.start()
        self.launch.ready()
        if not self.role.resumed:  # otherwise the upgrade that has brought this image is not finished yet
            self._store.begin()
            self.notifier.ready()
        self._show_life()
        self._watch()
        self._serving = True
        self._ask_deferred_reload()

    def _settle(self, _: None) -> Deferred[None] | None:
        return Deferred.fromCoroutine(self.role.settle(self)) if self._serving else None

    def _show_life(self) -> None:
        if (interval := self.notifier.watchdog_interval) is not None:
            self.notifier.watchdog()
            self._reactor.callLater(interval, self._show_life)

    def _fail(self, failure: Failure) -> None:
        """End a daemon that runs but cannot serve."""
        if self._told_to_stop:
            return
        self.launch.failed(_complaint(failure.value))
        # twistd itself would exit with 0; of two handlers the later registered is called first.
        atexit.register(os._exit, 1)
        if self._log is not None:
            atexit.register(self._log.close)
        self.stop()

    def _describe(self) -> str:
        ending = self._told_to_stop or not self.running
        return self.role.describe(ending=ending, config_ok=self.config_ok)

    # What an operator may ask.

    def about(self) -> About:
        """Return what the status tells of this process in either role."""
        return {
            "config_ok": self.config_ok,
            "own_ports": describe_own_ports(self.own_ports),
            "log_dropped": self._log.dropped if self._log is not None else None,
        }

    def stop(self) -> None:
        """End in order."""
        if self._told_to_stop:
            return
        self._told_to_stop = True
        if self.role.stop_within is not None:
            end_within(self.role.stop_within)
        self._reactor.stop()

    async def reload(self, *, dry_run: bool = False) -> Plan:
        """Serve what the configuration's file says now, and return the plan.

        Args:
            dry_run: whether to return the plan alone, and change nothing.

        Raises:
            NotChanged: nothing has changed.
        """
        if self._source is None:
            raise NotChanged("there is no configuration file; it was started from the command line")
        if dry_run:
            return await self.role.plan()
        if await self._give_way():
            await self._end_of_change()
        with self.change("reload"):
            self.notifier.reloading()
            try:
                await renew_own_ports(self.own_ports, self._store.open_socket)
                self.stamp = await read_files(self._stamp_now, self._reactor)
                plan = await self.role.reload()
            except NotChanged as error:
                self.config_ok = False
                self._events.not_reloaded(str(error))
                raise
            self.config_ok = True
        return plan

    async def upgrade(self) -> None:
        """Execute the code that is installed now. Returns only if that fails.

        Raises:
            NotChanged: the code is the same as before; the log has the reason.
        """
        await self.role.upgrade(self)

    @contextmanager
    def change(self, what: str) -> Iterator[None]:
        """Let no other reload or upgrade begin during this one.

        Args:
            what: `reload` or `upgrade`.

        Raises:
            NotChanged: the daemon is not ready for a change.
        """
        if self.role.state != "ready":
            raise NotChanged(f"the daemon is {self.role.state}")
        if self._changing:
            raise NotChanged(f"another {self._changing} is not finished yet")
        self._changing = what
        try:
            yield
        finally:
            self._changing = ""
            self.notifier.ready()
            waiting, self._awaiting_end = self._awaiting_end, []
            for over in waiting:
                over.callback(None)
            self._ask_deferred_reload()

    # Reloads for signals and for files that change.

    @property
    def reload_due(self) -> bool:
        """Tell whether a reload has been requested that has not begun."""
        return self._reload_deferred or self._reload_requests.pending

    async def _reload(self) -> None:
        if not self.running:  # it ends
            return
        if self._changing or not self._serving:
            self._reload_deferred = True
            return
        with suppress(NotChanged):  # the log has the reason
            await self.reload()

    def _ask_reload(self) -> None:
        self._reload_requests.ask()
        if self._changing == "reload":
            self._looks_at_files.ask()

    async def _give_way(self) -> bool:
        """Give up a reload whose files have changed since it read them; return whether there is one."""
        if self._changing != "reload":
            return False
        with suppress(NotChanged):  # they cannot be read now: the next reload says why
            stamp = await read_files(self._stamp_now, self._reactor)
            if self._changing == "reload" and stamp != self.stamp:
                self.role.give_up_reload(OUTDATED)
                return True
        return False

    async def _end_of_change(self) -> None:
        """Wait until no reload or upgrade is under way."""
        if self._changing:
            over: Deferred[None] = Deferred()
            self._awaiting_end.append(over)
            await over

    def _ask_deferred_reload(self) -> None:
        if self._reload_deferred:
            self._reload_deferred = False
            self._reload_requests.ask()

    def _stamp_now(self) -> str:
        return "" if self._source is None else str(self._source.stamp(self.role.config))

    def _watch(self, seen: str = "") -> None:
        """Reload when files have changed and stay the same for two looks: then nobody is writing them."""
        if self._source is None or not self.role.config.daemon.watch:
            return
        stamp = self._stamp_now()
        if stamp == seen != self.stamp:
            self._ask_reload()
        self._reactor.callLater(WATCH_EVERY, self._watch, stamp)

    # Other signals.

    def _on_upgrade(self) -> None:
        Deferred.fromCoroutine(self.upgrade()).addErrback(lambda failure: failure.trap(NotChanged))

    def _reopen_logs(self) -> None:
        if self._log is not None:
            self._log.reopen()
        self.role.reopen_logs()

    def _on_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # as signal calls it
        """Stop in order at the first signal, hurry at each that follows.

        The time limit is set here and not by the reactor, which a plugin may keep from running.
        """
        again, self._told_to_stop = self._told_to_stop, True
        within = self.role.hurry_within if again else self.role.stop_within
        if within is not None:
            end_within(within)
        self._reactor.callFromThread(self.role.hurry if again else self._reactor.stop)

    # The end.

    @override
    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.notifier.stopping()
        self._store.leave()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        await self.role.stop()
        for port in self.own_ports:
            await port.close()


def _complaint(error: BaseException | None) -> str:
    """Return a line for standard error; a report of several lines has its own form."""
    text = str(error)
    return text if "\n" in text else f"sockd: {text}"
