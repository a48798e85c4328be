"""Layers of a listener behind proxies: who may send a PROXY header, and the header itself."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.config import ProxyProtocol
from sockd.stream import proxy
from sockd.stream.layers import Arrival


class ProxyTrust:
    """Layer that tells proxies from strangers by the socket's address, before a place is taken.

    Args:
        config: who is trusted, and what becomes of the others.
    """

    encrypts = False

    def __init__(self, config: ProxyProtocol) -> None:
        self._trusted = config.trust
        self._required = config.mode == "require"

    def enter(self, arrival: Arrival) -> IProtocol | None:
        """Hide a trusted proxy's stream until its header is read; refuse a stranger's, or let it go on."""
        if isinstance(arrival.address, UNIXAddress) or (
            arrival.host is not None and arrival.host in self._trusted
        ):
            arrival.hide_behind_proxy()
        elif self._required:
            arrival.connections.events.refused(arrival.address, "proxy not trusted")
            return None
        return arrival.go_on()


class ProxyHeader:
    """Layer that reads the header of each stream that a trusted proxy relays.

    Args:
        config: whether the header may be left out.
    """

    encrypts = False

    def __init__(self, config: ProxyProtocol) -> None:
        self._required = config.mode == "require"

    def enter(self, arrival: Arrival) -> IProtocol | None:
        """Return what reads the header, if there is one to come."""
        return HeaderReader(arrival, required=self._required) if arrival.proxied else arrival.go_on()


@implementer(IProtocol)
class HeaderReader:
    """Protocol of one stream whose header has yet to come.

    Args:
        arrival: the stream.
        required: whether it is refused without a header.
    """

    factory: Factory | None = None
    is_shaking = False

    __slots__ = ("_arrival", "_held", "_required", "_transport")

    def __init__(self, arrival: Arrival, *, required: bool) -> None:
        self._arrival = arrival
        self._required = required
        self._held = b""
        self._transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        """Wait for the header, for `header_timeout`."""
        self._transport = transport
        self._arrival.begin(self, transport)
        self._arrival.wait(self._arrival.connections.context.limits.header_timeout)

    def connectionMade(self) -> None:
        """Do nothing: `makeConnection` is called instead."""

    def dataReceived(self, data: bytes) -> None:
        """Collect the header and what follows it."""
        self._held += data
        self._arrival.heard()
        try:
            if not self._required and proxy.looks_like_header(self._held) is False:
                self._identify(None, 0)
            elif (header := proxy.parse(self._held)) is not None:
                self._identify(header.source, header.length)
        except proxy.HeaderFault as fault:
            self._arrival.refuse(fault.reason)

    def _identify(self, source: IAddress | None, length: int) -> None:
        """Pass the stream on, now that it is known who the client is: without a source, the proxy itself."""
        arrival = self._arrival
        if source is not None:
            host = getattr(source, "host", None)
            reason = arrival.connections.admission.identify(host) if host is not None else None
            if reason:
                arrival.identify(source, None)
                arrival.turn_away(reason)
                return
            arrival.identify(source, host)
        rest, self._held = self._held[length:], b""
        arrival.pass_on(self._transport, rest)

    def deadline_passed(self) -> None:
        """Refuse a stream without its header; serve a peer that need not send one and waits for us."""
        if not self._required and proxy.looks_like_header(self._held) is None:
            self._identify(None, 0)
        else:
            self._arrival.refuse("proxy header timeout")

    def leave(self, failure: str) -> None:
        """Do nothing: the stream is counted nowhere else."""

    def connectionLost(self, reason: Failure) -> None:  # noqa: ARG002  # as IProtocol has it
        """Give back the place of a peer that has gone before it came in."""
        self._arrival.fail("peer closed")

    def logPrefix(self) -> str:
        """Return the name for Twisted's log."""
        return type(self).__name__
