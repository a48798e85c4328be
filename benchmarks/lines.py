"""Measurement of one framer of lines: lines.py FRAMER LENGTH SECONDS

Each read has 64 KiB, the lines end with CR LF, and are only counted. The result is one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from twisted.internet.testing import StringTransport
from twisted.protocols.basic import LineOnlyReceiver, LineReceiver
from typing_extensions import override

from sockd.framing import Lines

READ = 65_536
"""Bytes of one read of a busy stream."""

READS_AT_ONCE = 20
"""Reads between two readings of the clock."""


class _OnlyLines(LineOnlyReceiver):
    @override
    def lineReceived(self, line: bytes) -> None:
        pass


class _LinesOrRaw(LineReceiver):
    @override
    def lineReceived(self, line: bytes) -> None:
        pass


def by_sockd() -> Callable[[bytes], None]:
    """Feed `sockd.framing`."""
    lines = Lines()

    def feed(data: bytes) -> None:
        for _ in lines.feed(data):
            pass

    return feed


def by_twisted(receiver: type[LineOnlyReceiver | LineReceiver]) -> Callable[[bytes], None]:
    """Feed one of Twisted's receivers."""
    protocol = receiver()
    protocol.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    return protocol.dataReceived


FRAMERS: dict[str, Callable[[], Callable[[bytes], None]]] = {
    "sockd": by_sockd,
    "line-only-receiver": lambda: by_twisted(_OnlyLines),
    "line-receiver": lambda: by_twisted(_LinesOrRaw),
}


def main(framer: str, length: int, seconds: float) -> None:
    """Feed the framer for a number of seconds of processor time."""
    feed = FRAMERS[framer]()
    line = b"x" * (length - 2) + b"\r\n"
    data = line * (READ // length)
    reads = 0
    began = time.process_time()
    while (spent := time.process_time() - began) < seconds:
        for _ in range(READS_AT_ONCE):
            feed(data)
        reads += READS_AT_ONCE
    count = reads * (READ // length)
    nothing = {"load_cpu": 0.0, "p50": 0.0, "p99": 0.0, "grown": 0}
    print(json.dumps({"count": count, "seconds": spent, "server_cpu": spent} | nothing))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
