"""All services of one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import chain
from random import sample
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from sockd.config import Config, ServiceConfig
from sockd.config.plan import Plan, plan
from sockd.datagram import Loops
from sockd.errors import BindError, PluginError
from sockd.serving.broker import open_broker
from sockd.serving.listener import Listener
from sockd.serving.plugin_start import BLOCKED_AT_RELOAD, Starts
from sockd.serving.reuse import Sockets
from sockd.serving.service import PAUSED, Service, Shared
from sockd.sockets.deadlines import Deadlines
from sockd.sockets.descriptors import Descriptors
from sockd.sockets.open import OpenSocket, open_socket
from sockd.stream.unread import Unread
from sockd.telemetry.events import ServerEvents

LOOK_AT, SPARED = 64, 16
"""Connections that are sampled when descriptors are short, and the number of them that are closed at once."""

IDLE = 5.0
"""Seconds for which a connection that is closed for its descriptor was idle, at least."""

CERTIFICATES_EVERY = 5.0
"""Seconds between two checks for changed files of certificates."""


class Server:
    """Services of a configuration. Life: `bind`, `start`, `open`, `stop`; `reload` between the last two.

    Args:
        config: configuration, whose options were validated with the classes of the plugins.
        reactor: accepts, reads and keeps the time; its `seconds` should be monotonic.
        fallback: reason for which the reactor is not the fast one, for the log; empty if it is.
        open_socket: opens an endpoint, or finds it open already.
    """

    def __init__(
        self, config: Config, reactor: Any, fallback: str = "", open_socket: OpenSocket = open_socket
    ) -> None:
        self.config = config
        self.state = "starting"
        self.reactor = reactor
        self.ports_of_others: Iterable[int] = ()  # of UDP, which other processes of the daemon serve
        self._fallback = fallback
        self._open_socket = open_socket
        self._events = ServerEvents(reactor.seconds)
        self.started = time.time()
        self._each_connection = config.log.level == "debug"
        self.descriptors = Descriptors(reactor, self._hold, self._events.descriptors_short, self._relieve)
        self._unread = Unread(config.daemon.max_unread_output)
        self.broker = open_broker(config.broker, reactor, self._events)
        self._shared = Shared(
            Deadlines(reactor),
            self._unread,
            self.descriptors.grant,
            Loops(reactor.seconds),
            Starts(reactor),
            self.broker,
        )
        self._ending: dict[Service, Deferred[int]] = {}  # services that finish, and how many they cut
        self._services: dict[str, Service] = {}
        self._services = {name: self._service(service) for name, service in config.services.items()}

    def _service(self, config: ServiceConfig) -> Service:
        of_that_name = [service for service in self.all_services if service.name == config.name]
        return Service(
            config,
            self.config.daemon.state_dir,
            self._shared,
            self.reactor,
            each_connection=self._each_connection,
            former=of_that_name[0] if of_that_name else None,
        )

    @property
    def services(self) -> list[Service]:
        """Services that accept new peers."""
        return list(self._services.values())

    @property
    def all_services(self) -> list[Service]:
        """Services that accept new peers, and those that drain."""
        return list(dict.fromkeys((*self._services.values(), *self._ending)))

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return sum(len(service.connections) for service in self.all_services)

    def service(self, name: str) -> Service:
        """Return the service of this name.

        Raises:
            KeyError: there is no such service.
        """
        return self._services[name]

    # The start.

    def bind(self) -> None:
        """Open the sockets of every service; no peer is answered yet.

        Raises:
            ExceptionGroup: of every BindError and PluginError; nothing is left open.
        """
        sockets = Sockets((), self._open_socket)
        self._bind(self.services, sockets, "the daemon cannot start")

    def _bind(self, services: Iterable[Service], sockets: Sockets, failed: str) -> None:
        self._shared.open_socket = sockets.open
        errors: list[Exception] = []
        for service in services:
            try:
                service.bind()
            except (BindError, PluginError) as error:
                errors.append(error)
        if errors:
            sockets.give_up()
            raise ExceptionGroup(failed, errors)

    def release(self) -> None:
        """Close every socket of a daemon that cannot serve."""
        for service in self.services:
            service.release()

    async def start(self, blocking: float | None = None) -> None:
        """Start every plugin.

        Args:
            blocking: seconds for which a plugin may block the reactor; None for its whole time.

        Raises:
            PluginError: a plugin cannot start; those that were started before are stopped.
        """
        within = self.config.daemon.start_timeout
        self.broker.start()
        await _start(self.services, within, within if blocking is None else min(within, blocking))

    async def unstart(self) -> None:
        """Stop the plugins of a daemon that has not served."""
        await _stop(self.services)
        await self.broker.stop()

    def give_up_starts(self, reason: str) -> None:
        """End the starts of plugins that wait; a reload that waits for them is refused."""
        self._shared.starts.give_up(reason)

    def starting(self, told: Callable[[str], None]) -> None:
        """Have `told` called with a text before each start of a plugin, and with an empty one after it."""
        self._shared.starting = told

    def open(self) -> None:
        """Serve peers."""
        self._know_own_ports()
        for service in self.services:
            service.open()
        if self._fallback:
            self._events.reactor_fallback(self._fallback)
        self.state = "ready"
        listeners = sum(len(service.listeners) for service in self.services)
        self._events.ready(len(self.services), listeners, type(self.reactor).__name__)
        self._look_at_certificates()

    def _know_own_ports(self, *more: Service) -> None:
        """Collect the ports from which no datagram is answered."""
        services = (*self.services, *more)
        self._shared.loops.know_own(
            {*self.ports_of_others}.union(*(each.datagram_ports for each in services))
        )

    def _look_at_certificates(self) -> None:
        for service in self.services:
            service.refresh_credentials()
        if self.state == "ready":
            self._certificates = self.reactor.callLater(CERTIFICATES_EVERY, self._look_at_certificates)

    def _hold(self, *, held: bool) -> None:
        for service in self.services:
            service.hold("descriptors", held=held)

    def _relieve(self) -> None:
        """Close sockets that only linger, and of a sample of connections the longest idle ones."""
        for service in self.all_services:
            service.connections.context.lingering.close_all()
        every = [connection for service in self.all_services for connection in service.connections]
        looked_at = sample(every, min(len(every), LOOK_AT))
        quiet = sorted(looked_at, key=lambda connection: connection.quiet_for(), reverse=True)
        for connection in quiet[:SPARED]:
            if connection.quiet_for() >= IDLE:
                connection.end("descriptors")

    # Another configuration.

    def plan(self, config: Config) -> Plan:
        """Return what `reload` would do."""
        return plan(self.config, config, [service.name for service in self.services if service.lost])

    async def reload(self, config: Config) -> Plan:
        """Serve another configuration, and change only the services that differ.

        All steps that can fail come first, beside the running services.

        Raises:
            ExceptionGroup: every BindError and PluginError; nothing has changed.
        """
        todo = self.plan(config)
        sockets = Sockets(self._listeners_to_change(todo, config), self._open_socket)
        new = {name: self._service(config.services[name]) for name in (*todo.restart, *todo.add)}
        self._bind(new.values(), sockets, "the configuration cannot be served")
        listeners = self._new_listeners(todo, config, sockets)
        await self._start_new(new.values(), listeners, sockets, config.daemon.start_timeout)

        self.config = config
        self._unread.change(config.daemon.max_unread_output)
        for name in (*todo.restart, *todo.remove):
            old = self._services.pop(name)
            if name in new and old.state == PAUSED:
                new[name].hold(PAUSED, held=True)
            await old.close(sockets.taken)
            self._end(old)
        for name in (*todo.limits, *todo.listeners, *todo.keep):
            service = self._services[name]
            if name in listeners:
                await service.change_listeners(config.services[name], listeners[name])
            if service.config.limits != config.services[name].limits:
                service.change(config.services[name].limits)
        self._know_own_ports(*new.values())
        for name, service in new.items():
            service.open()
            self._services[name] = service
            for former in self._ending:
                if former.name == name:
                    former.connections.hand_places_to(service.connections)
        self._services = {name: self._services[name] for name in config.services}
        for service in self.services:
            service.refresh_credentials()
        self._events.reloaded(todo.as_dict())
        return todo

    def tell_each_connection(self, wanted: bool) -> None:
        """Write every connection to the log, or none."""
        self._each_connection = wanted
        for service in self.all_services:
            service.events.each_connection = wanted

    def _listeners_to_change(self, todo: Plan, config: Config) -> list[Listener]:
        """Return the listeners whose sockets are free for others at the change."""
        changing = [*todo.restart, *todo.remove, *todo.listeners]
        return [
            listener
            for name in changing
            for listener in self._services[name].listeners
            if name not in todo.listeners
            or listener.bound.lost
            or listener.config not in config.services[name].listen
        ]

    def _new_listeners(self, todo: Plan, config: Config, sockets: Sockets) -> dict[str, list[Listener]]:
        """Return the new listeners of services that only change their ports."""
        errors: list[Exception] = []
        new: dict[str, list[Listener]] = {}
        for name in todo.listeners:
            service = self._services[name]
            served = [listener.config for listener in service.listeners if not listener.bound.lost]
            try:
                new[name] = [
                    service.build(listener)
                    for listener in config.services[name].listen
                    if listener not in served
                ]
            except (BindError, PluginError) as error:
                errors.append(error)
        if errors:
            sockets.give_up()
            raise ExceptionGroup("the configuration cannot be served", errors)
        return new

    async def _start_new(
        self,
        services: Iterable[Service],
        listeners: dict[str, list[Listener]],
        sockets: Sockets,
        within: float,
    ) -> None:
        new = list(services)
        try:
            for name, more in listeners.items():
                self._services[name].begin(more)
            await _start(new, within, min(within, BLOCKED_AT_RELOAD))
            if self.state == "stopping":
                await _stop(new)
                raise PluginError("the daemon has been told to stop meanwhile")
        except PluginError as error:
            for listener in chain.from_iterable(listeners.values()):
                listener.abandon()
            sockets.give_up()
            raise ExceptionGroup("the configuration cannot be served", [error]) from error

    def _end(self, service: Service) -> Deferred[int]:
        """Let a service drain beside the others."""
        ending = Deferred.fromCoroutine(service.end(self.config.daemon.drain_timeout))
        self._ending[service] = ending
        return ending.addBoth(self._ended, service)

    def _ended(self, cut: Any, service: Service) -> Any:
        self._ending.pop(service, None)
        admission = service.connections.admission
        if not any(other.connections.admission is admission for other in self.all_services):
            admission.leave()
        return cut

    # The end.

    async def stop(self) -> None:
        """Stop in order: accept no more, tell the plugins, wait for the connections, abort the others."""
        if self.state == "ready":
            self._certificates.cancel()
        self.state = "stopping"
        for service in self.services:
            await service.close(last=True)
        self._events.stopping(self.connections, self.config.daemon.drain_timeout)
        cut = sum(await self._all_ended())
        await self.broker.stop()
        self._events.stopped(cut)

    def _all_ended(self) -> Deferred[list[int]]:
        before = list(self._ending.values())
        return gatherResults([*before, *(self._end(service) for service in self.services)])

    def hurry(self) -> None:
        """End the wait for connections, also one that has not begun."""
        for service in self.all_services:
            service.hurry()


async def _start(services: Iterable[Service], within: float, blocking: float) -> None:
    """Start the services one after the other. If one fails, stop those before it."""
    started: list[Service] = []
    try:
        for service in services:
            await service.start(within, blocking)
            started.append(service)
    except PluginError:
        await _stop(started)
        raise


async def _stop(services: Iterable[Service]) -> None:
    """Stop plugins that have started and will not serve."""
    for service in services:
        await service.end(0)
