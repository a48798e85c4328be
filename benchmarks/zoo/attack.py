"""One bad peer in a process of its own: python -m benchmarks.zoo.attack NAME KIND PORT SECONDS."""

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
    """One kind of bad peer; its docstring says what it does."""

    kinds: Sequence[Kind]
    """The services that it is set on unless somebody says otherwise."""

    def attack(self, target: Target, seconds: float) -> None:
        """Do it for so long; what is open at the end is closed by the end of the process."""


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
    """Attack, whenever nobody else wants the core: the measuring client runs there too, and goes first."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    beast = holding.Busy() if name == HARMLESS else BEASTS[name]
    beast.attack(Target(cast("Kind", kind), port), seconds)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
