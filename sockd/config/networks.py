"""Reading of networks: one after another, in the configuration itself or in a file of their own."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network
from itertools import repeat
from socket import AF_INET, AF_INET6, inet_pton
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, GetPydanticSchema, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from sockd.config.network_sets import IPNetwork, Networks, Prefixes, add
from sockd.config.written import Written
from sockd.errors import ValueFault
from sockd.reading import MAX_FILE

_A_NETWORK = "a network such as 10.0.0.0/8 or 2001:db8::/32"
_NETWORKS = "networks such as 10.0.0.0/8, or an array of them"

_COMMENT = re.compile("#[^\n]*")
_WORD = re.compile(r"#[^\n]*|(?P<network>[^\s,#]+)")
# ipaddress also takes a mask, of the network or of its hosts, and the two are easily confused.
_FORM = re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?")

_PIECE = 64 * 1024
"""Characters read in a few calls, which no other thread can interrupt: a millisecond."""

_KEPT = 2
"""Large lists that are cached."""

_SHOWN = 100
"""Networks that are shown one by one; of more only the number is shown."""


@dataclass(slots=True)
class _Recent:
    """Cache of the large lists that were read last, by their digests.

    A reload reads a list twice, aside and then while all peers wait, and most have not changed since before.
    """

    lists: dict[bytes, Networks] = field(default_factory=dict)

    def find(self, text: str) -> Networks:
        digest = blake2b(text.encode(errors="surrogatepass")).digest()
        networks = self.lists.pop(digest, None) or _read(text)
        self.lists[digest] = networks
        while len(self.lists) > _KEPT:
            self.lists.pop(next(iter(self.lists)), None)
        return networks


def read_networks(text: str) -> Networks:
    """Return the networks in a text, with blanks, commas or line ends between them; `#` begins a comment.

    A single address is the network of itself alone. An IPv4 network that is written in IPv6 is one of IPv4.

    Raises:
        ValueFault: a word is no network; says where in the text.
    """
    return _recent.find(text) if len(text) > _PIECE else _read(text)


def _read(text: str) -> Networks:
    found: tuple[Prefixes, Prefixes] = {}, {}
    try:
        for piece in _pieces(text):
            _read_piece(piece, found)
    except (OSError, ValueError):  # ValueError: a prefix that is no number, a NUL, a letter beyond ASCII
        raise _fault(text) from None
    return Networks(*found)


_recent = _Recent()


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start + _PIECE) + 1 or len(text)
        yield text[start:end]
        start = end


def _read_piece(text: str, found: tuple[Prefixes, Prefixes]) -> None:
    """Add the networks of a part of the text. Raises OSError or ValueError for a word that is none."""
    words = _COMMENT.sub("", text).replace(",", " ").split()
    # Most lists are of addresses. One call for all of them is three times as fast as one for each.
    plain = [word for word in words if "/" not in word and ":" not in word]
    if plain:
        numbers = struct.unpack(f"!{len(plain)}I", b"".join(map(inet_pton, repeat(AF_INET), plain)))
        found[0].setdefault(32, set()).update(numbers)
    if len(plain) < len(words):
        for word in words:
            if "/" in word or ":" in word:
                _read_network(word, found)


def _read_network(word: str, found: tuple[Prefixes, Prefixes]) -> None:
    if not _FORM.fullmatch(word):
        raise ValueError(word)
    written, slash, length = word.partition("/")
    address = inet_pton(AF_INET6 if ":" in written else AF_INET, written)
    if not add(found, address, int(length) if slash else 8 * len(address)):
        raise ValueError(word)


def _fault(text: str) -> ValueFault:
    """Return the fault of the first word of a text that is no network."""
    for word in _WORD.finditer(text):
        if word["network"]:
            try:
                _read_piece(word[0], ({}, {}))
            except (OSError, ValueError):
                break
    around = _network_around(word[0])
    return ValueFault(
        "a network that has no bits below its prefix" if around else _A_NETWORK,
        repr(word[0]),
        offset=word.start(),
        length=len(word[0]),
        nearest=around,
    )


def _network_around(text: str) -> str | None:
    """Return the network that holds an address with a prefix."""
    try:
        return (
            str((IPv6Network if ":" in text else IPv4Network)(text, strict=False))
            if _FORM.fullmatch(text)
            else None
        )
    except ValueError:
        return None


def _read_some(text: str) -> Networks:
    """Return the networks in a text that must have some: without any, as in an empty file, all peers would be
    allowed.
    """
    networks = read_networks(text)
    if not networks:
        raise ValueError("there is no network in it, which would let everybody in")
    return networks


def _listed(value: object) -> Iterable[object]:
    """Return an array of the text for one text of networks."""
    if isinstance(value, (str, Networks)):
        return (value,)
    if isinstance(value, (list, tuple)):
        return value
    raise PydanticCustomError("networks_type", f"Input should be {_NETWORKS}", {"max_file": MAX_FILE})


def _together(parts: Iterable[Networks | IPNetwork]) -> Networks:
    """Return the union of the networks of every text; code gives networks themselves."""
    return Networks.union(part if isinstance(part, Networks) else Networks.of([part]) for part in parts)


def _for_json(networks: Networks) -> list[str]:
    return (
        [str(network) for network in networks] if len(networks) <= _SHOWN else [f"{len(networks)} networks"]
    )


def _read_by(read: Callable[[str], Networks]) -> GetPydanticSchema:
    text = Written(_A_NETWORK, read, {"type": "string"}, max_file=MAX_FILE)
    texts = Annotated[tuple[Annotated[Any, text], ...], BeforeValidator(_listed), AfterValidator(_together)]
    return GetPydanticSchema(lambda _, handler: handler(texts))


_AS_JSON = WithJsonSchema(
    {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}, mode="validation"
)
_SHOW = PlainSerializer(_for_json, when_used="json")

AnyNetworks = Annotated[Networks, _read_by(read_networks), _AS_JSON, _SHOW]
"""Array of networks, or a text of them, as the content of a file is."""

SomeNetworks = Annotated[Networks, _read_by(_read_some), _AS_JSON, _SHOW]
"""Array of networks as `AnyNetworks`, but a text without any is a fault; only an empty array means none."""
