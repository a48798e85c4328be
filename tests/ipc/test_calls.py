"""Questions and answers between two processes, here in one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sockd.control.words import Refused
from sockd.ipc.calls import Calls, NoAnswer


class Reactor(Clock):
    """A clock that also lets those read who can."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, one: Any) -> None:
        self.readers.append(one)

    def removeReader(self, one: Any) -> None:
        if one in self.readers:
            self.readers.remove(one)

    def addWriter(self, one: Any) -> None:
        raise AssertionError("small messages are written at once")

    def removeWriter(self, one: Any) -> None:
        """Nobody waits to write."""

    def turn(self) -> None:
        for _ in range(10):
            for reader in list(self.readers):
                reader.doRead()


class Worker:
    """An end that answers."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []

    async def answer(self, command: str, arguments: dict[str, Any], descriptors: list[int]) -> Any:
        match command:
            case "sum":
                return sum(arguments["numbers"])
            case "refuse":
                raise Refused("not today", {"report": "rain"}, code="unknown-service")
            case "fault":
                raise KeyError("colour")
            case "read":
                return [os.read(descriptor, 9).decode() for descriptor in descriptors]
        self.waiting.append(Deferred())
        return await self.waiting[-1]


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def calls(reactor: Reactor, worker: Worker) -> Iterator[tuple[Calls, Calls]]:
    one, two = socket.socketpair()
    pair = Calls(one, reactor), Calls(two, reactor, worker.answer, takes_descriptors=True)
    yield pair
    for each in pair:
        each.close()


def outcome(reactor: Reactor, asking: Any, seconds: float = 0) -> Any:
    """What becomes of a question after so many seconds."""
    results: list[Any] = []
    Deferred.fromCoroutine(asking).addBoth(results.append)
    reactor.turn()
    reactor.advance(seconds)
    return getattr(results[0], "value", results[0]) if results else None


def test_a_question_is_answered(reactor: Reactor, calls: tuple[Calls, Calls]) -> None:
    assert outcome(reactor, calls[0].ask("sum", numbers=[1, 2, 3])) == 6


def test_a_refusal_comes_with_its_reason_its_report_and_its_code(
    reactor: Reactor, calls: tuple[Calls, Calls]
) -> None:
    error = outcome(reactor, calls[0].ask("refuse"))
    assert isinstance(error, Refused)
    assert (str(error), error.result, error.code) == ("not today", {"report": "rain"}, "unknown-service")


def test_descriptors_go_with_a_question(reactor: Reactor, calls: tuple[Calls, Calls]) -> None:
    read, write = os.pipe()
    os.write(write, b"hello")
    assert outcome(reactor, calls[0].ask("read", descriptors=[read])) == ["hello"]
    os.close(read)
    os.close(write)


def test_an_answer_that_comes_too_late_is_none(
    reactor: Reactor, calls: tuple[Calls, Calls], worker: Worker
) -> None:
    error = outcome(reactor, calls[0].ask("wait", within=3), 3)
    assert isinstance(error, NoAnswer)
    worker.waiting[0].callback("late")
    assert outcome(reactor, calls[0].ask("sum", numbers=[1])) == 1


def test_questions_are_answered_in_any_order(
    reactor: Reactor, calls: tuple[Calls, Calls], worker: Worker
) -> None:
    results: list[Any] = []
    for _ in range(2):
        Deferred.fromCoroutine(calls[0].ask("wait")).addCallback(results.append)
    reactor.turn()
    worker.waiting[1].callback("second")
    worker.waiting[0].callback("first")
    reactor.turn()
    assert results == ["second", "first"]


def test_nobody_waits_for_an_end_that_is_gone(reactor: Reactor, calls: tuple[Calls, Calls]) -> None:
    results: list[Any] = []
    Deferred.fromCoroutine(calls[0].ask("wait")).addErrback(lambda failure: results.append(failure.type))
    reactor.turn()
    calls[1].close()
    reactor.turn()
    assert results == [NoAnswer]
    assert isinstance(outcome(reactor, calls[0].ask("sum", numbers=[1])), NoAnswer)
    assert reactor.getDelayedCalls() == []
