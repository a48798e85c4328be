"""Networks that may come in and networks that may not.

An IPv4 address written as IPv6 (`::ffff:192.0.2.1`, as a socket that takes both has it) is the IPv4
address, in peers and in networks. A zone (`%eth0`) names the machine's own interface and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6, inet_pton

Network = IPv4Network | IPv6Network

REMEMBERED = 1024
"""Peers for which an answer is kept: most come again soon, and to work it out takes ten times as long."""

_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2
_MAPPED_BITS = 8 * len(_MAPPED)


def packed(host: str) -> bytes:
    """A peer's address in 4 or 16 bytes.

    Raises:
        OSError: the host is no address.
    """
    if ":" not in host:
        return inet_pton(AF_INET, host)
    address = inet_pton(AF_INET6, host.partition("%")[0])
    return address[len(_MAPPED) :] if address.startswith(_MAPPED) else address


class Networks:
    """A set of networks, asked by address. It takes one look-up for each length of prefix that occurs."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, networks: Iterable[Network]) -> None:
        v4: dict[int, set[int]] = {}
        v6: dict[int, set[int]] = {}
        for network in networks:
            address, length = network.network_address.packed, network.prefixlen
            if address.startswith(_MAPPED) and length >= _MAPPED_BITS:
                address, length = address[len(_MAPPED) :], length - _MAPPED_BITS
            prefixes = v4 if len(address) == 4 else v6
            prefixes.setdefault(length, set()).add(int.from_bytes(address) >> 8 * len(address) - length)
        self._v4 = sorted(v4.items(), reverse=True)
        self._v6 = sorted(v6.items(), reverse=True)

    def __contains__(self, host: str) -> bool:
        return self.longest(packed(host)) >= 0

    def longest(self, address: bytes) -> int:
        """The prefix length of the smallest network that a packed address is in; -1 if it is in none."""
        bits = 8 * len(address)
        number = int.from_bytes(address)
        for length, prefixes in self._v4 if bits == 32 else self._v6:
            if number >> bits - length in prefixes:
                return length
        return -1


class AccessList:
    """Who may come in at all.

    The smallest network that a peer is in decides; one that is both allowed and denied is denied. A peer
    that is in none may come in if no network is allowed by name.
    """

    __slots__ = ("_allow", "_deny", "_otherwise", "permits")

    permits: Callable[[str], bool]
    """Whether a peer at this address may come in. Raises OSError for what is no address."""

    def __init__(self, allow: Iterable[Network] = (), deny: Iterable[Network] = ()) -> None:
        allow = tuple(allow)
        self._allow = Networks(allow)
        self._deny = Networks(deny)
        self._otherwise = not allow
        self.permits = lru_cache(REMEMBERED)(self._permits)

    def _permits(self, host: str) -> bool:
        address = packed(host)
        allowed, denied = self._allow.longest(address), self._deny.longest(address)
        return allowed > denied or (allowed == denied == -1 and self._otherwise)
