"""Fuzzes `sockd.framing`: any bytes give the same messages however they are cut, and little is held."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random

import fuzzing

from sockd.framing import Delimited, FixedSize, FrameTooLong, LengthPrefixed, Lines

Framer = Lines | Delimited | LengthPrefixed | FixedSize
Outcome = tuple[list[bytes], bool, bytes]

FRAMERS: tuple[Callable[[int], Framer], ...] = (
    Lines,
    lambda limit: Delimited(b"\0", limit),
    lambda limit: Delimited(b"\r\n\r", limit),
    lambda limit: Delimited(b"aa", limit),
    lambda limit: LengthPrefixed(1, limit),
    lambda limit: LengthPrefixed(2, limit),
    lambda limit: LengthPrefixed(4, limit),
    FixedSize,
)
MORE = 4
"""Bytes held beside an unfinished message: a length, or all of a delimiter but its last byte."""

WORDS = (b"\n", b"\r", b"\r\n", b"\r\n\r", b"\0", b"a", b"aa", b"\0\0\0\3", b"\0\5", b"\2", b"\xff", b"xyz")


def make(random: Random) -> bytes:
    """Which framer, its limit, how it is cut, and the stream."""
    stream = b"".join(random.choices(WORDS, k=random.randint(0, 60)))
    if random.random() < 0.02:
        stream *= random.randint(1, 200)
    return random.randbytes(3) + fuzzing.mutate(random, stream, WORDS)


def pieces(random: Random, stream: bytes) -> Iterator[bytes]:
    longest = random.choice((1, 3, 50, 1 + len(stream)))
    start = 0
    while start < len(stream):
        end = start + random.randint(0, longest)
        yield stream[start:end]
        start = end


def outcome(framer: Framer, stream: bytes) -> Outcome:
    messages: list[bytes] = []
    try:
        messages.extend(framer.feed(stream))  # keeps what came before the error
    except FrameTooLong:
        return messages, True, framer.rest()
    return messages, False, framer.rest()


def cut_outcome(random: Random, framer: Framer, stream: bytes, limit: int) -> Outcome:
    """The same in pieces, of whose messages not always all are taken at once."""
    messages: list[bytes] = []
    try:
        for piece in pieces(random, stream):
            messages.extend(islice(framer.feed(piece), random.choice((0, 1, 2, None))))
            assert len(framer.rest()) <= limit + MORE
        messages.extend(framer.feed(b""))
    except FrameTooLong:
        return messages, True, framer.rest()
    return messages, False, framer.rest()


def check(data: bytes) -> None:
    if len(data) < 3:
        return
    kind, limit, stream = FRAMERS[data[0] % len(FRAMERS)], 1 + data[1] % 40, data[3:]
    whole = outcome(kind(limit), stream)
    cut = cut_outcome(Random(data[2]), kind(limit), stream, limit)
    assert cut == whole, f"{cut} in pieces, {whole} at once"
    assert all(len(message) <= limit for message in whole[0])


if __name__ == "__main__":
    sys.exit(fuzzing.run(make, check))
