"""Which servers are measured in which scenarios, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import groupby

from benchmarks.peers import Peer
from benchmarks.scenarios import Scenario

Pair = tuple[Scenario, Peer]


def pairs(scenarios: Sequence[Scenario], peers: Sequence[Peer], only: Sequence[str]) -> list[Pair]:
    """Every server in every scenario that it can serve, as far as one of the patterns `only` allows it.

    Args:
        scenarios: in the order of the result.
        peers: in the order of the first round.
        only: `SCENARIO/SERVER` with the wildcards of a shell; without a part, any. None at all: everything.

    Raises:
        ValueError: a pattern allows nothing.
    """
    able = [
        (scenario, peer) for scenario in scenarios for peer in peers if scenario.protocol in peer.protocols
    ]
    for pattern in only:
        if not any(_allows(pattern, *pair) for pair in able):
            known = (", ".join(one.key for one in several) for several in (scenarios, peers))
            raise ValueError("expected SCENARIO/SERVER of {} / {}, found {!r}".format(*known, pattern))
    return [pair for pair in able if not only or any(_allows(pattern, *pair) for pattern in only)]


def turns(chosen: Sequence[Pair], number: int) -> Iterator[Pair]:
    """One round, scenario by scenario; in each round another server is the first."""
    for _, group in groupby(chosen, key=lambda pair: pair[0].key):
        of_scenario = list(group)
        first = number % len(of_scenario)
        yield from of_scenario[first:] + of_scenario[:first]


def _allows(pattern: str, scenario: Scenario, peer: Peer) -> bool:
    for_scenario, _, for_peer = pattern.partition("/")
    return fnmatchcase(scenario.key, for_scenario or "*") and fnmatchcase(peer.key, for_peer or "*")
