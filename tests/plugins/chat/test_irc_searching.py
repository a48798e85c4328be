from __future__ import annotations

import pytest

from tests.plugins.chat.irc_clients import IrcClient, Network

CAPS = "batch server-time message-tags standard-replies soju.im/search"


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def ann(network: Network) -> IrcClient:
    """Return a client in a room in which three messages were said."""
    ann, bob = network.client("ann", "#a", caps=CAPS), network.client("bob", "#a")
    bob.says("PRIVMSG #a :the pager beeps", "PRIVMSG #a :who has it?", "PRIVMSG #a :the Pager again")
    ann.reads()
    return ann


def test_messages_are_found_by_their_words_the_oldest_first(ann: IrcClient) -> None:
    ann.says(
        "SEARCH in=#a;text=PAGER", r"SEARCH in=#A;text=the\spager\sbeeps", "SEARCH in=#a;text=pager;limit=1"
    )
    texts = [line.split(" :")[-1] for line in ann.reads() if " BATCH " not in line]
    assert texts == ["the pager beeps", "the Pager again", "the pager beeps", "the Pager again"]


@pytest.mark.parametrize(
    ("request_", "key"),
    [("text=x", "in"), ("in=#b;text=x", "in"), ("in=#a;from=bob", "from"), ("in=#a;limit=x", "limit")],
)
def test_a_faulty_search_is_told_at_its_key(ann: IrcClient, request_: str, key: str) -> None:
    ann.says(f"SEARCH {request_}")
    (line,) = ann.reads()
    assert line.startswith(f":irc.example FAIL SEARCH INVALID_PARAMS {key} :")
