"""Sets of IP networks: made of their texts, and looked up by address.

An IPv4 address written as IPv6 (`::ffff:192.0.2.1`, as a socket that takes both has it) is the IPv4
address, in peers and in networks. A zone (`%eth0`) names the machine's own interface and is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6, inet_pton

from typing_extensions import override

IPNetwork = IPv4Network | IPv6Network

_MAPPED = bytes(10) + b"\xff\xff"  # RFC 4291, 2.5.5.2
_MAPPED_BITS = 8 * len(_MAPPED)
_V4, _V6 = 32, 128

Prefixes = dict[int, set[int]]
"""Bits of prefixes as numbers, by the length of the prefix."""


def packed(host: str) -> bytes:
    """Return a peer's address in 4 or 16 bytes.

    Raises:
        OSError: the host is no address.
    """
    if ":" not in host:
        return inet_pton(AF_INET, host)
    address = inet_pton(AF_INET6, host.partition("%")[0])
    return address[len(_MAPPED) :] if address.startswith(_MAPPED) else address


class Networks:
    """Set of networks, which does not change. A look-up takes one step for each length of prefix in it.

    Numbers in sets rather than objects: half a million networks take 50 MB and half a second.

    Args:
        v4: prefixes of IPv4.
        v6: prefixes of IPv6.
    """

    __slots__ = ("_v4", "_v6")

    def __init__(self, v4: Mapping[int, Iterable[int]], v6: Mapping[int, Iterable[int]]) -> None:
        self._v4 = _longest_first(v4)
        self._v6 = _longest_first(v6)

    @classmethod
    def of(cls, networks: Iterable[IPNetwork]) -> Networks:
        """Make a set of networks of the standard library's types."""
        found: tuple[Prefixes, Prefixes] = {}, {}
        for network in networks:
            add(found, network.network_address.packed, network.prefixlen)
        return cls(*found)

    @classmethod
    def union(cls, sets: Iterable[Networks]) -> Networks:
        """Make the union of some sets."""
        each = list(sets)
        return each[0] if len(each) == 1 else cls(_joined(s._v4 for s in each), _joined(s._v6 for s in each))

    def __contains__(self, host: str) -> bool:
        return self.longest(packed(host)) >= 0

    def __len__(self) -> int:
        return sum(len(prefixes) for _, prefixes in (*self._v4, *self._v6))

    def __iter__(self) -> Iterator[IPNetwork]:
        """Yield each network, IPv4 first, by address."""
        for number, length in _sorted(self._v4, _V4):
            yield IPv4Network((number, length))
        for number, length in _sorted(self._v6, _V6):
            yield IPv6Network((number, length))

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Networks):
            return NotImplemented
        return self._v4 == other._v4 and self._v6 == other._v6

    @override
    def __hash__(self) -> int:
        return hash((self._v4, self._v6))

    @override
    def __repr__(self) -> str:
        return f"<{len(self)} networks>"

    def longest(self, address: bytes) -> int:
        """Return the prefix length of the smallest network that holds a packed address; -1 if none does."""
        bits = 8 * len(address)
        number = int.from_bytes(address)
        for length, prefixes in self._v4 if bits == _V4 else self._v6:
            if number >> bits - length in prefixes:
                return length
        return -1


def add(found: tuple[Prefixes, Prefixes], address: bytes, length: int) -> bool:
    """Add a network to the prefixes of IPv4 and IPv6.

    Args:
        found: takes it.
        address: packed.
        length: bits of the prefix.

    Returns:
        False, and nothing is added, if the address has bits below its prefix or too few for it.
    """
    bits = 8 * len(address)
    number = int.from_bytes(address)
    if length > bits or number & (1 << bits - length) - 1:
        return False
    if length >= _MAPPED_BITS and address.startswith(_MAPPED):
        number, bits, length = number & 0xFFFFFFFF, _V4, length - _MAPPED_BITS
    prefixes = found[bits == _V6]
    number >>= bits - length
    if length in prefixes:
        prefixes[length].add(number)
    else:
        prefixes[length] = {number}
    return True


def _longest_first(prefixes: Mapping[int, Iterable[int]]) -> tuple[tuple[int, frozenset[int]], ...]:
    return tuple((length, frozenset(prefixes[length])) for length in sorted(prefixes, reverse=True))


def _joined(sets: Iterable[Iterable[tuple[int, frozenset[int]]]]) -> Prefixes:
    joined: Prefixes = {}
    for each in sets:
        for length, prefixes in each:
            joined.setdefault(length, set()).update(prefixes)
    return joined


def _sorted(prefixes: Iterable[tuple[int, frozenset[int]]], bits: int) -> list[tuple[int, int]]:
    return sorted((number << bits - length, length) for length, numbers in prefixes for number in numbers)


NONE = Networks({}, {})
"""No network."""
