"""Sockets that systemd keeps while the daemon restarts (the descriptor store of sd_notify(3)).

Connections in the queue of such a socket stay there, and new ones join them, also after the daemon was
killed. The store exists where systemd, or a unit for an older systemd, has set FDSTORE.

The name of a socket in the store tells how it was opened: `sockd,OPTIONS,ENDPOINT,PLACE`. OPTIONS is a
checksum of its options, ENDPOINT is quoted as in a URL, and PLACE is the port, or the inode of the path.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from urllib.parse import quote
from zlib import crc32

from sockd.config import Config, SocketOptions
from sockd.endpoint import Endpoint, SystemdEndpoint, UnixEndpoint
from sockd.sockets import open as sockets
from sockd.sockets.inherit import Inherited
from sockd.sockets.notify import Notifier
from sockd.sockets.open import BoundSocket

PREFIX = "sockd"

PATIENCE = 5.0
"""Seconds to wait for systemd to close a socket."""

LONGEST_NAME = 255
"""Characters of a name at most (FDNAME= of sd_notify(3))."""


class Store:
    """Opener of sockets that takes kept ones where it can. Its stages: `prepare`, `begin`, `leave`.

    Args:
        inherited: the sockets that systemd has started this process with.
        notifier: sends to systemd.
        environ: tells whether there is a store.
    """

    def __init__(
        self, inherited: Inherited, notifier: Notifier, environ: Mapping[str, str] = os.environ
    ) -> None:
        self._inherited = inherited
        self._notifier = notifier
        self._there = environ.get("FDSTORE", "") not in ("", "0")
        self._kept = dict(_stored(inherited))
        self._new: dict[str, BoundSocket] = {}  # not in the store yet
        self._state = "starting"

    @property
    def of_units(self) -> list[int]:
        """Descriptors that belong to socket units, and not to the store."""
        stored = {descriptor for _, descriptor in _stored(self._inherited)}
        given = self._inherited.descriptors.values()
        return [descriptor for descriptors in given for descriptor in descriptors if descriptor not in stored]

    def prepare(self, config: Config) -> None:
        """Close the kept sockets that this configuration does not want; they may hold its addresses."""
        wanted = {_wanted(endpoint, options) for endpoint, options in _listeners(config)}
        for name, descriptor in list(self._kept.items()):
            if name.rpartition(",")[0] not in wanted or not _reachable(name, descriptor):
                os.close(self._kept.pop(name))
                self._notifier.forget(name)
                self._notifier.barrier(PATIENCE)  # systemd holds the address until then

    def open_socket(self, endpoint: Endpoint, options: SocketOptions) -> BoundSocket:
        """Open the socket of an endpoint: a kept one, or a new one.

        Raises:
            BindError: the machine says no.
        """
        if isinstance(endpoint, SystemdEndpoint):
            return self._inherited.open_socket(endpoint, options)
        wanted = _wanted(endpoint, options)
        name = next((name for name in self._kept if name.rpartition(",")[0] == wanted), None)
        if name is None:
            bound = self._watched(sockets.open_socket(endpoint, options), options)
            self._add(bound, options)
            return bound
        sock = socket.socket(fileno=self._kept.pop(name))
        sock.setblocking(False)
        return self._watched(sockets.bound_already(sock, endpoint), options)

    def resume(self, bound: BoundSocket, options: SocketOptions) -> BoundSocket:
        """Take over a socket that an earlier program of this process has opened."""
        self._state = "serving"
        return self._watched(bound, options)

    def begin(self) -> None:
        """Keep all sockets from now on, because the daemon serves."""
        self._state = "serving"
        for name, bound in self._new.items():
            self._notifier.store([bound.socket.fileno()], name)
        self._new.clear()

    def leave(self) -> None:
        """Leave closed sockets in the store for the next start, because the daemon ends."""
        self._state = "leaving"

    def _add(self, bound: BoundSocket, options: SocketOptions) -> None:
        name = _name(bound, options)
        if self._there and len(name) <= LONGEST_NAME:
            if self._state == "serving":
                self._notifier.store([bound.socket.fileno()], name)
            else:
                self._new[name] = bound

    def _watched(self, bound: BoundSocket, options: SocketOptions) -> BoundSocket:
        if not self._there:
            return bound
        return replace(bound, closing=partial(self._closing, _name(bound, options)))

    def _closing(self, name: str) -> bool:
        """Remove a closed socket from the store while the daemon serves; tell whether it is gone."""
        if self._state == "serving":
            self._notifier.forget(name)
            return True
        return self._new.pop(name, None) is not None


def _wanted(endpoint: Endpoint, options: SocketOptions) -> str:
    """Return the name of a socket without its PLACE."""
    options_sum = crc32(f"{endpoint!r} {options!r}".encode())  # an endpoint's text is not complete
    return f"{PREFIX},{options_sum:08x},{quote(str(endpoint))}"


def _name(bound: BoundSocket, options: SocketOptions) -> str:
    if isinstance(bound.endpoint, UnixEndpoint):
        place = "-".join(map(str, bound.inode or ()))
    else:
        place = str(bound.socket.getsockname()[1])
    return f"{_wanted(bound.endpoint, options)},{place}"


def _stored(inherited: Inherited) -> Iterator[tuple[str, int]]:
    for (name, _), descriptors in inherited.descriptors.items():
        if name.startswith(f"{PREFIX},"):
            yield from ((name, descriptor) for descriptor in descriptors)


def _reachable(name: str, descriptor: int) -> bool:
    """Tell whether the path of a UNIX socket is still this socket's; True for every other socket."""
    with suppress(OSError):
        sock = socket.socket(fileno=descriptor)
        try:
            if sock.family != socket.AF_UNIX:
                return True
            status = os.lstat(sock.getsockname())
            return name.rpartition(",")[2] == f"{status.st_dev}-{status.st_ino}"
        finally:
            sock.detach()
    return False


def _listeners(config: Config) -> Iterable[tuple[Endpoint, SocketOptions]]:
    if config.metrics.listen is not None:
        yield config.metrics.listen, SocketOptions()
    for service in config.services.values():
        for listener in service.listen:
            yield listener.endpoint, listener.socket
