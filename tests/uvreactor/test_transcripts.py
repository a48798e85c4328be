from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TRANSCRIPTS = Path(__file__).with_name("transcripts.py")

OUTPUT_MAY_BE_LOST = {
    # uvloop writes at once what Twisted writes in the next turn, so more is sent when the end comes.
    "PeerEnds",
    "PutOffWhenMadeAndPeerEnds",
    "WriteAndAbort",
    "ProducerAborts",
    # Whether the peer's last bytes had been read when the socket was closed depends on timing.
    "LoseAndHearNoMore",
    "PausedAndAborted",
    "LoseWithUnreadData",
    "LoseInTheNextTurn",
    "AbortInTheNextTurn",
}
"""Scenarios in which the amount that the peer sees is not promised."""

DIFFERENT = {
    # Twisted's own transports differ here too: over TCP such a connection ends; over UNIX sockets, which
    # are connected at once, it goes on. With uvloop both end.
    "RaiseWhenMade unix client",
    # A pull producer is asked once more at the beginning, because a write before its registration cannot
    # be seen once the kernel has taken it.
    "PullProducerAndPeerLeaves tcp server",
    "PullProducerAndPeerLeaves tcp client",
    "PullProducerAndPeerLeaves unix server",
    "PullProducerAndPeerLeaves unix client",
    # A client of a UNIX socket is connected among the due calls, and Twisted reads in the same turn: its
    # delayed calls come after the data there, and here before them, as everywhere else.
    "PutOffWhenMade unix client",
    "PutOffWhenMadeAndPeerLeaves unix client",
    "PutOffWhenMadeAndPeerEnds unix client",
    "PutOffTwice unix client",
    "PutOffForLessThanATurn unix client",
    "PutOffAsFromAThread unix client",
    "PauseInTheNextTurn unix client",
    "LoseInTheNextTurn unix client",
    "AbortInTheNextTurn unix client",
    "ProtocolOfTheNextTurn unix client",
    "RaiseInTheNextTurn unix client",
}


def transcripts(reactor: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(TRANSCRIPTS), reactor],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )


def promised(title: str, transcript: list[str]) -> list[str]:
    if title.split()[0] in OUTPUT_MAY_BE_LOST:
        return [event for event in transcript if not event.startswith("peer")]
    return transcript


@pytest.fixture(scope="module")
def both() -> tuple[dict[str, Any], dict[str, Any]]:
    pytest.importorskip("uvloop")
    running = [transcripts("epoll"), transcripts("uv")]
    epoll, uv = (json.loads(process.communicate(timeout=240)[0]) for process in running)
    return epoll, uv


@pytest.mark.long
def test_protocols_see_the_same_on_epoll_and_on_uvloop(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    epoll, uv = ({title: promised(title, seen) for title, seen in one.items()} for one in both)
    assert len(epoll) > 150
    assert {
        title: (seen, uv[title])
        for title, seen in epoll.items()
        if seen != uv[title] and title not in DIFFERENT
    } == {}


def test_every_scenario_comes_to_an_end(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert not [title for one in both for title, seen in one.items() if "nothing more" in seen]
