"""Parts that conversations on a terminal and through a pipe share."""

from __future__ import annotations

from sockd.cli.address import Address
from sockd.cli.peer import Failed
from sockd.text import printable


def no_answer(address: Address, wait: float) -> Failed:
    """Make the error for datagrams that got no answer."""
    return Failed(f"{address}: no answer within {wait:g} s")


def printable_lines(data: bytes) -> list[str]:
    """Split data into lines that are safe to show on a terminal."""
    text = data.decode(errors="backslashreplace").removesuffix("\n")
    return [printable(line.removesuffix("\r")) for line in text.split("\n")]
