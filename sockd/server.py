"""All services of one process."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from sockd.config import Config
from sockd.deadlines import Deadlines
from sockd.descriptors import Descriptors
from sockd.errors import BindError, PluginError
from sockd.output import Unread
from sockd.service import Service, Shared
from sockd.telemetry.events import ServerEvents

DRAIN_IDLE = 5.0
"""Seconds. A connection on which nothing moves for so long has nothing to finish when the daemon stops."""

PLUGIN_STOP_TIMEOUT = 5.0
"""Seconds that one plugin's `stop` may take."""


class Server:
    """Serves a configuration. Its life: `bind`, `start`, `open`, `stop`.

    Args:
        config: what to serve; its options were validated with the plugins' classes.
        reactor: accepts, reads and keeps the time; its `seconds` should be monotonic.
        fallback: why it is not the fast one, to be told when everything is open.
    """

    def __init__(self, config: Config, reactor: Any, fallback: str = "") -> None:
        self._reactor = reactor
        self._fallback = fallback
        self._events = ServerEvents(reactor.seconds)
        self._patience = config.daemon.drain_timeout
        self._drained: Deferred[None] | None = None  # while the last connections are waited for
        descriptors = Descriptors(reactor, self._hold, self._events.descriptors_short)
        unread = Unread(config.daemon.max_unread_output)
        shared = Shared(Deadlines(reactor), unread, descriptors.accepted)
        self.services = [
            Service(
                service,
                config.daemon.state_dir,
                shared,
                reactor,
                self._emptied,
                each_connection=config.log.level == "debug",
            )
            for service in config.services.values()
        ]

    @property
    def connections(self) -> int:
        """How many are open."""
        return sum(len(service.connections) for service in self.services)

    def bind(self) -> None:
        """Open the sockets of every service; no peer is answered yet.

        Raises:
            ExceptionGroup: of every BindError and PluginError; nothing is left open.
        """
        errors: list[Exception] = []
        for service in self.services:
            try:
                service.bind()
            except (BindError, PluginError) as error:
                errors.append(error)
        if errors:
            self.release()
            raise ExceptionGroup("the daemon cannot start", errors)

    def release(self) -> None:
        """Close every socket of a daemon that does not get to serve."""
        for service in self.services:
            service.release()

    async def start(self) -> None:
        """Let every plugin make itself ready.

        Raises:
            PluginError: one could not.
        """
        for service in self.services:
            await service.start()

    def open(self) -> None:
        """Serve peers."""
        for service in self.services:
            service.open()
        if self._fallback:
            self._events.reactor_fallback(self._fallback)
        listeners = sum(len(service.listeners) for service in self.services)
        self._events.ready(len(self.services), listeners, type(self._reactor).__name__)

    def _hold(self, held: bool) -> None:
        for service in self.services:
            service.hold("descriptors", held)

    async def stop(self) -> None:
        """End in order: accept nothing more, tell the plugins, wait for the connections, cut the rest."""
        for service in self.services:
            await service.close()
        self._events.stopping(self.connections, self._patience)
        for service in self.services:
            service.drain(DRAIN_IDLE)
        await self._drain()
        cut = sum(service.cut() for service in self.services)
        # Aborted connections hear of their end in the next turn of the reactor.
        await deferLater(self._reactor, 0)
        for service in self.services:
            await Deferred.fromCoroutine(service.stop()).addTimeout(PLUGIN_STOP_TIMEOUT, self._reactor)
        self._events.stopped(cut)

    def hurry(self) -> None:
        """Wait for connections no longer, nor begin to."""
        self._patience = 0
        self._end_drain()

    async def _drain(self) -> None:
        if self.connections and self._patience:
            self._drained = Deferred()
            timer = self._reactor.callLater(self._patience, self._end_drain)
            await self._drained
            if timer.active():
                timer.cancel()

    def _emptied(self) -> None:
        if not self.connections:
            self._end_drain()

    def _end_drain(self) -> None:
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)
