"""Networks as they are written: one after another, in the file itself or in one of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, GetPydanticSchema, WithJsonSchema
from pydantic_core import PydanticCustomError

from sockd.config.written import Written
from sockd.errors import ValueFault
from sockd.reading import MAX_FILE

IPNetwork = IPv4Network | IPv6Network

_A_NETWORK = "a network such as 10.0.0.0/8 or 2001:db8::/32"
_NETWORKS = "networks such as 10.0.0.0/8, or an array of them"

_WORD = re.compile(r"#[^\n]*|(?P<network>[^\s,#]+)")
# The mask of a network would be taken too, and that of its hosts, which is easily mistaken for it.
_FORM = re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?")


def read_networks(text: str) -> tuple[IPNetwork, ...]:
    """Networks with blanks, commas or line ends between them; `#` begins a comment.

    A single address is the network of itself alone. One of IPv4 that is written in IPv6 is one of IPv4.

    Raises:
        ValueFault: one is no network; says where in the text.
    """
    return tuple(_read_network(word) for word in _WORD.finditer(text) if word["network"])


def _read_network(word: re.Match[str]) -> IPNetwork:
    text, around = word[0], None
    if _FORM.fullmatch(text):
        kind = IPv6Network if ":" in text else IPv4Network
        try:
            return _unmapped(kind(text))
        except ValueError:
            around = _network_around(text, kind)
    raise ValueFault(
        "a network that has no bits below its prefix" if around else _A_NETWORK,
        repr(text),
        offset=word.start(),
        length=len(text),
        nearest=around,
    )


def _network_around(text: str, kind: type[IPNetwork]) -> str | None:
    """The network that an address with a prefix is in."""
    try:
        return str(kind(text, strict=False))
    except ValueError:
        return None


def _unmapped(network: IPNetwork) -> IPNetwork:
    """The network of IPv4 that one such as ::ffff:10.0.0.0/104 stands for."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        address = network.network_address.ipv4_mapped
        if address is not None:
            return IPv4Network((address, network.prefixlen - 96))
    return network


def _read_some(text: str) -> tuple[IPNetwork, ...]:
    """The same where a text without any, as that of an empty file, would mean that all are fine."""
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
    raise PydanticCustomError("networks_type", f"Input should be {_NETWORKS}", {"max_file": MAX_FILE})


def _flat(parts: Iterable[Any]) -> tuple[IPNetwork, ...]:
    """The networks of every text; code gives networks themselves."""
    return tuple(network for part in parts for network in (part if isinstance(part, tuple) else (part,)))


def _read_by(read: Callable[[str], tuple[IPNetwork, ...]]) -> GetPydanticSchema:
    text = Written(_A_NETWORK, read, {"type": "string"}, max_file=MAX_FILE)
    texts = Annotated[tuple[Annotated[Any, text], ...], BeforeValidator(_listed), AfterValidator(_flat)]
    return GetPydanticSchema(lambda _, handler: handler(texts))


_AS_JSON = WithJsonSchema(
    {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}, mode="validation"
)

Networks = Annotated[tuple[IPNetwork, ...], _read_by(read_networks), _AS_JSON]
"""An array of networks, or a text of them, as that of a file is."""

SomeNetworks = Annotated[tuple[IPNetwork, ...], _read_by(_read_some), _AS_JSON]
"""The same, where a text that has none is a fault and only an empty array means none."""
