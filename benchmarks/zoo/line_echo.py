"""Protocol of lines that sockd and plain Twisted both serve: each line goes back as it came."""

from __future__ import annotations

from twisted.protocols.basic import LineOnlyReceiver
from typing_extensions import override


class LineEcho(LineOnlyReceiver):
    """Echo with Twisted's own framing, of 16,384 bytes a line at most."""

    delimiter = b"\n"

    @override
    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)  # type: ignore[no-untyped-call]
