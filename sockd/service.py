"""One `[service.NAME]`: a plugin instance, its listeners, its limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from inspect import isawaitable
from pathlib import Path
from typing import Any, cast

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from sockd.config import Listener as ListenerConfig
from sockd.config import ServiceConfig
from sockd.connections import Connections
from sockd.deadlines import Deadlines
from sockd.errors import BindError, PluginError, raised_at
from sockd.limits import Admission
from sockd.listener import DatagramListener, Listener, StreamListener
from sockd.plugin import Context, IDatagramPlugin, IStreamPlugin, Plugin, Replies
from sockd.sockets import open_socket
from sockd.telemetry.events import ServiceEvents


class Service:
    """Everything that one service consists of while it runs.

    Its life: `bind`, `start`, `open`; then `close`, `drain`, `cut`, `stop`.

    Args:
        config: its table.
        state_dir: the daemon's; the service has a folder of its own in it.
        deadlines: where its connections wait.
        own_ports: ports on which the daemon receives datagrams.
        reactor: accepts, reads and keeps the time.
        emptied: called when its last connection is gone.
        each_connection: whether every connection is written to the log.
    """

    def __init__(
        self,
        config: ServiceConfig,
        state_dir: Path,
        deadlines: Deadlines,
        own_ports: set[int],
        reactor: Any,
        emptied: Callable[[], None],
        *,
        each_connection: bool,
    ) -> None:
        self.name = config.name
        self.config = config
        self.plugin = cast("Plugin", config.options)  # it was validated with the plugin's class
        self.events = ServiceEvents(config.name, reactor.seconds, each_connection=each_connection)
        self.listeners: list[Listener] = []
        self._context = Context(config.name, reactor, self.events.log, state_dir / config.name)
        self._reactor = reactor
        self._own_ports = own_ports
        self.connections = Connections(
            config.limits,
            Admission(config.limits.max_connections),
            self.events,
            deadlines,
            reactor.seconds,
            emptied,
        )

    def bind(self) -> None:
        """Open every socket and build what serves it; no peer is answered yet.

        Raises:
            BindError: an endpoint cannot be opened.
            PluginError: the plugin breaks its contract.
        """
        for listener in self.config.listen:
            serve = self._stream if listener.endpoint.stream else self._datagrams
            self.listeners.append(serve(listener))

    def _stream(self, listener: ListenerConfig) -> StreamListener:
        protocol = self._protocol(listener)
        factory = self._built(
            "stream_factory", lambda: IStreamPlugin(self.plugin).stream_factory(protocol, self._context)
        )
        if not IProtocolFactory.providedBy(factory):
            raise self._contract("stream_factory", "a Twisted factory (IProtocolFactory)", factory)
        options = listener.socket
        # uvloop turns TCP_NODELAY on for every stream; what is written in the configuration counts.
        stock = options.stock or not options.no_delay
        return StreamListener(self._opened(listener), protocol, factory, self.connections, stock)

    def _datagrams(self, listener: ListenerConfig) -> DatagramListener:
        protocol = self._protocol(listener)
        build = lambda: IDatagramPlugin(self.plugin).datagram_protocol(protocol, self._context)  # noqa: E731
        datagram_protocol = self._built("datagram_protocol", build)
        if not isinstance(datagram_protocol, DatagramProtocol):
            raise self._contract("datagram_protocol", "a DatagramProtocol", datagram_protocol)
        replies = self._built("replies", lambda: IDatagramPlugin(self.plugin).replies)
        if not isinstance(replies, Replies):
            raise self._contract("replies", "sockd.plugin.Replies", replies)
        return DatagramListener(
            self._opened(listener),
            protocol,
            datagram_protocol,
            self._limited(replies),
            self._own_ports,
            self.events,
        )

    def _protocol(self, listener: ListenerConfig) -> str:
        return listener.protocol or self.plugin.protocols[0]

    def _opened(self, listener: ListenerConfig) -> Any:
        try:
            return open_socket(listener.endpoint, listener.socket)
        except BindError as error:
            raise BindError(error.endpoint, error.reason, self.name) from error

    def _built(self, what: str, build: Callable[[], Any]) -> Any:
        try:
            return build()
        except PluginError as error:
            raise PluginError(f"service '{self.name}': {error}") from error
        except Exception as error:  # a plugin may raise anything; its author has to see where
            raise PluginError(
                f"service '{self.name}': plugin '{self.config.plugin}' failed in {what}:"
                f" {type(error).__name__}: {error}{raised_at(error)}"
            ) from error

    def _contract(self, what: str, expected: str, found: object) -> PluginError:
        return PluginError(
            f"service '{self.name}': plugin '{self.config.plugin}' broke its contract:"
            f" {what} gave {type(found).__name__}, expected {expected}"
        )

    def _limited(self, replies: Replies) -> Replies:
        """What the plugin says about replies, unless the configuration says otherwise."""
        limits = self.config.limits
        if limits.max_amplification is not None:
            replies = replace(replies, factor=limits.max_amplification)
        if limits.reply_floor is not None:
            replies = replace(replies, floor=limits.reply_floor)
        return replies

    def release(self) -> None:
        """Close the sockets of a service that does not get to serve."""
        for listener in self.listeners:
            listener.bound.close()

    async def start(self) -> None:
        """Let the plugin make itself ready.

        Raises:
            PluginError: it could not.
        """
        try:
            await _finished(self.plugin.start(self._context))
        except Exception as error:  # a plugin may raise anything; the start of the daemon must say what
            raise PluginError(
                f"service '{self.name}': plugin '{self.config.plugin}' cannot start:"
                f" {type(error).__name__}: {error}{raised_at(error)}"
            ) from error

    def open(self) -> None:
        """Serve peers."""
        for listener in self.listeners:
            listener.open(self._reactor)
            self.events.listening(listener.bound.address, listener.protocol)

    async def close(self) -> None:
        """Accept nothing more."""
        for listener in self.listeners:
            await listener.close()

    def drain(self, idle_timeout: float) -> None:
        """The end is near: tell the plugin, and let connections go that are idle for this many seconds."""
        try:
            self.plugin.drain()
        except Exception:  # the end comes, whatever a plugin raises
            self.events.plugin_fault("drain", Failure())
        self.connections.drain(idle_timeout)

    def cut(self) -> int:
        """Abort what is still open; returns how many."""
        return self.connections.cut("drain timeout")

    async def stop(self) -> None:
        """Let the plugin finish."""
        try:
            await _finished(self.plugin.stop())
        except Exception:  # the end comes, whatever a plugin raises
            self.events.plugin_fault("stop", Failure())


async def _finished(result: Awaitable[None] | None) -> None:
    if isawaitable(result):
        await result
