"""Listeners that exclude each other, found before anything is opened."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from sockd.config.document import Document, Faults, sentence, where
from sockd.config.listen import Listener
from sockd.config.positions import KeyPath
from sockd.endpoint import InetEndpoint, SystemdEndpoint

Examine = Callable[[Listener], Iterable[tuple[KeyPath, str]]]
"""Looks at the machine and yields the faults of a listener, each by its key below the listener's table."""


_Claim = Hashable
"""Part of a port, or a path, that only one listener can have."""

_SOME, _EVERY, _BOTH = "any address", "every address", "every address of IPv6 and of IPv4"


@dataclass(frozen=True, slots=True)
class Placed:
    """Listener and the place where it is written."""

    listener: Listener
    document: Document
    path: KeyPath


def tell_conflicts(listeners: Iterable[Placed], faults: Faults) -> None:
    """Add a fault for each listener whose port or path an earlier one has."""
    first: dict[_Claim, tuple[int, Placed]] = {}
    for number, placed in enumerate(listeners):
        claims, opposed = _claims(placed.listener)
        earlier = [first[claim] for claim in opposed if claim in first]
        if earlier:
            _tell(placed, min(earlier, key=lambda each: each[0])[1], faults)
        for claim in claims:
            first.setdefault(claim, (number, placed))


def tell_examined(listeners: Iterable[Placed], examine: Examine, faults: Faults) -> None:
    """Add the faults that an examination of the machine finds in each listener."""
    for placed in listeners:
        said: dict[KeyPath, list[str]] = {}
        for key, what in examine(placed.listener):
            said.setdefault((*placed.path, *key), []).append(what)
        for path, several in said.items():
            faults.add(placed.document, path, sentence(path, "; ".join(several)))


def _tell(placed: Placed, other: Placed, faults: Faults) -> None:
    owner = " ".join(part for part in where(other.path) if part)
    place = other.document.place(other.path)
    mine, its = str(placed.listener.endpoint), str(other.listener.endpoint)
    what = f"{mine} is taken by" if mine == its else f"{mine} overlaps {its} of"
    what = f"{what} {owner} ({place})"
    faults.add(placed.document, placed.path, sentence(placed.path, what))


def _claims(listener: Listener) -> tuple[Sequence[_Claim], Sequence[_Claim]]:
    """Return the claims of a listener, and the claims of others that it conflicts with."""
    endpoint = listener.endpoint
    if isinstance(endpoint, SystemdEndpoint):
        return ((endpoint,),) * 2
    if not isinstance(endpoint, InetEndpoint):
        # A path is one name in the file system, whatever kind of socket it is.
        return ((endpoint.path,),) * 2
    if not endpoint.port:
        return (), ()
    port, ipv6 = (endpoint.port, endpoint.stream), endpoint.ipv6
    own: _Claim = (port, ipv6, endpoint.interface)
    some, every, both = (port, ipv6, _SOME), (port, ipv6, _EVERY), (port, _BOTH)
    if endpoint.interface not in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return (own, some), (own, every) if ipv6 else (own, every, both)
    if not ipv6:
        return (own, some, every), (some, both)
    if listener.socket.v6_only:
        return (own, some, every), (some,)
    return (own, some, every, both), (some, (port, False, _SOME))
