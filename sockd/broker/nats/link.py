"""Link to a cluster: one connection at a time, and after its end the next server, sooner or later."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.ssl import (
    Certificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.python.failure import Failure

from sockd.broker.nats.connection import MOST_REASON, Connection, Greeting, Owner
from sockd.config import Key, Server, read_certificate, server_of
from sockd.errors import ValueFault
from sockd.text import printable

CONNECT = 2.0
"""Seconds for a TCP connection to a server."""

WAIT, LONGEST_WAIT = 0.1, 2.0
"""Seconds to wait after every server was tried: the first time, and at most; each time it is doubled."""

MOST_SERVERS = 64
"""Servers that are remembered, of those that a cluster tells."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Proof of who this client is, and whom it trusts.

    Attributes:
        user: name; empty without.
        password: of the user.
        token: in place of a user.
        key: in place of both.
        ca: certificates that servers must have been signed by, in PEM; None for those of the system.
        certificate: certificate of this client and its key, in PEM; None without.
    """

    user: str = ""
    password: str = ""
    token: str = ""
    key: Key | None = None
    ca: bytes | None = None
    certificate: str | None = None

    def connect(self, nonce: str) -> dict[str, str]:
        """Return the keys of CONNECT."""
        found: dict[str, str] = {}
        if self.user:
            found |= {"user": self.user, "pass": self.password}
        if self.token:
            found["auth_token"] = self.token
        if self.key is not None and nonce:
            found |= self.key.answer(nonce)
        return found

    def tls(self, host: str) -> Any:
        """Return the context of TLS for a host, whose certificate must be valid for it."""
        own = {}
        if self.certificate is not None:
            certificate, key = read_certificate(self.certificate)
            own = {"certificate": certificate, "privateKey": key}
        roots = None
        if self.ca is not None:
            pieces = self.ca.split(b"-----BEGIN CERTIFICATE-----")[1:]
            roots = trustRootFromCertificates(
                [Certificate.loadPEM(b"-----BEGIN CERTIFICATE-----" + piece) for piece in pieces]
            )
        return optionsForClientTLS(host, trustRoot=roots, extraCertificateOptions=own)


class Link:
    """Connection to one server of a cluster.

    Args:
        servers: to begin with; the cluster tells the others.
        identity: proof of who this client is.
        owner: told of each connection and its end.
        reactor: connects, and keeps the time.
        tell: told of each try that has failed, in words.
    """

    def __init__(
        self,
        servers: Iterable[Server],
        identity: Identity,
        owner: Owner,
        reactor: Any,
        tell: Callable[[str], None],
    ) -> None:
        self.server: Server | None = None
        self._configured = list(servers)
        self._told: list[Server] = []
        self._identity = identity
        self._owner = owner
        self._reactor = reactor
        self._tell = tell
        self._todo: list[Server] = []
        self._wait = WAIT
        self._stopped = True
        self._connecting: Deferred[Connection] | None = None
        self._later: IDelayedCall | None = None
        self._connection: Connection | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._stopped = False
        self._todo = self._round()
        self._next()

    def stop(self) -> None:
        """Disconnect, and try no more."""
        self._stopped = True
        if self._later is not None and self._later.active():
            self._later.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abort("the daemon stops")

    # Owner of the connection.

    def connected(self, connection: Connection) -> None:
        """Pass a connection on, once its server has accepted the client."""
        self._wait = WAIT
        self._learn(connection)
        self._owner.connected(connection)

    def lost(self, connection: Connection, reason: str) -> None:
        """Try the next server."""
        if self._connection is not connection:
            return
        self._learn(connection)
        was_open, where = self.server is not None, self.server
        self._connection = self.server = None
        self._owner.lost(connection, f"{where}: {reason}" if was_open else reason)
        if not self._stopped:
            self._todo = [*(each for each in self._round() if each != where), *([where] if where else [])]
            self._again(self._wait)  # a server that refuses us must not be asked without a pause

    def _learn(self, connection: Connection) -> None:
        """Remember the servers that the cluster tells of."""
        urls = connection.info.get("connect_urls")
        tls = self.server.tls if self.server is not None else False
        told = []
        for url in urls[:MOST_SERVERS] if isinstance(urls, list) else ():
            with suppress(ValueFault):
                told.append(server_of(f"{'tls' if tls else 'nats'}://{url}"))
        self._told = told or self._told

    def _round(self) -> list[Server]:
        """Return every server, in any order."""
        known = {(each.host, each.port) for each in self._configured}
        servers = [*self._configured, *(each for each in self._told if (each.host, each.port) not in known)]
        random.shuffle(servers)
        return servers

    def _again(self, wait: float) -> None:
        self._wait = min(LONGEST_WAIT, self._wait * 2)
        self._later = self._reactor.callLater(wait * random.uniform(0.5, 1), self._next)  # noqa: S311  # no secret

    def _next(self) -> None:
        self._later = None
        if not self._todo:
            self._todo = self._round()
            self._again(self._wait)
            return
        server = self._todo.pop(0)
        self.server = server
        greeting = Greeting(self._identity.connect, partial(self._identity.tls, server.host), server.tls)
        connection = Connection(greeting, self, self._reactor)
        endpoint = HostnameEndpoint(self._reactor, server.host, server.port, timeout=CONNECT)
        self._connecting = connectProtocol(endpoint, connection)
        self._connecting.addCallbacks(self._open, self._failed)

    def _open(self, connection: Connection) -> None:
        self._connecting = None
        self._connection = connection

    def _failed(self, failure: Failure) -> None:
        self._connecting = None
        where, self.server = self.server, None
        if not self._stopped and not failure.check(CancelledError):
            self._tell(f"{where}: {printable(failure.getErrorMessage())[:MOST_REASON]}")
            self._next()
