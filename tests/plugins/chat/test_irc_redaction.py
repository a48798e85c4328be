"""`REDACT` of IRC."""

from __future__ import annotations

import pytest

from tests.plugins.chat.irc_clients import Network

CAPS = "draft/message-redaction standard-replies"


def test_an_operator_removes_a_message_and_each_client_is_told_in_its_way() -> None:
    network = Network()
    ann = network.client("ann", "#den", caps=CAPS)
    bob = network.client("bob", "#den")
    bob.says("PRIVMSG #den :secret")
    ann.reads()
    bob.reads()
    ann.says("REDACT #den den/1 :a password")
    (told,) = ann.reads()
    assert told.startswith(":ann!ann@")
    assert told.endswith(" REDACT #den den/1 :a password")
    assert bob.reads() == [":irc.example NOTICE #den :ann removed message 1 (a password)"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("#den den/9", "UNKNOWN_MSGID #den den/9"),
        ("#den lobby/1", "UNKNOWN_MSGID #den lobby/1"),
        ("#den x", "UNKNOWN_MSGID #den x"),
        ("#elsewhere elsewhere/1", "INVALID_TARGET #elsewhere"),
        ("bob den/1", "INVALID_TARGET bob"),
        ("#den den/1", "REDACT_FORBIDDEN #den den/1"),
    ],
)
def test_what_cannot_be_removed_is_told_by_a_code(words: str, code: str) -> None:
    network = Network()
    ann = network.client("ann", "#den")
    bob = network.client("bob", "#den", caps=CAPS)
    ann.says("PRIVMSG #den :mine")
    bob.reads()
    bob.says(f"REDACT {words}")
    (line,) = bob.reads()
    assert line.startswith(f":irc.example FAIL REDACT {code} :")
