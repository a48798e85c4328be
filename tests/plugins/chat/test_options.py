from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sockd_plugins.chat import Chat
from sockd_plugins.chat.hub.rules import RoomRules


def fault(**options: Any) -> str:
    with pytest.raises(ValidationError) as error:
        Chat(**options)
    return error.value.errors()[0]["msg"]


def test_a_room_is_configured_by_its_topic_owners_key_modes_and_policy() -> None:
    room: Any = {
        "topic": "pagers\x1b",
        "owners": ["Ann"],
        "key": "hush",
        "modes": "st",
        "read_back": "joined",
    }
    chat = Chat(rooms={"ops": room})
    assert chat.rooms["ops"].rules == RoomRules("pagers\\x1b", frozenset({"ann"}), "hush", "st", "joined")
    assert "hush" not in repr(chat)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rooms": {"a b": {}}}, "expected the name of a room"),
        ({"rooms": {"..": {}}}, "expected the name of a room"),
        ({"room": "-x"}, "expected the name of a room"),
        ({"rooms": {"ops": {}, "0ps": {}}}, "found ops and 0ps"),
        ({"rooms": {"l0bby": {}}}, "found lobby and l0bby"),
        ({"rooms": {"ops": {"modes": "tx"}}}, "expected letters of i, m, n, s and t, found 'x'"),
        ({"rooms": {"ops": {"key": "a b"}}}, "expected at most 32 ASCII characters"),
        ({"rooms": {"ops": {"read_back": "some"}}}, "Input should be 'all', 'joined' or 'none'"),
    ],
)
def test_a_room_that_cannot_be_is_a_fault(options: dict[str, Any], text: str) -> None:
    assert text in fault(**options)


def test_the_first_room_may_be_configured_too() -> None:
    rooms: Any = {"lobby": {"topic": "hello"}}
    assert Chat(room="lobby", rooms=rooms).rooms["lobby"].topic == "hello"


def test_a_file_of_accounts_that_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "accounts.txt"
    assert list(Chat(accounts=file).problems()) == [("accounts", "no such file or directory")]
    file.write_text("ann:secret\n")
    [(option, reason)] = Chat(accounts=file).problems()
    assert (option, reason.endswith("in line 1"), "secret" in reason) == ("accounts", True, False)
    file.write_text("# nobody yet\n")
    assert list(Chat(accounts=file).problems()) == []
    assert list(Chat().problems()) == []
