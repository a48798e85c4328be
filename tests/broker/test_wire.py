"""Wire format of NATS, and entries as messages."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd.broker import Draft
from sockd.broker.batches import BatchFault, decode, encode
from sockd.broker.names import name_of, token
from sockd.broker.nats.wire import MOST_LINE, MOST_PAYLOAD, Control, Message, Reader, WireFault, publication


def read(*pieces: bytes) -> list[Message | Control]:
    reader = Reader()
    return [each for piece in pieces for each in reader.feed(piece)]


SENT = (
    b"INFO {\"a\":1}\r\nPING\r\n-ERR 'Authorization Violation'\r\n"
    b"MSG a.b 1 5\r\nhello\r\nMSG a 2 in.1 0\r\n\r\n"
    b"HMSG a 3 in.2 23 26\r\nNATS/1.0 503\r\nA: 1 \r\n\r\nabc\r\nPONG\r\n"
)


def test_messages_and_lines_are_read_in_their_order() -> None:
    info, ping, error, first, second, third, pong = read(SENT)
    assert info == Control("INFO", b'{"a":1}')
    assert (ping, pong) == (Control("PING", b""), Control("PONG", b""))
    assert error == Control("-ERR", b"'Authorization Violation'")
    assert first == Message("a.b", 1, "", b"", b"hello")
    assert second == Message("a", 2, "in.1", b"", b"")
    assert isinstance(third, Message)
    assert (third.status, third.headers, third.data) == (503, {"a": "1"}, b"abc")


@given(st.lists(st.integers(1, len(SENT) - 1)))
def test_any_pieces_are_read_as_the_whole(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(SENT)]
    pieces = [SENT[begin:end] for begin, end in pairwise(places)]
    assert read(*pieces) == read(SENT)


@pytest.mark.parametrize(
    "data",
    [
        b"MSG a 1 -5\r\n",
        b"MSG a 1 %d\r\n" % (MOST_PAYLOAD + 1),
        b"MSG a x 5\r\nhello\r\n",
        b"MSG a 1 many\r\n",
        b"MSG 5\r\nhello\r\n",
        b"HMSG a 1 9 5\r\nhello\r\n",
        b"HMSG a 1 -1 5\r\nhello\r\n",
        b"x" * (MOST_LINE + 1),
    ],
)
def test_anything_else_is_a_fault(data: bytes) -> None:
    with pytest.raises(WireFault):
        read(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_a_fault(data: bytes) -> None:
    with suppress(WireFault):
        read(data + b"\r\n")


def test_a_publication_says_its_sizes() -> None:
    assert publication("a.b", b"hello") == b"PUB a.b 5\r\nhello\r\n"
    assert publication("a", b"", "in.1") == b"PUB a in.1 0\r\n\r\n"
    assert (
        publication("a", b"xy", "in.1", {"A": "1"}) == b"HPUB a in.1 18 20\r\nNATS/1.0\r\nA: 1\r\n\r\nxy\r\n"
    )


drafts = st.lists(st.builds(Draft, st.binary(max_size=50), st.booleans()), max_size=20)


@given(drafts, st.integers(1, 10**12), st.integers(0, 10**9))
def test_a_batch_is_read_as_it_was_written(drafts: list[Draft], first: int, count: int) -> None:
    batch = decode(encode("o1", count, first, 1764336000.123, drafts))
    assert (batch.origin, batch.count) == ("o1", count)
    assert [Draft(each.data, each.numbered) for each in batch.entries] == drafts
    numbers = [each.number for each in batch.entries if each.numbered]
    assert numbers == list(range(first, first + len(numbers)))
    assert batch.last == first - 1 + len(numbers)
    assert {each.at for each in batch.entries} <= {1764336000.123}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"sockd2 o 1 1 0\n",
        b"sockd1 o 1 1\n",
        b"sockd1 o 1 x 0\n",
        b"sockd1 o 1 -5 0\n",
        b"sockd1 \xff 1 1 0\n",
        b"sockd1 o 1 1 0\nn 5\nhell\n",
        b"sockd1 o 1 1 0\nn -1\n\n",
        b"sockd1 o 1 1 0\nx 5\nhello\n",
        b"sockd1 o 1 1 0\nn 5\nhello",
        b"sockd1 o 1 1 %d\n" % 10**400,
        b"sockd1 o 1 1 0\n" + b"n 0\n\n" * 1025,
    ],
)
def test_what_is_no_batch_is_a_fault(data: bytes) -> None:
    with pytest.raises(BatchFault):
        decode(data)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_batch_or_a_fault(data: bytes) -> None:
    for each in (data, b"sockd1 " + data, b"sockd1 o 1 1 0\n" + data):
        with suppress(BatchFault):
            decode(each)


@given(st.text(min_size=1, max_size=50))
def test_a_name_is_one_token_and_comes_back(name: str) -> None:
    assert name_of(token(name)) == name
    assert not set(token(name)) & set(" .*>\r\n\t")
    assert token(name).isascii()


def test_names_that_look_like_tokens_stay_apart() -> None:
    assert token("a b") == "a=20b"
    assert token("a=20b") == "a=3D20b"
