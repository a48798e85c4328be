"""Process of the good peer: python -m benchmarks.zoo.client KIND PORT SECONDS."""

from __future__ import annotations

import gc
import json
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast

from benchmarks.zoo.target import LINE, Kind, Target

PAUSE = 0.002
"""Seconds between two requests."""

NEWCOMER_EVERY = 50
"""Requests after which a new connection is tried beside the lasting one."""

HEAD_START = 0.3
"""Seconds that the good peer runs before the bad one; they are not counted."""

GIVEN_UP = 5.0
"""Seconds after which a missing answer counts as none."""


@dataclass(frozen=True, slots=True)
class Felt:
    """Experience of a good peer with a server, in seconds.

    Attributes:
        p50: of the requests on a lasting connection.
        p99: of the requests on a lasting connection.
        answers: number of answers.
        lost: how often that connection was lost, or an answer did not come.
        newcomers: further connections that were tried for one request.
        served: newcomers that were answered.
    """

    p50: float
    p99: float
    answers: int
    lost: int
    newcomers: int
    served: int


def feel(target: Target, seconds: float) -> Felt:
    """Send requests for `seconds`, after the head start."""
    taken: list[float] = []
    lost = newcomers = served = 0
    start = time.monotonic() + HEAD_START
    end = start + seconds
    lasting: socket.socket | None = None
    while time.monotonic() < end:
        begun = time.perf_counter()
        try:
            if lasting is None:
                lasting = target.enter()
                lasting.settimeout(GIVEN_UP)
                begun = time.perf_counter()
            _ask(lasting)
        except OSError:
            lost, lasting = lost + 1, None
        if time.monotonic() > start:
            taken.append(time.perf_counter() - begun)
        if len(taken) % NEWCOMER_EVERY == 1:
            newcomers += 1
            served += _newcomer(target)
        time.sleep(PAUSE)
    taken.sort()
    return Felt(_at(taken, 0.50), _at(taken, 0.99), len(taken) - lost, lost, newcomers, served)


def _newcomer(target: Target) -> bool:
    try:
        with target.enter() as peer:
            _ask(peer)
    except OSError:
        return False
    return True


def _ask(peer: socket.socket) -> None:
    peer.sendall(LINE)
    missing = len(LINE)
    while missing:
        data = peer.recv(missing)
        if not data:
            raise ConnectionError("closed by the server")
        missing -= len(data)


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else GIVEN_UP


if __name__ == "__main__":
    gc.disable()
    print(json.dumps(asdict(feel(Target(cast("Kind", sys.argv[1]), int(sys.argv[2])), float(sys.argv[3])))))  # noqa: T201
