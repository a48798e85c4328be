"""Messages with descriptors between two processes, here in one."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockd.ipc import channel
from sockd.ipc.channel import Channel


class Reactor:
    """Remembers who wants to read and to write, and serves them until nobody can any more."""

    def __init__(self) -> None:
        self.readers: list[Any] = []
        self.writers: list[Any] = []

    def addReader(self, one: Any) -> None:
        self.readers.append(one)

    def addWriter(self, one: Any) -> None:
        if one not in self.writers:
            self.writers.append(one)

    def removeReader(self, one: Any) -> None:
        self.readers = [other for other in self.readers if other is not one]

    def removeWriter(self, one: Any) -> None:
        self.writers = [other for other in self.writers if other is not one]

    def turn(self) -> None:
        for _ in range(1000):
            for reader in list(self.readers):
                reader.doRead()
            for writer in list(self.writers):
                writer.doWrite()


class End:
    """One end, and what it has got."""

    def __init__(self, reactor: Reactor, sock: socket.socket, *, takes: bool = True) -> None:
        self.got: list[tuple[dict[str, Any], list[int]]] = []
        self.lost = 0
        self.channel = Channel(
            sock, reactor, lambda *one: self.got.append(one), self._lost, takes_descriptors=takes
        )

    def _lost(self) -> None:
        self.lost += 1


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def ends(reactor: Reactor) -> Iterator[tuple[End, End]]:
    one, two = socket.socketpair()
    pair = End(reactor, one), End(reactor, two)
    yield pair
    for end in pair:
        end.channel.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_messages_arrive_whole_and_in_order(reactor: Reactor, ends: tuple[End, End]) -> None:
    sent = [{"number": number, "text": "ä" * number * 100} for number in range(300)]
    for message in sent:
        ends[0].channel.send(message)
    reactor.turn()
    assert [message for message, _ in ends[1].got] == sent


def test_each_message_has_its_own_descriptors(reactor: Reactor, ends: tuple[End, End]) -> None:
    pipes = [os.pipe() for _ in range(300)]
    for number, (read, write) in enumerate(pipes):
        os.write(write, b"%d" % number)
        ends[0].channel.send({"one": number}, [read])
    ends[0].channel.send({"all": True}, [read for read, _ in pipes])
    for read, write in pipes:
        os.close(read)
        os.close(write)
    reactor.turn()
    *single, (last, many) = ends[1].got
    assert [os.read(descriptors[0], 9) for _, descriptors in single] == [b"%d" % n for n in range(300)]
    assert (last, len(many)) == ({"all": True}, 300)
    for descriptor in [*many, *(descriptors[0] for _, descriptors in single)]:
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


def test_an_end_that_takes_no_descriptors_gets_none_and_keeps_none_open(reactor: Reactor) -> None:
    before = open_descriptors()
    one, two = socket.socketpair()
    sender, receiver = End(reactor, one), End(reactor, two, takes=False)
    sender.channel.send({"take": "this"}, [0])
    reactor.turn()
    assert (receiver.got, receiver.lost) == ([], 1)
    reactor.turn()
    assert sender.lost == 1
    assert open_descriptors() == before


def test_what_was_not_taken_is_closed_at_the_end(reactor: Reactor) -> None:
    before = open_descriptors()
    one, two = socket.socketpair()
    sender = End(reactor, one)
    sender.channel.send({"a": "b" * 10_000_000}, [0, 1, 2])
    sender.channel.send({}, [0, 1, 2])
    sender.channel.close()
    two.close()
    assert open_descriptors() == before


def test_the_end_is_told_once_and_sending_is_harmless_then(reactor: Reactor, ends: tuple[End, End]) -> None:
    ends[0].channel.close()
    reactor.turn()
    ends[1].channel.send({"too": "late"})
    ends[1].channel.close()
    assert [end.lost for end in ends] == [1, 1]
    assert (reactor.readers, reactor.writers) == ([], [])


def test_what_a_process_said_last_is_read_when_it_is_gone(reactor: Reactor, ends: tuple[End, End]) -> None:
    ends[0].channel.send({"last": "words"})
    ends[0].channel.close()
    ends[1].channel.read_the_rest()
    assert [message for message, _ in ends[1].got] == [{"last": "words"}]
    assert ends[1].lost == 1


def test_what_nobody_reads_is_bounded(
    reactor: Reactor, ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "LONGEST", 1_000_000)
    for _ in range(20):
        ends[0].channel.send({"text": "x" * 100_000})
    assert ends[0].lost == 1


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_no_bytes_do_more_than_end_it(data: bytes) -> None:
    reactor = Reactor()
    one, two = socket.socketpair()
    end = End(reactor, two)
    with one:
        one.sendall(data + struct.pack("!IH", 2, 0) + b"[]")
    end.channel.read_the_rest()
    assert end.lost == 1
    assert all(isinstance(message, dict) for message, _ in end.got)
