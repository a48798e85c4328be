"""Parts that conversations on a terminal and through a pipe share."""

from __future__ import annotations

from sockd.cli.address import Address
from sockd.cli.peer import Failed, Peer
from sockd.text import printable


class Farewell:
    """Line that ends a conversation over datagrams, sent once.

    Args:
        peer: gets the line.
        line: None where no line is needed.
    """

    def __init__(self, peer: Peer, line: bytes | None) -> None:
        self._peer = peer
        self._line = line

    def is_said_by(self, line: bytes) -> bool:
        """Tell whether a line of the input ends the conversation; if so, send the farewell."""
        if self._line is None or line.lower().split()[:1] != [self._line]:
            return False
        self.say()
        return True

    def say(self) -> None:
        """Send the farewell, unless it was sent already."""
        if self._line is not None:
            line, self._line = self._line, None
            self._peer.write(line)


def send_datagrams(lines: list[bytes], peer: Peer, end: Farewell) -> bool:
    """Send each line as a datagram; return whether one of them ended the conversation."""
    for line in lines:
        if end.is_said_by(line):
            return True
        peer.write(line)
    return False


def no_answer(address: Address, wait: float) -> Failed:
    """Make the error for datagrams that got no answer."""
    return Failed(f"{address}: no answer within {wait:g} s")


def printable_lines(data: bytes) -> list[str]:
    """Split data into lines that are safe to show on a terminal."""
    text = data.decode(errors="backslashreplace").removesuffix("\n")
    return [printable(line.removesuffix("\r")) for line in text.split("\n")]
