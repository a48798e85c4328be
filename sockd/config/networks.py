"""Networks as they are written: one after another, in the file itself or in one of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, GetPydanticSchema, WithJsonSchema
from pydantic_core import PydanticCustomError

from sockd.config.written import Written
from sockd.errors import ValueFault

IPNetwork = IPv4Network | IPv6Network

MAX_NETWORKS_FILE = 8 * 2**20
"""Bytes of a file of networks: the larger public block lists have half a million of them."""

_A_NETWORK = "a network such as 10.0.0.0/8 or 2001:db8::/32"
_NETWORKS = "networks such as 10.0.0.0/8, or an array of them"

_WORD = re.compile(r"#[^\n]*|(?P<network>[^\s,#]+)")
# ip_network() would also take the mask of a network, and that of its hosts, which is easily mistaken for it.
_FORM = re.compile(r"(?P<address>[0-9A-Fa-f:.]+)(?:/[0-9]{1,3})?")


def read_networks(text: str) -> tuple[IPNetwork, ...]:
    """Networks with blanks, commas or line ends between them; `#` begins a comment.

    A single address is the network of itself alone. One of IPv4 that is written in IPv6 is one of IPv4.

    Raises:
        ValueFault: one is no network; says where in the text.
    """
    return tuple(_read_network(word) for word in _WORD.finditer(text) if word["network"])


def _read_network(word: re.Match[str]) -> IPNetwork:
    text = word[0]
    form = _FORM.fullmatch(text)
    try:
        network = ip_network(text, strict=False) if form else None
    except ValueError:
        network = None
    if form is None or network is None:
        raise ValueFault(_A_NETWORK, repr(text), offset=word.start(), length=len(text))
    if ip_address(form["address"]) != network.network_address:
        raise ValueFault(
            "a network that has no bits below its prefix",
            repr(text),
            offset=word.start(),
            length=len(text),
            nearest=str(network),
        )
    return _unmapped(network)


def _unmapped(network: IPNetwork) -> IPNetwork:
    """The network of IPv4 that one such as ::ffff:10.0.0.0/104 stands for."""
    mapped = isinstance(network, IPv6Network) and network.prefixlen >= 96
    address = network.network_address.ipv4_mapped if mapped else None
    return IPv4Network((address, network.prefixlen - 96)) if address else network


def _read_some(text: str) -> tuple[IPNetwork, ...]:
    """As `read_networks`; where a text without any, as of an empty file, would mean that there is no limit."""
    networks = read_networks(text)
    if not networks:
        raise ValueError("there is no network in it, which would let everybody in")
    return networks


def _listed(value: object) -> Iterable[object]:
    """One text of networks is the same as an array of that text."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (list, tuple)):
        return value
    raise PydanticCustomError(
        "networks_type", f"Input should be {_NETWORKS}", {"max_file": MAX_NETWORKS_FILE}
    )


def _flat(parts: Iterable[Any]) -> tuple[IPNetwork, ...]:
    """The networks of every text; code gives networks themselves."""

    def each() -> Iterator[IPNetwork]:
        for part in parts:
            if isinstance(part, tuple):
                yield from part
            else:
                yield part

    return tuple(each())


def _read_by(read: Any) -> GetPydanticSchema:
    text = Written(_A_NETWORK, read, {"type": "string"}, max_file=MAX_NETWORKS_FILE)
    texts = Annotated[tuple[Annotated[Any, text], ...], BeforeValidator(_listed), AfterValidator(_flat)]
    return GetPydanticSchema(lambda _, handler: handler(texts))


_AS_JSON = WithJsonSchema(
    {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}, mode="validation"
)

Networks = Annotated[tuple[IPNetwork, ...], _read_by(read_networks), _AS_JSON]
"""An array of networks, or a text of them, as that of a file is."""

SomeNetworks = Annotated[tuple[IPNetwork, ...], _read_by(_read_some), _AS_JSON]
"""The same, where a text that has none is a fault and only an empty array means none."""
