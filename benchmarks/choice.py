"""Choice of servers and scenarios, and their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import groupby

from benchmarks.peers import Peer
from benchmarks.scenarios import Scenario

Pair = tuple[Scenario, Peer]


def pairs(scenarios: Sequence[Scenario], peers: Sequence[Peer], only: Sequence[str]) -> list[Pair]:
    """Return every scenario with every server that can serve it and that a pattern of `only` allows.

    Args:
        scenarios: in the order of the result.
        peers: in the order of the first round.
        only: `SCENARIO/SERVER` with the wildcards of a shell; a missing part means any. Empty: everything.

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
    """Yield one round, scenario by scenario; each round begins with another server."""
    for _, group in groupby(chosen, key=lambda pair: pair[0].key):
        of_scenario = list(group)
        first = number % len(of_scenario)
        yield from of_scenario[first:] + of_scenario[:first]


def _allows(pattern: str, scenario: Scenario, peer: Peer) -> bool:
    for_scenario, _, for_peer = pattern.partition("/")
    return fnmatchcase(scenario.key, for_scenario or "*") and fnmatchcase(peer.key, for_peer or "*")
