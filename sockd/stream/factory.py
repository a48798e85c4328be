"""Factory of a listener's connections: what the reactor calls for each stream that it accepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.interfaces import IAddress, IFileDescriptorReceiver, IProtocol, IProtocolFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.stream.connection import Connection
from sockd.stream.layers import Arrival, Layer
from sockd.stream.open_connections import OpenConnections
from sockd.stream.passing import ReceivingConnection
from sockd.stream.refusal import turn_away
from sockd.stream.waiting import TOTALS, Waiting


@implementer(IProtocolFactory)
class ConnectionFactory:
    """Factory that puts the shell around each protocol that a plugin's factory builds for one listener.

    Args:
        plugin_factory: the plugin's, already started.
        connections: open connections of the service.
        layers: what stands between accepted streams and their protocols, outermost first; with none, a stream
            takes its place and gets its connection at once.
        over_tcp: whether the kernel counts the bytes of each stream and knows when they last moved.
    """

    noisy = False

    def __init__(
        self,
        plugin_factory: IProtocolFactory,
        connections: OpenConnections,
        layers: Sequence[Layer] = (),
        *,
        over_tcp: bool = False,
    ) -> None:
        self.connections = connections
        self._plugin_factory = plugin_factory
        self._layers = layers
        self._encrypts = any(layer.encrypts for layer in layers)
        self._over_tcp = over_tcp

    def doStart(self) -> None:
        """Do nothing: the plugin's factory was started before the listener opened, since that can fail."""

    def doStop(self) -> None:
        """Stop the plugin's factory, as the listener is closed."""
        stop_factory(self._plugin_factory, self.connections)

    def buildProtocol(self, address: IAddress) -> IProtocol | None:
        """Return what serves a peer; None, upon which the reactor closes its socket."""
        if self._layers:
            return Arrival(self, address, self._layers).go_on()
        host = getattr(address, "host", None)
        if reason := self.connections.take_place(host):
            return self.let_wait(address, reason, partial(self.buildProtocol, address))
        return self.build(address, host)

    # What a stream on its way in calls.

    def build(self, address: IAddress, host: str | None) -> Connection | None:
        """Return the connection of a peer with a place for `host`; None, and no place, if there is none."""
        connections = self.connections
        try:
            protocol = self._plugin_factory.buildProtocol(address)
        except BaseException:  # the accept loop must go on, whatever a plugin raises
            connections.events.plugin_fault("buildProtocol", Failure(), address)
            protocol = None
        else:
            if protocol is None:
                connections.events.refused(address, "plugin")
        if protocol is None:
            connections.leave(host)
            return None
        receives = not self._over_tcp and IFileDescriptorReceiver.providedBy(protocol)
        kind = ReceivingConnection if receives else Connection
        return kind(protocol, connections.context, address, host=host, over_tcp=self._over_tcp)

    def let_wait(
        self, address: IAddress, reason: str, again: Callable[[], IProtocol | None]
    ) -> IProtocol | None:
        """Return what serves a peer that has no place: until `again` is called, if it may wait for one."""
        room = self.connections.room
        if room is not None and reason in TOTALS:
            return Waiting(room, again)
        return self.turn_away(address, reason)

    def turn_away(self, address: IAddress, reason: str) -> IProtocol | None:
        """Return what serves a peer that is over a limit; None closes it."""
        return turn_away(self.connections, address, reason, encrypts=self._encrypts)


def stop_factory(factory: IProtocolFactory, connections: OpenConnections) -> None:
    """Stop a plugin's factory, whatever it raises."""
    try:
        factory.doStop()
    except BaseException:  # the listener is closed all the same
        connections.events.plugin_fault("stopFactory", Failure())
