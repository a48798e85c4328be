r"""PROXY protocol, versions 1 and 2: what a trusted proxy says first of the connection that it relays.

A proxy opens its own connection and so hides who is calling. Before the first byte that it relays it
sends a header with the addresses of the client's connection, as text or in binary:

    PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n
    \r\n\r\n\0\r\nQUIT\n  command  family  length  addresses  extensions

`parse` reads it from the bytes that have come so far, by HAProxy's proxy-protocol.txt (sections named
below are its). Nothing is guessed: what deviates is a `HeaderFault`, as soon as that is certain, the same
however the bytes were cut. A header that gives no addresses to use, such as that of a proxy's own health
check (LOCAL, UNKNOWN, a family or transport left open, a relayed datagram), leaves the socket's own.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import Literal

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

Address = IPv4Address | IPv6Address | UNIXAddress

MAX_HEADER = 4096
"""Bytes of a header, as in nginx: ten times the 536 that the specification asks senders to stay below, for
extensions such as TLS details; a stranger can have no more than this held before it is known."""

MAX_LINE = 107
"""Bytes of a header of version 1 with its CR LF: the longest that can be (2.1)."""

Reason = Literal[
    "proxy header missing",
    "proxy header malformed",
    "proxy header too long",
    "proxy header checksum",
]
"""Why a connection has no header: it begins like none, or has one that is not to be believed."""

_WORD = b"PROXY"
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_STARTS = (_WORD, _SIGNATURE)

_KEYWORDS = (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN")
_LINE_SO_FAR = re.compile(
    rb"PROXY (?:TCP4 [0-9. ]*\r?|TCP6 [0-9A-Fa-f:. ]*\r?|UNKNOWN(?:\r| .*)?)", re.DOTALL
)
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: .*)?", re.DOTALL)
_KNOWN = re.compile(
    rb"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})"
)

_PREAMBLE = Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21  # the version, 2, in the upper half of the byte
_INET, _INET6, _UNIX = Struct("!4s4sHH"), Struct("!16s16sHH"), Struct("!108s108s")
_LAYOUTS = {
    0x00: None, 0x01: None, 0x02: None,
    0x10: None, 0x11: _INET, 0x12: _INET,
    0x20: None, 0x21: _INET6, 0x22: _INET6,
    0x30: None, 0x31: _UNIX, 0x32: _UNIX,
}  # fmt: skip
"""What the addresses look like by family (upper half) and transport: unspecified, stream, datagram (2.2)."""

_STREAM = 0x01
_EXTENSION = Struct("!BH")
_CHECKSUM = 0x03


class HeaderFault(ValueError):
    """Error of data that cannot become a header. `reason` is one of few and holds nothing of the peer's."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class Header:
    """Header: what a proxy says of a connection.

    Attributes:
        source: the client, or None where the socket's own peer counts.
        destination: what the client connected to, or None likewise.
        length: bytes of the header; what follows them belongs to the protocol, or to TLS.
        version: 1 or 2.
    """

    source: Address | None
    destination: Address | None
    length: int
    version: int


def looks_like_header(data: bytes) -> bool | None:
    """Return whether `data` begins like a header; None if there is too little of it to tell.

    For senders that are trusted but may leave the header out. Their clients can then write one themselves.
    """
    if data.startswith(_STARTS):
        return True
    return None if any(start.startswith(data) for start in _STARTS) else False


def parse(data: bytes) -> Header | None:
    """Return the header that `data`, a stream from its first byte, begins with; None if more is needed.

    Raises:
        HeaderFault: there is no header and cannot be one, whatever follows.
    """
    if data.startswith(_SIGNATURE):
        return _parse_binary(data)
    if data.startswith(_WORD):
        return _parse_line(data)
    if looks_like_header(data) is None:
        return None
    raise HeaderFault("proxy header missing")


def render(source: Address | None, destination: Address | None, version: Literal[1, 2]) -> bytes:
    """Return the header of a connection from `source` to `destination`, which are of one family.

    Without one of them it says nothing of the client; nor does version 1 of UNIX addresses, which it lacks.
    """
    if source is None or destination is None:
        return b"PROXY UNKNOWN\r\n" if version == 1 else _PREAMBLE.pack(_SIGNATURE, _LOCAL, 0, 0)
    if isinstance(source, UNIXAddress) and isinstance(destination, UNIXAddress):
        if version == 1:
            return b"PROXY UNKNOWN\r\n"
        return _binary(0x30, _UNIX.pack(source.name or b"", destination.name or b""))
    if isinstance(source, UNIXAddress) or type(source) is not type(destination):
        raise ValueError(f"expected two addresses of one family, found {source} and {destination}")
    hosts = _packed(source), _packed(destination)
    ports = source.port, destination.port
    family, layout = (0x10, _INET) if isinstance(source, IPv4Address) else (0x20, _INET6)
    if version == 2:
        return _binary(family, layout.pack(*hosts, *ports))
    word = "TCP4" if layout is _INET else "TCP6"
    return " ".join(["PROXY", word, *map(_text, hosts), *map(str, ports)]).encode() + b"\r\n"


