"""Service of a table `[service.NAME]`: a plugin instance, its listeners, its limits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from sockd.broker.scope import Core, Scope
from sockd.config import Limits, ServiceConfig
from sockd.config import Listener as ListenerConfig
from sockd.datagram import DatagramPort, Loops
from sockd.endpoint import InetEndpoint
from sockd.errors import BindError, PluginError, in_words
from sockd.limits import Admission, Terms
from sockd.plugin import Context, IDatagramPlugin, IStreamPlugin, Plugin, Replies
from sockd.process.end import PLUGIN_STOP_TIMEOUT
from sockd.serving.drain import Drain
from sockd.serving.listener import DatagramListener, Listener, StreamListener
from sockd.serving.plugin_start import Starts, Unfinished
from sockd.sockets.deadlines import Deadlines
from sockd.sockets.open import BoundSocket, OpenSocket, open_socket
from sockd.sockets.ports import Grant
from sockd.stream.open_connections import OpenConnections
from sockd.stream.unread import Unread
from sockd.stream.waiting import WaitingRoom
from sockd.telemetry.events import ServiceEvents
from sockd.tls.credentials import Credentials, Settings
from sockd.tls.pem import CredentialsFault

PAUSED = "paused"
"""Reason to hold a service that an operator has paused."""

DRAIN_IDLE = 5.0
"""Seconds without a byte after which a connection counts as idle when its service drains."""

DRAIN_SPREAD = 30.0
"""Seconds over which idle connections close, or half of the drain timeout if that is less: not all peers
reconnect at once."""


@dataclass(slots=True)
class Shared:
    """Parts that the services of one process share.

    Attributes:
        deadlines: deadlines of the connections.
        unread: bound on the output that peers leave unread.
        grant: returns the number of connections that may be accepted now.
        open_socket: opens an endpoint, or finds it open.
        loops: guard against loops of datagram ports with other services.
        starts: starts of plugins that are under way.
        broker: way to the same services in other processes.
        starting: called with the plugin that is about to start, in words; empty after the start.
    """

    deadlines: Deadlines
    unread: Unread
    grant: Grant
    loops: Loops
    starts: Starts
    broker: Core
    open_socket: OpenSocket = open_socket
    starting: Callable[[str], None] = lambda words: None  # noqa: ARG005


class Service:
    """Running service. Life: `bind`, `start`, `open`; then `close` and `end`.

    Args:
        config: table of the service.
        state_dir: folder of the daemon, in which the service has a folder of its own.
        shared: parts that it shares with the other services.
        reactor: accepts, reads and keeps the time.
        each_connection: write every connection to the log.
        former: service that this one replaces; counts and limits continue.
    """

    def __init__(
        self,
        config: ServiceConfig,
        state_dir: Path,
        shared: Shared,
        reactor: Any,
        *,
        each_connection: bool,
        former: Service | None = None,
    ) -> None:
        self.name = config.name
        self.config = config
        self.plugin = cast("Plugin", config.options)  # it was validated with the plugin's class
        self.events: ServiceEvents = (
            ServiceEvents(config.name, reactor.seconds, each_connection=each_connection)
            if former is None
            else former.events
        )
        self.listeners: list[Listener] = []
        self._broker = Scope(shared.broker, config.name, self._broker_fault)
        self._context = Context(config.name, reactor, self.events.log, state_dir / config.name, self._broker)
        self._reactor = reactor
        self._shared = shared
        self._drain = Drain(reactor)
        # The places of the former one's connections count until they are given back.
        self._admission: Admission = (
            Admission(Terms.of(config.limits), reactor.seconds)
            if former is None
            else former.connections.admission
        )
        self.connections: OpenConnections = OpenConnections(
            config.limits,
            self._admission,
            self.events,
            shared.deadlines,
            reactor,
            shared.unread,
            self._drain.look,
            former.connections.handshakes if former is not None else None,
        )
        self._holds: set[str] = set()
        self._set_room(config.limits)

    def _set_room(self, limits: Limits) -> None:
        """Let connections wait for a place if `over_limit` is "queue"."""
        room = self.connections.room
        if limits.over_limit == "queue" and room is None:
            self.connections.let_wait(
                WaitingRoom(self._admission, self._reactor, lambda held: self.hold("full", held=held))
            )
        elif limits.over_limit != "queue" and room is not None:
            self.connections.let_wait(None)
            self.hold("full", held=False)

    def bind(self) -> None:
        """Open every socket and build its listener; no peer is answered yet.

        Raises:
            BindError: an endpoint cannot be opened.
            PluginError: the plugin breaks its contract.
        """
        for listener in self.config.listen:
            self.listeners.append(self.build(listener))

    def build(self, listener: ListenerConfig) -> Listener:
        """Return a listener that is not open yet. Raises as `bind`."""
        return (self._stream if listener.endpoint.stream else self._datagrams)(listener)

    def _stream(self, listener: ListenerConfig) -> StreamListener:
        protocol = self._protocol(listener)
        factory = self._built(
            "stream_factory", lambda: IStreamPlugin(self.plugin).stream_factory(protocol, self._context)
        )
        if not IProtocolFactory.providedBy(factory):
            raise self._contract("stream_factory", "a Twisted factory (IProtocolFactory)", factory)
        return StreamListener(
            self._opened(listener),
            listener,
            protocol,
            factory,
            self.connections,
            self._credentials(listener),
            self._shared.grant,
        )

    def _credentials(self, listener: ListenerConfig) -> Credentials | None:
        if listener.tls is None:
            return None
        try:
            return Credentials(Settings.of(listener.tls))
        except CredentialsFault as fault:
            raise BindError(str(listener.endpoint), str(fault), self.name) from fault

    def _datagrams(self, listener: ListenerConfig) -> DatagramListener:
        protocol = self._protocol(listener)
        build = lambda: IDatagramPlugin(self.plugin).datagram_protocol(protocol, self._context)  # noqa: E731
        datagram_protocol = self._built("datagram_protocol", build)
        if not isinstance(datagram_protocol, DatagramProtocol):
            raise self._contract("datagram_protocol", "a DatagramProtocol", datagram_protocol)
        replies = self._built("replies", lambda: getattr(self.plugin, "replies", Replies()))
        if not isinstance(replies, Replies):
            raise self._contract("replies", "sockd.plugin.Replies", replies)
        guard = partial(
            DatagramPort,
            protocol=datagram_protocol,
            admission=self._admission,
            loops=self._shared.loops,
            events=self.events,
            reactor=self._reactor,
        )
        return DatagramListener(
            self._opened(listener), listener, protocol, replies, self._limited(replies), guard
        )

    def _protocol(self, listener: ListenerConfig) -> str:
        return listener.protocol or next(iter(self.plugin.protocols))

    def _opened(self, listener: ListenerConfig) -> BoundSocket:
        try:
            return self._shared.open_socket(listener.endpoint, listener.socket)
        except BindError as error:
            raise BindError(error.endpoint, error.reason, self.name) from error

    def _built(self, what: str, build: Callable[[], Any]) -> Any:
        try:
            return build()
        except PluginError as error:
            raise PluginError(f"service '{self.name}': {error}") from error
        except BaseException as error:  # a plugin may raise anything; its author has to see where
            raise PluginError(
                f"service '{self.name}': plugin '{self.config.plugin}' failed in {what}: {in_words(error)}"
            ) from error

    def _contract(self, what: str, expected: str, found: object) -> PluginError:
        return PluginError(
            f"service '{self.name}': plugin '{self.config.plugin}' broke its contract:"
            f" {what} gave {type(found).__name__}, expected {expected}"
        )

    def _limited(self, replies: Replies) -> Replies:
        """Return the bounds on replies: the plugin's, or those of the configuration."""
        limits = self.config.limits
        if limits.max_amplification is not None:
            replies = replace(replies, factor=limits.max_amplification)
        if limits.reply_floor is not None:
            replies = replace(replies, floor=limits.reply_floor)
        return replies

    def release(self) -> None:
        """Close the sockets of a service that will not serve."""
        for listener in self.listeners:
            listener.bound.close()

    async def start(self, within: float, blocking: float) -> None:
        """Start the plugin.

        Args:
            within: seconds for the start.
            blocking: seconds for which one step may block the reactor.

        Raises:
            PluginError: the plugin cannot start.
        """
        who = f"service '{self.name}': plugin '{self.config.plugin}'"
        self._shared.starting(who)
        try:
            await self._shared.starts.run(partial(self.plugin.start, self._context), within, blocking)
        except Unfinished as error:
            raise PluginError(f"{who} cannot start: {error}") from error
        except BaseException as error:  # SystemExit too: the start of the daemon must say what it was
            raise PluginError(f"{who} cannot start: {in_words(error)}") from error
        finally:
            self._shared.starting("")
        try:
            self.begin(self.listeners)
        except PluginError:
            await self.end(0)
            raise

    def begin(self, listeners: Iterable[Listener]) -> None:
        """Start the factories of listeners that open next.

        Raises:
            PluginError: a factory cannot start.
        """
        for listener in listeners:
            self._built("startFactory", listener.begin)

    @property
    def datagram_ports(self) -> Iterator[int]:
        """UDP ports of the service."""
        for listener in self.listeners:
            if isinstance(listener, DatagramListener) and isinstance(listener.bound.endpoint, InetEndpoint):
                yield listener.bound.socket.getsockname()[1]

    def open(self) -> None:
        """Serve peers."""
        self._admission.change(Terms.of(self.config.limits))
        self.connections.handshakes.change(self.config.limits.handshake_rate)
        for listener in self.listeners:
            self._open(listener)

    def _open(self, listener: Listener) -> None:
        listener.open(self._reactor)
        for why in self._holds:
            listener.hold(why, held=True)
        self.events.listening(listener.bound.address, listener.protocol)

    def hold(self, why: str, *, held: bool) -> None:
        """Hold the listeners for this reason, or release them."""
        (self._holds.add if held else self._holds.discard)(why)
        for listener in self.listeners:
            listener.hold(why, held=held)

    @property
    def state(self) -> str:
        """State of accepting: `open`, `paused` by an operator, or `draining`."""
        return "draining" if self._drain.begun else "paused" if PAUSED in self._holds else "open"

    @property
    def lost(self) -> bool:
        """Tell whether a UNIX socket of the service has lost its path."""
        return any(listener.bound.lost for listener in self.listeners)

    # Changes while it runs.

    def refresh_credentials(self) -> None:
        """Use new certificates for new peers where the files have changed."""
        for listener in self.listeners:
            credentials = listener.credentials if isinstance(listener, StreamListener) else None
            if credentials is not None:
                try:
                    if credentials.refresh():
                        self.events.certificates_loaded(listener.bound.address)
                except CredentialsFault as fault:
                    self.events.certificates_faulty(listener.bound.address, str(fault))

    def change(self, limits: Limits) -> None:
        """Apply other limits, to open connections too."""
        self.config = replace(self.config, limits=limits)
        self._set_room(limits)
        self._admission.change(Terms.of(limits))
        self.connections.change(limits)
        for listener in self.listeners:
            if isinstance(listener, DatagramListener):
                listener.allow(self._limited(listener.declared))

    async def change_listeners(self, config: ServiceConfig, new: Sequence[Listener]) -> None:
        """Serve the listeners of another configuration: the new ones, and those that are in both."""
        kept = [
            listener
            for listener in self.listeners
            if listener.config in config.listen and not listener.bound.lost
        ]
        gone = [listener for listener in self.listeners if listener not in kept]
        taken = {listener.bound for listener in new}
        for listener in gone:
            await listener.close(keep=listener.bound in taken)
        self.listeners = [*kept, *new]
        self.config = replace(self.config, listen=config.listen)
        for listener in new:
            self._open(listener)

    async def close(self, taken: Collection[BoundSocket] = (), *, last: bool = False) -> None:
        """Accept no more.

        Args:
            taken: sockets that another service has taken over, and that stay open.
            last: whether the daemon ends, so that nobody else needs an address: datagram ports end what they
                have begun.
        """
        closing, self.listeners = self.listeners, []
        for listener in closing:
            if not (last and isinstance(listener, DatagramListener) and self._drain.keep(listener)):
                await listener.close(keep=listener.bound in taken)

    async def end(self, patience: float) -> int:
        """Drain for at most so many seconds, stop the plugin, return the number of aborted connections."""
        for listener in self.listeners:  # only a service that does not serve still has some
            listener.abandon()
        try:
            self.plugin.drain()
        except BaseException:  # the service ends, whatever a plugin raises
            self.events.plugin_fault("drain", Failure())
        self.connections.drain(DRAIN_IDLE, min(DRAIN_SPREAD, patience / 2))
        await self._drain.wait(self.connections, patience)
        cut = self.connections.cut("drain timeout")
        # Aborted connections hear of their end in the next turn of the reactor.
        await deferLater(self._reactor, 0)
        await self._stop()
        return cut

    def hurry(self) -> None:
        """End the wait for connections, also one that has not begun."""
        self._drain.hurry()

    async def _stop(self) -> None:
        try:
            await Deferred.fromCoroutine(self._stopped()).addTimeout(PLUGIN_STOP_TIMEOUT, self._reactor)
        except BaseException:  # as above
            self.events.plugin_fault("stop", Failure())
        self._broker.close()

    def _broker_fault(self) -> None:
        self.events.plugin_fault("broker", Failure())

    async def _stopped(self) -> None:
        if isawaitable(stopping := self.plugin.stop()):
            await stopping
