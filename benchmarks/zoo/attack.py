"""Process of one bad peer: python -m benchmarks.zoo.attack NAME KIND PORT SECONDS."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, cast

from benchmarks.zoo import entering, flooding, holding
from benchmarks.zoo.target import Kind, Target


class Beast(Protocol):
    """Kind of bad peer; its docstring describes it."""

    kinds: Sequence[Kind]
    """Services that it attacks by default."""

    def attack(self, target: Target, seconds: float) -> None:
        """Attack for `seconds`; connections that are open at the end are closed with the process."""


BEASTS: Mapping[str, Beast] = MappingProxyType(
    {
        "dribbler": holding.Dribbler(),
        "silent": holding.Silent(),
        "non-reader": holding.NonReader(),
        "stopped": holding.Stopped(),
        "half-open": holding.HalfOpen(),
        "reset": flooding.Reset(),
        "giant-line": flooding.GiantLine(),
        "pipeliner": flooding.Pipeliner(),
        "storm": flooding.Storm(),
        "single-storm": flooding.SingleStorm(),
        "empty-datagrams": flooding.EmptyDatagrams(),
        "half-handshake": entering.HalfHandshake(),
        "notify-ignorer": entering.NotifyIgnorer(),
        "bad-headers": entering.BadHeaders(),
        "swarm": entering.Swarm(),
        "descriptors": entering.Descriptors(),
    }
)

HARMLESS = "busy"


def main(name: str, kind: str, port: int, seconds: float) -> None:
    """Attack at a low priority: the measuring client runs on this core too, and goes first."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    beast = holding.Busy() if name == HARMLESS else BEASTS[name]
    beast.attack(Target(cast("Kind", kind), port), seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
