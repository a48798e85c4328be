"""Packets of TFTP (RFC 1350) and their options (RFC 2347 to 2349, RFC 7440)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sockd.text import printable
from sockd_plugins.files.storage.refused import Code

READ, WRITE, DATA, ACK, ERROR, OACK = (number.to_bytes(2) for number in range(1, 7))
"""Kinds of packets, by their first two bytes."""

HEADER = 4
"""Bytes before the data of a block."""

BLOCK = 512
"""Bytes of a block without the option `blksize`."""

LEAST_BLOCK, MOST_BLOCK = 8, 65_464
"""Bytes of a block (RFC 2348)."""

MOST_WINDOW = 64
"""Blocks of a window at most: a turn of the reactor takes as many."""

USUAL_BUFFER = 212_992
"""Bytes of a socket's receive buffer, if the operator does not choose another."""

MOST_REQUEST = 1024
"""Bytes of a request. RFC 2347 permits 512; names of 200 bytes with folders may take more."""

MOST_TEXT = 160
"""Bytes of the text of an error: a forged request must not bring its victim much more than it cost."""

NUMBERS: Mapping[Code, int] = {
    "bad-request": 4,  # illegal TFTP operation
    "bad-name": 2,  # access violation
    "denied": 2,
    "expired": 2,
    "too-large": 3,  # disk full or allocation exceeded
    "disk-full": 3,
    "quota": 3,
    "too-many": 3,
    "exists": 6,  # file already exists
}
"""Numbers of errors for refusals; others have 0, "see the text"."""


class RequestRefused(Exception):
    """Refusal of a request, with the number of its error."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


@dataclass(frozen=True, slots=True)
class Request:
    """Write request.

    Attributes:
        name: of the file, as given.
        netascii: whether the data comes as text.
        options: names, in lower case, and values, in the order in which they came.
    """

    name: str
    netascii: bool
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of a transfer, from the options that are accepted.

    Attributes:
        block: bytes of each block but the last.
        window: blocks for one acknowledgement.
        timeout: seconds after which a packet is repeated; None if the client does not ask for any.
        size: bytes of the file; None if unknown.
        answer: first packet to the client: the accepted options, or the acknowledgement of block 0.
    """

    block: int
    window: int
    timeout: int | None
    size: int | None
    answer: bytes

    @property
    def usual(self) -> bool:
        """True if a client that has not seen the options would do the same."""
        return self.block == BLOCK and self.window == 1


def acknowledgement(number: int) -> bytes:
    """Return the packet that acknowledges a block."""
    return ACK + number.to_bytes(2)


def error(number: int, text: str) -> bytes:
    """Return the packet of an error. Its text has a bound; what exceeds it is left out."""
    encoded = printable(text).encode()
    if len(encoded) > MOST_TEXT:
        encoded = encoded[: MOST_TEXT - 3].decode(errors="ignore").encode() + "…".encode()
    return ERROR + number.to_bytes(2) + encoded + b"\0"


def parse_request(packet: bytes) -> Request:
    """Return the request of a packet.

    Raises:
        RequestRefused: it is none, or asks for what is not there.
    """
    if len(packet) > MOST_REQUEST:
        raise RequestRefused(4, f"expected a request of at most {MOST_REQUEST} bytes, found {len(packet)}")
    name, *words = packet[2:].split(b"\0")
    if len(words) < 2:  # the last of them is what follows the final NUL
        raise RequestRefused(4, "expected a name and a mode, each ended by NUL")
    mode = words[0].decode(errors="replace").lower()
    if mode not in ("octet", "netascii"):
        raise RequestRefused(4, f"expected mode octet or netascii, found {mode!r}")
    try:
        text = name.decode()
    except UnicodeDecodeError as fault:
        raise RequestRefused(2, "expected a name in UTF-8, found something else") from fault
    options: dict[str, str] = {}
    for option, value in zip(words[1:-1:2], words[2:-1:2], strict=False):
        options.setdefault(option.decode(errors="replace").lower(), value.decode(errors="replace"))
    return Request(text, mode == "netascii", options)


def agree(options: Mapping[str, str], buffer: int = USUAL_BUFFER) -> Terms:
    """Return the terms for the options of a request. Unknown options are left out of the answer (RFC 2347).

    Args:
        options: as they were asked for.
        buffer: bytes of the socket's receive buffer, which has to hold a window: where its last blocks are
            lost, all wait for a timer.

    Raises:
        RequestRefused: the size of a block is no number. Leaving it out would not do: busybox sends blocks
            of the size that it has asked for if the answer has another option.
    """
    block, window, timeout, size = BLOCK, 1, None, None
    if (asked := options.get("blksize")) is not None:
        number = _number(asked)
        if number is None or number < LEAST_BLOCK:
            raise RequestRefused(8, f"expected blksize from {LEAST_BLOCK} to {MOST_BLOCK}, found {asked!r}")
        block = min(number, MOST_BLOCK)
    accepted: dict[str, int] = {}
    for option, value in options.items():
        number = _number(value)
        if option == "blksize":
            accepted[option] = block
        elif number is None:
            continue
        elif option == "tsize":
            accepted[option] = number
            size = number or None  # 0: the client does not know it
        elif option == "timeout" and 1 <= number <= 255:
            accepted[option] = timeout = number
        elif option == "windowsize" and 1 <= number <= 65_535:
            accepted[option] = window = min(number, MOST_WINDOW, max(buffer // _footprint(block), 1))
    if not accepted:
        return Terms(block, window, timeout, size, acknowledgement(0))
    words = (f"{option}\0{value}\0" for option, value in accepted.items())
    return Terms(block, window, timeout, size, OACK + "".join(words).encode())


def _footprint(block: int) -> int:
    """Return the bytes that a block takes of a receive buffer: the kernel rounds up to a power of two."""
    return 2 * block + 1024


def _number(text: str) -> int | None:
    """Return a decimal number of at most 18 digits; None if the text is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
