"""The supervisor as a service of twistd: its start and its end, and signals."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

from twisted.application import service
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver
from twisted.python.failure import Failure
from typing_extensions import override

from sockd import __version__
from sockd.config import Config, SocketOptions
from sockd.control.dialog import command_of, line_of, refusal
from sockd.control.doors import Door, doors_on, own_ports, renew_doors
from sockd.control.listener import ControlListener
from sockd.process import startup
from sockd.process.debounce import Debounced
from sockd.process.launch import Launch
from sockd.process.life import HURRY, PLUGIN_STOP_TIMEOUT, WATCH_EVERY
from sockd.process.life import end_within as end_within
from sockd.process.life import in_words as in_words
from sockd.sockets.notify import Notifier
from sockd.sockets.store import Store
from sockd.supervisor.crew import CannotServe
from sockd.supervisor.handover import Handover, retold, told
from sockd.supervisor.operator import CrewOperator
from sockd.supervisor.succession import SIGNALS, execute, try_out
from sockd.supervisor.supervisor import NotDone, Supervisor
from sockd.telemetry.events import DaemonEvents
from sockd.telemetry.logs import Log

GRACE = 2.0
"""Seconds beyond what a worker may take to end, before it is ended."""


REPLACED = refusal("the supervisor has been replaced by other code meanwhile; ask again")
"""The answer to whatever else was being carried out."""


class SupervisorDaemon(service.Service):
    """One process that lets others serve.

    Args:
        supervisor: with its sockets open.
        reactor: the one that will run.
        log: where events go; None where twistd's own options say how.
        notifier: told how far it is, for the service manager.
        store: where sockets are kept over a restart.
        twistd: the words of its command line for another image of this process.
        launch: detaches it, and tells whoever has started it what becomes of it.
        manager: the service manager's variables of the environment.
        handed: what a former image of this process has left.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        reactor: Any,
        log: Log | None,
        notifier: Notifier,
        store: Store,
        twistd: Callable[[], Sequence[str]],
        launch: Launch,
        manager: Mapping[str, str],
        handed: Mapping[str, Any] | None,
    ) -> None:
        self.supervisor = supervisor
        supervisor.reloaded = self._reloaded
        notifier.describe = self._in_words
        supervisor.replace = self._replace
        self.operator = CrewOperator(supervisor, self.set_log_level, self.stop, self.own)
        self.doors: Sequence[Door] = ()
        self._reactor = reactor
        self._log = log
        self._notifier = notifier
        self._store = store
        self._twistd = twistd
        self._launch = launch
        self._manager = dict(manager)
        self._owed: Sequence[tuple[int, str]] | None = None
        self._told_to_stop = False
        self._reload_due = False  # a signal has come in the midst of something else
        self._signalled = Debounced(self._reload, reactor)
        supervisor.begun = self._begun
        supervisor.free = self._free
        supervisor.renew_doors = lambda: renew_doors(self.doors, store.open_socket)
        supervisor.crew.changed = notifier.changed
        self._stamp = ""  # of the configuration's files, when they were read last
        if handed is not None:
            self._take_over(handed)

    @override
    def setServiceParent(self, parent: Any) -> None:
        # twistd asks the application for its log observer before it starts the services.
        if self._log is not None:
            parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    @override
    def privilegedStartService(self) -> None:
        self._launch.begin()
        super().privilegedStartService()  # type: ignore[no-untyped-call]

    @override
    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(self._when_running)

    def _when_running(self) -> None:
        # The reactor has installed its own handlers, which would exit with the signal's code.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        soon = self._reactor.callFromThread
        startup.obey(
            {
                signal.SIGHUP: partial(soon, self._signalled.ask),
                signal.SIGUSR1: partial(soon, self._reopen_log),
                signal.SIGUSR2: partial(soon, self._on_upgrade),
            }
        )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a former image has blocked them
        for door in self.doors:
            door.open()
            if self._owed is None:
                DaemonEvents().door_listening(door.name, door.bound.address)
        if self._owed is None:
            Deferred.fromCoroutine(self.supervisor.start()).addCallbacks(self._started, self._fail)
        else:
            self._begin()
            Deferred.fromCoroutine(self._go_on(self._owed))

    def _started(self, _: Any) -> None:
        self._store.begin()
        self._begin()
        self._free()

    def _begin(self) -> None:
        self._launch.ready()
        self._show_life()
        self._watch()

    def _show_life(self) -> None:
        if (interval := self._notifier.watchdog_interval) is not None:
            self._notifier.watchdog()
            self._reactor.callLater(interval, self._show_life)

    def _fail(self, failure: Failure) -> None:
        """End a daemon whose workers cannot serve."""
        if self._told_to_stop:
            return
        text = failure.getErrorMessage()
        if failure.check(CannotServe) is None:
            text = f"{type(failure.value).__name__}: {text}"
        # A report of faults has its own form.
        self._launch.failed(text if "\n" in text else f"sockd: {text}")
        # twistd itself would exit with 0; handlers run in reverse order, so this is the last thing of all.
        atexit.register(os._exit, 1)
        self._told_to_stop = True
        self._reactor.stop()

    # What an operator may ask.

    def _in_words(self) -> str:
        """What it does, for the service manager."""
        supervisor, services = self.supervisor, self.supervisor.config.services
        if supervisor.state != "ready" or not self.running:
            return "stopping"
        listeners = sum(len(each.listen) for each in services.values())
        serving = in_words(len(services), listeners, config_ok=supervisor.config_ok)
        crew = supervisor.crew
        return f"{serving}; workers: {len(crew.serving)} of {len(crew.members)}"

    def set_log_level(self, level: str) -> None:
        """Write events of this level and above from now on.

        Raises:
            ValueError: the log is not sockd's own.
        """
        if self._log is None:
            raise ValueError("the log is not sockd's own, as twistd was given --logger or --syslog")
        self._log.set_level(level)

    def own(self) -> dict[str, Any]:
        """What this process tells of itself alone."""
        return {
            "own_ports": own_ports(self.doors),
            "timers": len(self._reactor.getDelayedCalls()),
            "log_dropped": self._log.dropped if self._log is not None else None,
        }

    def stop(self) -> None:
        """End in order."""
        if not self._told_to_stop:
            self._told_to_stop = True
            self._reactor.stop()

    # Signals.

    def _on_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  # as signal calls it
        """Stop in order at the first signal, hurry at each that follows."""
        self._reactor.callFromThread(self._hurry if self._told_to_stop else self.stop)

    def _hurry(self) -> None:
        self.supervisor.crew.hurry()
        self._reactor.callLater(HURRY, self.supervisor.crew.kill)
        end_within(HURRY + GRACE)

    async def _reload(self) -> None:
        """Reload for a signal, or when files have changed."""
        if self.supervisor.busy or self.supervisor.state == "starting":
            self._reload_due = True
            return
        with suppress(NotDone):  # told in the log
            await self.supervisor.reload()

    def _begun(self) -> None:
        if self.supervisor.busy == "reload":
            self._notifier.reloading()
            self._stamp = self._stamp_now()

    def _free(self) -> None:
        self._notifier.ready()
        if self._reload_due:
            self._reload_due = False
            self._signalled.ask()

    def _reloaded(self, config: Config) -> None:
        if self._log is not None:
            self._log.set_level(config.log.level)

    def _on_upgrade(self) -> None:
        Deferred.fromCoroutine(self.supervisor.upgrade()).addErrback(lambda failure: failure.trap(NotDone))

    def _reopen_log(self) -> None:
        if self._log is not None:
            self._log.reopen()
        for member in self.supervisor.crew.everybody:
            if member.state == "open":  # one that begins has no handler yet, and opens it soon anyway
                member.signal(signal.SIGUSR1)

    def _stamp_now(self) -> str:
        return str(self.supervisor.source.stamp(self.supervisor.config))

    def _watch(self, seen: str = "") -> None:
        """Reload when files have changed and are the same for two looks, so that nobody is writing them."""
        if not self.supervisor.config.daemon.watch:
            return
        stamp = self._stamp_now()
        self._stamp = self._stamp or stamp
        if stamp == seen != self._stamp:
            self._signalled.ask()
        self._reactor.callLater(WATCH_EVERY, self._watch, stamp)

    # From one image of this process to the next.

    async def _replace(self) -> None:
        """Become the code that is installed now; comes back only if that is not possible."""
        self._notifier.reloading()
        try:
            await try_out(self._hand_over(), self._reactor)
            await self.supervisor.crew.hold()
            try:
                if self._log is not None:
                    self._log.flush()
                execute(self._hand_over())
            finally:
                self.supervisor.crew.go_on()
        finally:
            self._notifier.ready()

    def _hand_over(self) -> Handover:
        """Everything that the next image has to know."""
        keep = self._store.of_units
        pid_file = self._launch.pid_file
        owed = [each for door in self.doors if isinstance(door, ControlListener) for each in door.owed()]
        state = {
            "path": sys.path,
            "twistd": self._twistd(),
            "doors": {door.name: told(door.bound) for door in self.doors},
            "owed": owed,
            "past": self.operator.past,
            "stamp": self._stamp,
            "pid_file": pid_file and [str(pid_file.path), pid_file.descriptor],
            "sweeper": self._launch.sweeper,
            "manager": self._manager,
            "reload_due": self._reload_due or self._signalled.pending,
            "supervisor": self.supervisor.hand_over(keep),
        }
        keep += [door.bound.socket.fileno() for door in self.doors]
        keep += [descriptor for descriptor, _ in owed]
        keep += [pid_file.descriptor] if pid_file is not None else []
        keep += [self._launch.sweeper] if self._launch.sweeper is not None else []
        return Handover(state, keep)

    def _take_over(self, handed: Mapping[str, Any]) -> None:
        bounds = {name: retold(*bound) for name, bound in handed["doors"].items()}
        if "metrics" in bounds:
            bounds["metrics"] = self._store.resume(bounds["metrics"], SocketOptions())
        hosts = self.supervisor.config.metrics.hosts
        self.doors = doors_on(bounds, self.operator, self.operator.status, self._reactor, hosts)
        self._owed, self._stamp, self.operator.past = handed["owed"], handed["stamp"], handed["past"]
        self._reload_due = handed["reload_due"]

    async def _go_on(self, owed: Sequence[tuple[int, str]]) -> None:
        """Do the rest of the upgrade that brought this image, and answer whoever has asked the former one."""
        self.supervisor.events.replaced(__version__)
        self.supervisor.crew.go_on()
        line = await line_of(self.operator.renew())
        for descriptor, request in owed:
            with socket.socket(fileno=descriptor) as peer, suppress(OSError):
                peer.setblocking(False)
                peer.sendall((line if command_of(request) == "upgrade" else REPLACED) + b"\n")
        self._notifier.ready()

    # The end.

    @override
    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        self._notifier.stopping()
        self._store.leave()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        patience = self.supervisor.config.daemon.drain_timeout + PLUGIN_STOP_TIMEOUT + HURRY + GRACE
        await self.supervisor.stop(patience)
        for door in self.doors:
            await door.close()
