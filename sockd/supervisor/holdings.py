"""Sockets and shared memory that the supervisor holds open for its workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sockd.config import Config, SocketOptions
from sockd.endpoint import Endpoint, InetEndpoint
from sockd.errors import BindError
from sockd.limits.shared_places import SharedPlaces
from sockd.sockets.open import BoundSocket, OpenSocket
from sockd.supervisor.handover import socket_from_json, socket_to_json

Key = tuple[str, int]
"""A listener: the service's name, and the place in its `listen`."""

Resume = Callable[[BoundSocket, SocketOptions], BoundSocket]
"""Takes a socket that a former image of this process has opened."""

NOBODY = 0
"""The supervisor's own seat; it holds no place."""


@dataclass(frozen=True, slots=True)
class Held:
    """Socket with the endpoint and the options for which it was opened."""

    bound: BoundSocket
    endpoint: Endpoint
    options: SocketOptions


@dataclass(slots=True)
class Holdings:
    """Sockets and shared memory for one configuration.

    Attributes:
        sockets: for each listener.
        places: for each service, and for those that are gone and have connections still.
    """

    sockets: dict[Key, Held] = field(default_factory=dict)
    places: dict[str, SharedPlaces] = field(default_factory=dict)

    def message(self) -> dict[str, Any]:
        """Return the part of a message that names the descriptors, in their order."""
        sockets = [(*key, str(held.bound.endpoint), held.bound.inode) for key, held in self.sockets.items()]
        return {"sockets": sockets, "places": list(self.places)}

    def descriptors(self) -> list[int]:
        """Return the descriptors of the sockets, then those of the places."""
        sockets = [held.bound.socket.fileno() for held in self.sockets.values()]
        return [*sockets, *(places.descriptor for places in self.places.values())]

    def for_config(self, config: Config, open_socket: OpenSocket, seats: int) -> Holdings:
        """Return the holdings for another configuration: what of these it needs, and what is new.

        Raises:
            ExceptionGroup: of every BindError; nothing is left open.
        """
        new = Holdings()
        free = {key: held for key, held in self.sockets.items() if not held.bound.lost}
        errors: list[BindError] = []
        for own_service_first in (True, False):
            for key, held in _wanted(config):
                if key not in new.sockets and (
                    known := _matching(free, key, held, own_service=own_service_first)
                ):
                    new.sockets[key] = free.pop(known)
        for (name, index), (endpoint, options) in _wanted(config):
            if (name, index) in new.sockets:
                continue
            try:
                new.sockets[name, index] = Held(open_socket(endpoint, options), endpoint, options)
            except BindError as error:
                errors.append(BindError(error.endpoint, error.reason, name))
        if errors:
            new.close_beside(self)
            raise ExceptionGroup("the configuration cannot be served", errors)
        new.sockets = {key: new.sockets[key] for key, _ in _wanted(config)}
        for name in config.services:
            new.places[name] = self.places.get(name) or SharedPlaces(SharedPlaces.create(seats), NOBODY)
        # A service that is gone may come again while connections of it are still open.
        new.places |= {
            name: each for name, each in self.places.items() if name not in new.places and each.total
        }
        return new

    @property
    def lost(self) -> set[str]:
        """Services of which UNIX sockets have lost their paths."""
        return {name for (name, _), held in self.sockets.items() if held.bound.lost}

    def mended(self, other: Holdings) -> Holdings:
        """Return these holdings with the other's sockets in place of those that have lost their paths."""
        anew = {(held.endpoint, held.options): held for held in other.sockets.values()}
        sockets = {
            key: anew.get((held.endpoint, held.options), held) if held.bound.lost else held
            for key, held in self.sockets.items()
        }
        return Holdings(sockets, self.places)

    def close_beside(self, other: Holdings) -> None:
        """Close what `other` does not have."""
        kept = {id(held.bound) for held in other.sockets.values()}
        for held in self.sockets.values():
            if id(held.bound) not in kept:
                held.bound.close()
        for name, places in self.places.items():
            if other.places.get(name) is not places:
                places.close()

    def close(self) -> None:
        """Close everything."""
        self.close_beside(Holdings())
        self.sockets, self.places = {}, {}

    def hand_over(self, keep: list[int]) -> dict[str, Any]:
        """Return the state for the next image as JSON has it; add its descriptors to `keep`."""
        keep += self.descriptors()
        return {
            "sockets": [(*key, socket_to_json(held.bound)) for key, held in self.sockets.items()],
            "places": [(name, places.descriptor) for name, places in self.places.items()],
        }

    @classmethod
    def taken_over(cls, handed: Mapping[str, Any], config: Config, resume: Resume) -> Holdings:
        """Return the holdings of the former image, for the configuration that it served."""
        wanted, sockets = dict(_wanted(config)), {}
        for name, index, bound in handed["sockets"]:
            endpoint, options = wanted[name, index]
            sockets[name, index] = Held(resume(socket_from_json(*bound), options), endpoint, options)
        places = {name: SharedPlaces(descriptor, NOBODY) for name, descriptor in handed["places"]}
        return cls(sockets, places)

    def forget(self, seat: int) -> None:
        """Free the places of a process that has ended."""
        for places in self.places.values():
            places.forget(seat)


def _wanted(config: Config) -> Iterator[tuple[Key, tuple[Endpoint, SocketOptions]]]:
    for name, service in config.services.items():
        for index, listener in enumerate(service.listen):
            yield (name, index), (listener.endpoint, listener.socket)


def _matching(
    free: dict[Key, Held], key: Key, wanted: tuple[Endpoint, SocketOptions], *, own_service: bool
) -> Key | None:
    """Return the listener whose socket can serve: the same, one of its service, or one of another."""
    endpoint = wanted[0]
    if not own_service and isinstance(endpoint, InetEndpoint) and not endpoint.port:
        return None  # any free port is not the one that another service has
    known = [
        other
        for other, held in free.items()
        if (held.endpoint, held.options) == wanted and (other[0] == key[0] or not own_service)
    ]
    return key if key in known else next(iter(known), None)