def _parse_line(data: bytes) -> Header | None:
    """Parse a header of version 1 (2.1)."""
    line, end, _ = data[:MAX_LINE].partition(b"\r\n")
    if not end:
        begun = any(keyword.startswith(line) for keyword in _KEYWORDS)
        if not begun and not _LINE_SO_FAR.fullmatch(line):
            raise HeaderFault("proxy header malformed")
        if len(line) == MAX_LINE:
            raise HeaderFault("proxy header too long")
        return None
    length = len(line) + len(end)
    if _UNKNOWN.fullmatch(line):
        return Header(None, None, length, 1)
    known = _KNOWN.fullmatch(line)
    if known is None:
        raise HeaderFault("proxy header malformed")
    family, *texts = (part.decode() for part in known.groups())
    read = ipaddress.IPv4Address if family == "4" else ipaddress.IPv6Address
    try:
        source, destination = (read(text).packed for text in texts[:2])
    except ipaddress.AddressValueError as error:
        raise HeaderFault("proxy header malformed") from error
    ports = [int(text) for text in texts[2:]]
    if max(ports) > 65535:
        raise HeaderFault("proxy header malformed")
    return Header(_address(source, ports[0]), _address(destination, ports[1]), length, 1)


def _parse_binary(data: bytes) -> Header | None:
    """Parse a header of version 2 (2.2)."""
    known = len(data)
    if known > 12 and data[12] not in (_LOCAL, _PROXY):
        raise HeaderFault("proxy header malformed")
    relayed = known > 13 and data[12] == _PROXY
    if relayed and data[13] not in _LAYOUTS:
        raise HeaderFault("proxy header malformed")
    if known < _PREAMBLE.size:
        return None
    _, _, kind, size = _PREAMBLE.unpack_from(data)
    length = _PREAMBLE.size + size
    layout = _LAYOUTS[kind] if relayed else None
    if length > MAX_HEADER:
        raise HeaderFault("proxy header too long")
    if layout and size < layout.size:
        raise HeaderFault("proxy header malformed")
    if known < length:
        return None
    if layout is None:  # where extensions would begin is not known: all of it is skipped
        return Header(None, None, length, 2)
    _check_extensions(data[:length], _PREAMBLE.size + layout.size)
    if kind & 0x0F != _STREAM:
        return Header(None, None, length, 2)
    source, destination, *ports = layout.unpack_from(data, _PREAMBLE.size)
    if not ports:
        return Header(_unix_address(source), _unix_address(destination), length, 2)
    return Header(_address(source, ports[0]), _address(destination, ports[1]), length, 2)


def _check_extensions(header: bytes, start: int) -> None:
    """See that the extensions fill the header exactly, and that its checksum is right if it has one."""
    checked = False
    while start < len(header):
        value = start + _EXTENSION.size
        if value > len(header):
            raise HeaderFault("proxy header malformed")
        kind, size = _EXTENSION.unpack_from(header, start)
        start = value + size
        if start > len(header):
            raise HeaderFault("proxy header malformed")
        if kind == _CHECKSUM:
            if checked or size != 4:
                raise HeaderFault("proxy header malformed")
            checked = True
            if _crc32c(header[:value] + bytes(4) + header[start:]) != int.from_bytes(header[value:start]):
                raise HeaderFault("proxy header checksum")


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli's polynomial, its bits reversed
    return byte


_CRC_ENTRIES = tuple(map(_crc_entry, range(256)))


def _crc32c(data: bytes) -> int:
    """Return the checksum of RFC 4960, appendix B."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_ENTRIES[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _binary(family: int, addresses: bytes) -> bytes:
    return _PREAMBLE.pack(_SIGNATURE, _PROXY, family | _STREAM, len(addresses)) + addresses


def _address(host: bytes, port: int) -> IPv4Address | IPv6Address:
    return (IPv4Address if len(host) == 4 else IPv6Address)("TCP", _text(host), port)


def _unix_address(field: bytes) -> UNIXAddress:
    """Return an address; its path ends at the first NUL, and most clients' sockets have none."""
    return UNIXAddress(field.partition(b"\0")[0] or None)


def _text(host: bytes) -> str:
    """Return a host as this machine's sockets write it, so that one client has one name."""
    return inet_ntop(AF_INET if len(host) == 4 else AF_INET6, host)


def _packed(address: IPv4Address | IPv6Address) -> bytes:
    return ipaddress.ip_address(address.host).packed
