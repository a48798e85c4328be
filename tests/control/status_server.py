"""Serves the snapshot of an imagined server to a browser; says its port and goes on until it is ended.

With each look the server ages by a second. Words on the command line: `workers` gives it some, `gone` lets it
fail from its fifth look on, `back` does so for two looks, `unserved` has read a faulty configuration.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from twisted.internet import reactor

from sockd.config import SocketOptions
from sockd.control import pages
from sockd.endpoint import parse
from sockd.sockets.open import open_socket

SNAPSHOT: dict[str, Any] = json.loads((Path(__file__).parents[1] / "telemetry" / "snapshot.json").read_text())


class Imagined:
    """A server that always has something to do."""

    def __init__(self, traits: Collection[str]) -> None:
        self._status: dict[str, Any] = json.loads(json.dumps(SNAPSHOT))
        self._looks = 0
        self._traits = traits

    def snapshot(self) -> Any:
        """What it tells, each time a second later."""
        self._looks += 1
        if self._looks > 4 and ("gone" in self._traits or ("back" in self._traits and self._looks < 7)):
            raise RuntimeError("gone")
        wave = 1 + 0.3 * math.sin(self._looks / 9) + 0.1 * math.sin(self._looks / 2.3)
        self._status["time"] += 1
        self._status["reactor_delay"] = 0.0004 * wave
        for service, was in zip(self._status["services"], SNAPSHOT["services"], strict=True):
            service["connections"] = round(was["connections"] * (0.9 + 0.1 * wave))
            service["received"] += round(was["received"] / 30_000 * wave)
            service["sent"] += round(was["sent"] / 30_000 * (2 - wave))
        self._status["config_ok"] = "unserved" not in self._traits
        if "workers" in self._traits:
            worker = {
                key: self._status[key]
                for key in ("state", "services", "descriptors", "reactor_delay", "timers")
            }
            return self._status | {
                "workers": [
                    {"worker": number, "pid": 4712 + number, "generation": 1, **worker} for number in range(2)
                ]
            }
        return dict(self._status)


def main() -> None:
    pages.SNAPSHOT_AGE = 0.0  # a headless browser lets its time pass faster
    bound = open_socket(parse("tcp:0:interface=127.0.0.1"), SocketOptions())
    imagined = Imagined(sys.argv[1:])
    pages.MetricsListener(bound, imagined.snapshot, reactor).open()
    sys.stdout.write(f"{bound.socket.getsockname()[1]}\n")
    sys.stdout.flush()
    reactor.run()


if __name__ == "__main__":
    main()
