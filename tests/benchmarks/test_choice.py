from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.choice import pairs, turns
from benchmarks.peers import PEERS, sockd_of
from benchmarks.scenarios import SCENARIOS


def keys(*only: str) -> list[tuple[str, str]]:
    return [(scenario.key, peer.key) for scenario, peer in pairs(SCENARIOS, PEERS, only)]


def test_without_a_pattern_every_server_is_asked_only_what_it_can_speak() -> None:
    every = keys()
    assert ("tcp-1k", "sockd") in every
    assert ("udp-256", "sockd") in every
    assert ("lines", "sockd-lines") in every
    assert not {("udp-256", "streams"), ("lines", "sockd"), ("tcp-1k", "line-receiver")} & set(every)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("tcp-1k/c", [("tcp-1k", "c")]),
        ("tcp-64*/c", [("tcp-64", "c"), ("tcp-64k", "c")]),
        ("/line-receiver", [("lines", "line-receiver")]),
        ("lines", [("lines", "sockd-lines"), ("lines", "line-only-receiver"), ("lines", "line-receiver")]),
    ],
)
def test_a_pattern_names_scenarios_and_servers(pattern: str, expected: list[tuple[str, str]]) -> None:
    assert keys(pattern) == expected


def test_patterns_add_up_in_the_order_of_the_scenarios() -> None:
    assert keys("idle/c", "tcp-1k/c") == [("tcp-1k", "c"), ("idle", "c")]


def test_a_pattern_that_matches_nothing_is_told_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"tcp-1k.*sockd.*found 'tcp-2k'"):
        keys("tcp-1k", "tcp-2k")


def test_in_each_round_all_servers_are_measured_and_another_one_is_the_first() -> None:
    chosen = pairs(SCENARIOS, PEERS, ["tcp-1k/twisted-*", "lines"])
    rounds = [list(turns(chosen, number)) for number in range(4)]
    for one in rounds:
        assert [scenario.key for scenario, _ in one] == [scenario.key for scenario, _ in chosen]
        assert {peer.key for _, peer in one} == {peer.key for _, peer in chosen}
    first = [one[0][1].key for one in rounds]
    assert first == ["twisted-uv", "twisted-epoll", "twisted-asyncio", "twisted-asyncio-uvloop"]


def test_another_checkout_is_measured_with_its_own_programs(tmp_path: Path) -> None:
    for peer in sockd_of(tmp_path / "old"):
        assert peer.command("tcp", 7007, tmp_path)[0] == f"{tmp_path}/old/.venv/bin/twistd"
