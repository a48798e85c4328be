"""Removal of what was said, and rooms that were closed, with a hub on a real history."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd_plugins.chat.commands import note_changes
from sockd_plugins.chat.history.erasing import Bounds
from sockd_plugins.chat.history.history import History
from sockd_plugins.chat.history.records import records_in
from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.events import REMOVED, Change, Entered, Event, Redacted, Said
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.rules import Rules
from tests.plugins.chat.turns import ShortTurns

RULES = Rules("lobby", 100, 100, 24, 400, 20, 1000.0, 1000)


class Ear:
    def __init__(self) -> None:
        self.heard: list[Event] = []

    def deliver(self, batch: Batch) -> None:
        self.heard.extend(batch.events)


def done(coroutine: Coroutine[Any, Any, Any]) -> Any:
    results: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


class Chat:
    """Chat that is started and ended as a daemon does."""

    def __init__(self, folder: Path) -> None:
        clock = ShortTurns()
        self.history = History(folder, Bounds(age=0), clock, Logger())
        self.hub = Hub(RULES, clock, Logger(), self.history)

        def tell(changes: Any) -> None:
            note_changes(self.hub, changes)

        self.history.on_changes = tell

    def enters(self, name: str, room: str = "lobby", account: str = "") -> tuple[Person, Ear]:
        ear = Ear()
        person = self.hub.enter(name, ear, account=account)
        self.hub.join(person, room)
        return person, ear

    def shows(self, name: str, room: str = "lobby") -> list[str]:
        """Return the texts that a newcomer is shown, and that it may read back."""
        person, ear = self.enters(name, room)
        (entered,) = [event for event in ear.heard if isinstance(event, Entered)]
        back = done(self.hub.since(person, room, 0, 100))
        assert [said.text for said in entered.recent] == [said.text for said in back]
        self.hub.leave(person, "")
        return [said.text for said in back]

    def end(self) -> None:
        self.hub.close("")
        done(self.hub.finish())
        done(self.history.close())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Chat]]:
    chats: list[Chat] = []

    def start_one() -> Chat:
        for earlier in chats:
            earlier.end()
        chats[:] = [Chat(tmp_path)]
        return chats[0]

    yield start_one
    for chat in chats:
        chat.end()


@pytest.fixture
def chat(start: Callable[[], Chat]) -> Chat:
    return start()


def test_an_operator_removes_the_text_of_a_message_for_all(chat: Chat) -> None:
    ann, ear = chat.enters("ann", "den")
    bob, _ = chat.enters("bob", "den")
    for text in ("one", "secret", "three"):
        chat.hub.say(bob, "den", text)
    done(chat.hub.record.redact(ann, "den", 2, "a \x1b[1mpassword"))
    assert ear.heard[-1] == Redacted("den", 2, "ann", r"a \x1b[1mpassword")
    assert chat.shows("cleo", "den") == ["one", REMOVED, "three"]
    found = done(chat.history.since("den", 0, 10))
    assert [said.text for said in found] == ["one", REMOVED, "three"]


def test_people_remove_what_they_have_said_under_their_account(chat: Chat) -> None:
    chat.enters("op", "den")
    ann, _ = chat.enters("ann", "den", account="ann")
    other, _ = chat.enters("ann_", "den", account="eve")
    chat.hub.say(ann, "den", "oops")
    with pytest.raises(ChatRefused, match=r"^only operators of den may do that$"):
        done(chat.hub.record.redact(other, "den", 1))
    done(chat.hub.record.redact(ann, "den", 1))
    assert chat.shows("cleo", "den") == [REMOVED]


def test_people_search_what_they_may_read(chat: Chat) -> None:
    ann, _ = chat.enters("ann", "den")
    for text in ("deploy failed", "lunch", "deployed again"):
        chat.hub.say(ann, "den", text)
    chat.history.tidy()
    found = done(chat.hub.record.search(ann, "den", "DEPLOY", 10))
    assert [said.text for said in found] == ["deployed again", "deploy failed"]
    with pytest.raises(ChatRefused, match=r"^there is no word to search for$"):
        done(chat.hub.record.search(ann, "den", "?", 10))
    chat.hub.set_modes(ann, "den", [Change(True, "k", "word")])
    chat.hub.leave(ann, "")
    eve, _ = chat.enters("eve", "den")
    assert done(chat.hub.record.search(eve, "den", "deploy", 10)) == []


@pytest.mark.parametrize("number", [0, 2, 10**12])
def test_what_was_not_said_cannot_be_removed(chat: Chat, number: int) -> None:
    ann, _ = chat.enters("ann", "den")
    chat.hub.say(ann, "den", "one")
    with pytest.raises(ChatRefused, match=r"^there is no message \d+ in den$"):
        done(chat.hub.record.redact(ann, "den", number))


def test_a_message_that_memory_does_not_hold_is_removed_from_the_disk(chat: Chat) -> None:
    ann, _ = chat.enters("ann", "den")
    for number in range(1, 31):
        chat.hub.say(ann, "den", f"message {number}")
    done(chat.hub.record.redact(ann, "den", 3))
    assert [said.text for said in done(chat.hub.since(ann, "den", 1, 3))] == [
        "message 2",
        REMOVED,
        "message 4",
    ]


def test_what_a_command_removes_is_gone_from_a_running_chat(chat: Chat, tmp_path: Path) -> None:
    ann, ear = chat.enters("ann")
    bob, _ = chat.enters("bob")
    for person, text in ((ann, "one"), (bob, "secret"), (ann, "three")):
        chat.hub.say(person, "lobby", text)
    with records_in(tmp_path) as records:
        assert records.redact("LOBBY", 2, "a password")
        assert records.forget("Ann") == 2
    chat.history.tidy()
    assert ear.heard[-1] == Redacted("lobby", 2, "", "a password")
    _, heard = chat.enters("cleo")
    (entered,) = [event for event in heard.heard if isinstance(event, Entered)]
    assert [(said.name, said.text) for said in entered.recent] == [
        ("-", REMOVED),
        ("bob", REMOVED),
        ("-", REMOVED),
    ]


@pytest.mark.parametrize("mode", [Change(True, "k", "word"), Change(True, "i", ""), Change(True, "s", "")])
@pytest.mark.parametrize("how", ["all leave", "the daemon ends", "it is opened"])
def test_what_was_said_in_a_closed_room_is_not_shown_to_those_who_come_later(
    start: Callable[[], Chat], mode: Change, how: str
) -> None:
    chat = start()
    ann, _ = chat.enters("ann", "den")
    chat.hub.say(ann, "den", "before")
    chat.hub.set_modes(ann, "den", [mode])
    chat.hub.say(ann, "den", "secret")
    assert [said.text for said in done(chat.hub.since(ann, "den", 0, 9))] == ["before", "secret"]
    match how:
        case "all leave":
            chat.hub.leave(ann, "")
        case "the daemon ends":
            chat = start()
        case _:
            chat.hub.set_modes(ann, "den", [Change(False, mode.mode, mode.argument)])
    assert chat.shows("eve", "den") == []
    assert done(chat.history.since("den", 0, 9)) == ()
    bob, _ = chat.enters("bob", "den")
    chat.hub.say(bob, "den", "after")
    assert chat.shows("eve", "den") == ["after"]
    assert done(chat.history.latest("den", 9)) == (3, (Said("den", "bob", "after", 3, bob.spoke_at),))


def test_the_history_of_an_open_room_is_there_when_it_is_opened_again(start: Callable[[], Chat]) -> None:
    chat = start()
    ann, _ = chat.enters("ann", "den")
    chat.hub.say(ann, "den", "hello")
    chat.hub.leave(ann, "")
    assert chat.shows("eve", "den") == ["hello"]
    assert start().shows("eve", "den") == ["hello"]
