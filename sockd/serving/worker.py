"""Process of one worker: serves its part of the configuration, and obeys the supervisor.

It ends when the channel does; what is left then has a second. Where the kernel can tell that the parent is
gone (PR_SET_PDEATHSIG), it ends the worker at once.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogBeginner

from sockd import discovery
from sockd.config import Config, SocketOptions, report
from sockd.config.texts import Texts, load_texts
from sockd.control.operator import COMMANDS
from sockd.control.words import Code, Refused
from sockd.endpoint import Endpoint
from sockd.errors import ConfigError, PluginError, reasons
from sockd.ipc.calls import Calls
from sockd.ipc.child import die_with_parent, name_process
from sockd.limits import SharedPlaces
from sockd.process import startup
from sockd.process.end import HURRY, PLUGIN_STOP_TIMEOUT, end_within
from sockd.process.memory import settle_memory
from sockd.process.reactor import install_reactor
from sockd.serving.inheritance import Inheritance
from sockd.serving.operator import LocalOperator
from sockd.serving.privileges import give_up_root
from sockd.serving.server import Server
from sockd.serving.share import divided, needs_one_worker, share
from sockd.serving.status import Moved, snapshot
from sockd.serving.trial import try_out
from sockd.sockets.open import BoundSocket
from sockd.telemetry import logs
from sockd.telemetry.catalogue import LISTENING, READY, RELOADED, STOPPED, STOPPING
from sockd.telemetry.events import DaemonEvents
from sockd.telemetry.sink import open_path
from sockd.telemetry.snapshot import ProcessSnapshot
from sockd.telemetry.watchdog import Watchdog

ORPHANED = 1.0
"""Seconds to end in, once the supervisor is gone."""

FIRST_TO_GO = "500"
"""Score by which the kernel ends a worker rather than the supervisor when memory runs out (proc(5))."""

_FOR_ALL = frozenset(event.name for event in (READY, LISTENING, STOPPING, STOPPED, RELOADED))
"""Names of events that the supervisor writes, once for all workers."""


class Worker:
    """Worker of a supervisor.

    Args:
        reactor: the one that will run.
        sock: the way to the supervisor.
        fallback: why the reactor is not the fast one.
    """

    def __init__(self, reactor: Any, sock: socket.socket, fallback: str) -> None:
        self.server: Server
        self._whole: Config  # of which this worker serves a part
        self.log: logs.Log | None = None
        self.number = 0
        self._workers = 1
        self._seat = 0
        self._reactor = reactor
        self._fallback = fallback
        self._inheritance = Inheritance((), ())
        self._places: dict[str, SharedPlaces] = {}
        self._operator = LocalOperator(self)
        self._events = DaemonEvents()
        self._watchdog: Watchdog | None = None
        self._ending = False
        self._cut = 0
        self._calls = Calls(sock, reactor, self._answer, lost=self._orphaned, takes_descriptors=True)
        reactor.callWhenRunning(self._handle_signals)

    def _handle_signals(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        startup.obey({signal.SIGUSR1: self._reopen_log})  # the others are for the supervisor alone

    def _reopen_log(self) -> None:
        if self.log is not None:
            self.log.reopen()

    def _on_signal(self, *_: object) -> None:
        """Retire; the signal is for one worker, and the others go on."""
        self._reactor.callFromThread(self._leave)

    def _leave(self) -> None:
        if not hasattr(self, "server"):  # it serves nobody yet
            os._exit(0)
        if self._ending:
            Deferred.fromCoroutine(self.hurry())
            return
        self._calls.tell("retiring")
        Deferred.fromCoroutine(self.retire())

    async def _answer(self, command: str, arguments: dict[str, Any], descriptors: list[int]) -> Any:
        """Carry out what the supervisor asks."""
        if command == "ping":
            return None
        if command in ("prepare", "start", "reload", "check"):
            return await getattr(self, command)(descriptors=descriptors, **arguments)
        if command in ("open", "retire", "stop", "hurry"):
            return await getattr(self, command)()
        if command == "set":
            return await self.set(**arguments)
        if command in COMMANDS:
            return await getattr(self._operator, command)(**arguments)
        raise Refused(f"this worker does not know the command '{command}'", code=Code.UNKNOWN_COMMAND)

    # Its life.

    async def check(
        self,
        texts: Texts,
        path: list[str],
        descriptors: Sequence[int],  # noqa: ARG002  # as `_answer` gives them
        services: Sequence[str] = (),
    ) -> None:
        """Load a configuration with its plugins, and start those of some services on trial."""
        sys.path[:] = path
        config = _loaded(texts)
        if services:
            await try_out(config, services, self._report_plugin, self._reactor)

    def _report_plugin(self, plugin: str) -> None:
        """Tell the supervisor which plugin is at fault if this process ends or hangs from now on."""
        self._calls.tell("starting", plugin=plugin)

    async def prepare(self, texts: Texts, path: list[str], shed: bool, descriptors: Sequence[int]) -> None:
        """Load everything, and wait for a slot."""
        if shed:
            give_up_root()
        await self.check(texts, path, descriptors)
        name_process("sockd spare")

    async def start(
        self,
        texts: Texts,
        worker: int,
        workers: int,
        seat: int,
        log: str | None,
        path: list[str],
        shed: bool,
        sockets: Sequence[Any],
        places: Sequence[str],
        descriptors: Sequence[int],
        standing: Sequence[tuple[str, dict[str, Any]]] = (),
    ) -> None:
        """Load everything, start the plugins, and carry out what an operator has changed (`standing`)."""
        self.number, self._workers, self._seat = worker, workers, seat
        name_process(f"sockd worker {worker}")
        sys.path[:] = path
        if shed:
            give_up_root()
        config = self._take(texts, sockets, places, descriptors)
        self._begin_log(config, log)
        self.server = Server(config, self._reactor, self._fallback, self._open_socket)
        self.server.ports_of_others = self._inheritance.datagram_ports
        self.server.starting(self._report_plugin)
        try:
            self.server.bind()
            await self.server.start()
        except (ExceptionGroup, PluginError) as error:
            raise Refused(reasons(error)) from error
        self._inheritance.close()
        self._share_places()
        for command, arguments in standing:
            with suppress(Refused):  # this worker has no part in the service
                await self._answer(command, arguments, [])

    async def open(self) -> dict[str, Any]:
        """Serve peers, and return the addresses."""
        self.server.open()
        if (limit := self.server.config.daemon.watchdog) is not None:
            self._watchdog = Watchdog(limit, self._events.blocked, self._reactor)
            self._watchdog.start()
        settle_memory()
        return {
            "reactor": type(self._reactor).__name__,
            "listening": self._listening(),
            "alone": [service.name for service in self.server.services if needs_one_worker(service.config)],
        }

    async def retire(self) -> None:
        """Accept no more, and end; the sockets stay open for other workers."""
        for service in self.server.services:
            bounds = [listener.bound for listener in service.listeners]
            await service.close(bounds)
            for bound in bounds:
                bound.socket.close()
            service.listeners.clear()
        await self.stop()

    async def stop(self) -> None:
        """Begin to end."""
        if self._ending:
            return
        self._ending = True
        end_within(self.server.config.daemon.drain_timeout + PLUGIN_STOP_TIMEOUT + HURRY)
        # Not before the answer is on its way.
        self._reactor.callLater(0, self._reactor.stop)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stopped)

    def _stopped(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._finish())

    async def _finish(self) -> None:
        await self.server.stop()
        for service in self.server.services:
            service.listeners.clear()  # their sockets are closed, and cannot be asked
        self._calls.tell("stopped", cut=self._cut, snapshot=self.snapshot())

    async def hurry(self) -> None:
        """Wait for connections no longer."""
        end_within(HURRY)
        self.server.hurry()

    def _orphaned(self) -> None:
        end_within(ORPHANED)
        if not hasattr(self, "server"):
            os._exit(1)
        self.server.hurry()
        Deferred.fromCoroutine(self.stop())
        end_within(ORPHANED)

    # Another configuration.

    async def reload(
        self,
        texts: Texts,
        sockets: Sequence[Any],
        places: Sequence[str],
        descriptors: Sequence[int],
    ) -> dict[str, Any]:
        """Serve another configuration."""
        config = self._take(texts, sockets, places, descriptors)
        self.server.ports_of_others = self._inheritance.datagram_ports
        try:
            await self.server.reload(config)
        except ExceptionGroup as group:
            raise Refused(reasons(group)) from group
        finally:
            self._inheritance.close()
            self._share_places()
        self.set_log_level(config.log.level)
        return {"listening": self._listening()}

    def _take(
        self, texts: Texts, sockets: Sequence[Any], places: Sequence[str], descriptors: Sequence[int]
    ) -> Config:
        """Take the descriptors over, and return this worker's part of the configuration."""
        of_sockets, of_places = descriptors[: len(sockets)], descriptors[len(sockets) :]
        for name, descriptor in zip(places, of_places, strict=True):
            self._take_places(name, descriptor)
        self._inheritance = Inheritance(sockets, of_sockets)
        try:
            self._whole = self._inheritance.placed(_loaded(texts))
            return share(self._whole, self.number, self._workers)
        except BaseException:  # whatever it was, no descriptor stays open
            self._inheritance.close()
            raise

    def _open_socket(self, endpoint: Endpoint, options: SocketOptions) -> BoundSocket:
        return self._inheritance.open_socket(endpoint, options)

    def _take_places(self, name: str, descriptor: int) -> None:
        known = self._places.get(name)
        if known is not None and os.path.samestat(os.fstat(known.descriptor), os.fstat(descriptor)):
            os.close(descriptor)
        else:
            self._places[name] = SharedPlaces(descriptor, self._seat)

    def _share_places(self) -> None:
        """Count together with the other workers; a new service has accepted no peer yet.

        A service that is gone keeps its places until its last connection has ended.
        """
        self._places = {service.name: self._places[service.name] for service in self.server.services}
        for service in self.server.services:
            admission = service.connections.admission
            if not admission.shared:
                admission.share(self._places[service.name])

    def _listening(self) -> list[tuple[str, str, str]]:
        return [
            (service.name, listener.bound.address, listener.protocol)
            for service in self.server.services
            for listener in service.listeners
        ]

    async def set(self, service: str | None, key: str, value: str) -> None:
        """Change one limit; of a rate, this worker has its part."""
        services = [each for each in self.server.services if service in (None, each.name)]
        before = {each.name: each.config.limits for each in services}
        await self._operator.set(service if services else None, key, value)
        for each in services:
            whole = each.config.limits
            part = divided(self._whole.services[each.name], whole, self._workers)
            each.change(before[each.name].model_copy(update={key: getattr(part, key)}))

    # What a LocalOperator needs.

    def snapshot(self, moved: Moved | None = None) -> ProcessSnapshot:
        """Return the status of the server.

        Args:
            moved: bytes of connections, as far as they have been asked already.
        """
        delay = self._watchdog.delay().worst if self._watchdog is not None else 0.0
        dropped = self.log.dropped if self.log is not None else None
        return {**snapshot(self.server, moved, reactor_delay=delay), "log_dropped": dropped}

    def set_log_level(self, level: str) -> None:
        """Write events of this level and above from now on."""
        if self.log is not None:
            self.log.set_level(level)
        self.server.tell_each_connection(level == "debug")

    # The log.

    def _begin_log(self, config: Config, log: str | None) -> None:
        stream: Any = sys.stdout
        if log not in (None, "-"):
            stream = logs.open_file(Path(str(log)))
            self._faults = os.fdopen(open_path(Path(str(log))), "a")
            faulthandler.enable(self._faults)
        self.log = logs.observer(stream, config.log.format, config.log.level)
        globalLogBeginner.beginLoggingTo([self._observe], redirectStandardIO=False)  # type: ignore[list-item]

    def _observe(self, event: LogEvent) -> None:
        """Write an event with the number of the worker, unless the supervisor reports it for all."""
        if self.log is None:
            return
        namespace = str(event.get("log_namespace", ""))
        if namespace == "sockd" or namespace.startswith("sockd."):
            if event.get("log_format") in _FOR_ALL:
                self._cut = event.get("cut", self._cut)
                return
            event = {**event, "worker": self.number}
        self.log(event)


def _loaded(texts: Texts) -> Config:
    try:
        return load_texts(texts, discovery.find)
    except ConfigError as error:
        raise Refused(report(error.faults)) from error


def main() -> None:
    """Run the prepared process; its command line is `DESCRIPTOR [REACTOR]`."""
    die_with_parent()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    faulthandler.enable()
    descriptor, *options = sys.argv[1:]
    sock = socket.socket(fileno=int(descriptor))
    sock.set_inheritable(False)
    reactor, fallback = install_reactor(*options)
    Worker(reactor, sock, fallback)
    reactor.run()


if __name__ == "__main__":  # for supervisors of earlier versions
    startup.prepare()
    main()
