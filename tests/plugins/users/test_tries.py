from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from sockd_plugins.users import tries as module
from sockd_plugins.users.tries import NotTried, Tries

WAIT = "wait a minute"


class Door:
    """Tries of the password `right`, as peers meet them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.looked = 0
        self.tries = Tries(self.has_password, execute, self.clock.seconds)

    def has_password(self, user: str, password: str) -> bool:
        self.looked += 1
        return (user, password) == ("ann", "right")

    def answer(self, password: str, source: str = "here", user: str = "ann") -> bool | str:
        found: list[Any] = []
        Deferred.fromCoroutine(self.tries.is_right(source, user, password)).addBoth(found.append)
        return found[0] if isinstance(found[0], bool) else str(found[0].check(NotTried) and found[0].value)


def test_a_right_password_is_hashed_once() -> None:
    door = Door()
    assert [door.answer("right") for _ in range(5)] == [True] * 5
    assert door.looked == 1


def test_a_password_is_looked_at_again_when_users_have_changed() -> None:
    door = Door()
    door.answer("right")
    door.tries.forget()
    assert door.answer("right") is True
    assert door.looked == 2


def test_a_source_that_guesses_is_stopped_for_a_minute_and_others_are_not() -> None:
    door = Door()
    assert [door.answer("x", user=f"user{number}") for number in range(10)] == [False] * 10
    assert door.answer("right") == f"10 wrong passwords came from there; {WAIT}"
    assert door.looked == 10
    assert door.answer("right", "there") is True
    door.clock.advance(60)
    assert door.answer("x") is False


def test_guesses_from_many_sources_are_stopped_and_hold_up_nobody_who_was_right_before() -> None:
    door = Door()
    for number in range(100):
        assert door.answer("x", f"source{number}", "bob") is False
    assert door.answer("x", "another", "bob") == f"100 wrong passwords of that user came; {WAIT}"
    assert door.answer("right", "another") is True
    for number in range(100):
        assert door.answer("x", f"source{number}") is False
    assert door.answer("x", "another") == f"100 wrong passwords of that user came; {WAIT}"
    assert door.answer("right", "another") is True


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    door = Door()
    for number in range(20):
        door.answer("x", f"source{number}", f"user{number}")
    assert len(door.tries._wrong_of_source._counted) == 3
    assert len(door.tries._wrong_of_user._counted) == 3


class Crowd:
    """Peers that show passwords at once."""

    def __init__(self) -> None:
        self.tried: list[Deferred[bool]] = []
        self.tries = Tries(lambda *_: False, self.run, Clock().seconds)

    def run(self, *_: object) -> Deferred[Any]:
        self.tried.append(Deferred())
        return self.tried[-1]

    def shows(self, number: int, password: str, source: str = "here") -> list[Any]:
        found: list[Any] = []
        for _ in range(number):
            right = self.tries.is_right(source, "ann", password)
            Deferred.fromCoroutine(right).addBoth(found.append)
        return found


def test_passwords_that_come_at_once_are_tried_one_after_the_other_and_no_more_than_others() -> None:
    crowd = Crowd()
    found = crowd.shows(50, "x")
    for number in range(10):
        assert len(crowd.tried) == number + 1
        crowd.tried[number].callback(False)
    assert len(crowd.tried) == 10
    texts = Counter("wrong" if each is False else each.getErrorMessage() for each in found)
    assert texts == {"wrong": 10, f"10 wrong passwords came from there; {WAIT}": 40}


def test_a_password_that_many_connections_show_at_once_is_tried_once() -> None:
    crowd = Crowd()
    found = crowd.shows(20, "right")
    crowd.tried[0].callback(True)
    assert len(crowd.tried) == 1
    assert found == [True] * 20


def test_only_so_many_passwords_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 3)
    crowd = Crowd()
    found = [crowd.shows(1, "x", f"source{number}") for number in range(6)]
    told = [each[0].getErrorMessage() for each in found if each]
    assert told == ["too many passwords wait to be tried; wait a moment"] * 2
    for number in range(4):
        crowd.tried[number].callback(False)
    assert all(found)
