import tracemalloc
from collections.abc import Callable
from typing import Any, SupportsIndex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockd.framing import Delimited, FixedSize, FrameTooLong, LengthPrefixed, Lines

Framer = Lines | Delimited | LengthPrefixed | FixedSize
Make = Callable[[], Framer]

LIMIT = 5

FRAMERS: dict[str, Make] = {
    "lines": lambda: Lines(LIMIT),
    "delimiter of one byte": lambda: Delimited(b"\0", LIMIT),
    "delimiter of three bytes": lambda: Delimited(b"\r\n\r", LIMIT),
    "delimiter that overlaps itself": lambda: Delimited(b"aa", LIMIT),
    "prefix of 1 byte": lambda: LengthPrefixed(1, LIMIT),
    "prefix of 2 bytes": lambda: LengthPrefixed(2, LIMIT),
    "prefix of 4 bytes": lambda: LengthPrefixed(4, LIMIT),
    "fixed size": lambda: FixedSize(3),
}

framers = st.sampled_from(sorted(FRAMERS))  # parameters of pytest do not go together with @given here

thorough = settings(max_examples=200)

# Few different bytes, so that boundaries, and beginnings of them, are everywhere.
noise = st.lists(st.sampled_from([b"\n", b"\r", b"\0", b"\1", b"\3", b"a", b"x", b"\r\n\r"]), max_size=40)
streams = noise.map(b"".join)


@st.composite
def cut_streams(draw: st.DrawFn) -> list[bytes]:
    stream = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def bytewise(stream: bytes) -> list[bytes]:
    return [bytes((byte,)) for byte in stream]


def outcome(framer: Framer, pieces: list[bytes]) -> tuple[list[bytes], bool, bytes]:
    """The messages, whether one was too long, and the rest."""
    messages = []
    try:
        for piece in pieces:
            for message in framer.feed(piece):
                messages.append(message)  # noqa: PERF402 - those before the error count too
    except FrameTooLong:
        return messages, True, framer.rest()
    return messages, False, framer.rest()


@thorough
@given(name=framers, pieces=cut_streams())
def test_messages_are_the_same_however_the_stream_is_cut(name: str, pieces: list[bytes]) -> None:
    make = FRAMERS[name]
    stream = b"".join(pieces)
    at_once = outcome(make(), [stream])
    assert outcome(make(), pieces) == at_once
    assert outcome(make(), bytewise(stream)) == at_once


@pytest.mark.parametrize(
    ("make", "stream", "expected"),
    [
        (
            Lines,
            b"one\ntwo\r\n\n\r\nx\ry\n\r\r\nlast",
            ([b"one", b"two", b"", b"", b"x\ry", b"\r"], b"last"),
        ),
        (Lines, b"cut\r", ([], b"cut\r")),
        (lambda: Delimited(b"\r\n"), b"one\r\ntwo\nx\r\n\r\r\n\r", ([b"one", b"two\nx", b"\r"], b"\r")),
        (lambda: Delimited(b"aa"), b"xaaaaa", ([b"x", b""], b"a")),
        (lambda: LengthPrefixed(1), b"\x03one\x00\x03twofoo", ([b"one", b"", b"two"], b"foo")),
        (lambda: LengthPrefixed(2), b"\x00\x03one\x01\x00foo", ([b"one"], b"\x01\x00foo")),
        (lambda: LengthPrefixed(4), b"\x00\x00\x00\x03one\x00\x00", ([b"one"], b"\x00\x00")),
        (lambda: FixedSize(3), b"onetwotail", ([b"one", b"two", b"tai"], b"l")),
    ],
)
def test_streams_become_these_messages_and_this_rest(
    make: Make, stream: bytes, expected: tuple[list[bytes], bytes]
) -> None:
    framer = make()
    assert (list(framer.feed(stream)), framer.rest()) == expected


ENCODERS: list[Callable[[], Lines | Delimited | LengthPrefixed]] = [
    Lines,
    lambda: Delimited(b"ab"),
    lambda: Delimited(b"aa"),
    lambda: LengthPrefixed(1),
    LengthPrefixed,
]


@thorough
@given(make=st.sampled_from(ENCODERS), messages=st.lists(streams | st.binary(max_size=300)))
def test_an_encoded_message_arrives_as_it_was_or_is_refused(
    make: Callable[[], Lines | Delimited | LengthPrefixed], messages: list[bytes]
) -> None:
    framer = make()
    sent = []
    wire = b""
    for message in messages:
        try:
            wire += framer.encode(message)
        except ValueError:
            assert outcome(make(), [carelessly_encoded(framer, message)])[0] != [message]
        else:
            sent.append(message)
    assert outcome(framer, [wire]) == (sent, False, b"")


def carelessly_encoded(framer: Lines | Delimited | LengthPrefixed, message: bytes) -> bytes:
    if isinstance(framer, LengthPrefixed):
        return bytes((len(message) % 256,)) + message
    return message + framer.encode(b"")


@pytest.mark.parametrize("make", [lambda: Lines(3), lambda: Delimited(b";", 3), lambda: LengthPrefixed(1, 3)])
def test_a_message_over_the_limit_is_not_encoded(
    make: Callable[[], Lines | Delimited | LengthPrefixed],
) -> None:
    framer = make()
    assert framer.encode(b"abc")
    with pytest.raises(FrameTooLong) as caught:
        framer.encode(b"abcd")
    assert caught.value.limit == 3


def test_a_length_prefix_limits_messages_to_what_it_can_say() -> None:
    with pytest.raises(FrameTooLong) as caught:
        LengthPrefixed(1, 1000).encode(bytes(256))
    assert caught.value.limit == 255


# Messages that are too long.


def certain_at(make: Make, stream: bytes, endings: list[bytes]) -> int | None:
    """The first number of bytes after which no ending makes a message that fits."""
    for end in range(len(stream) + 1):
        if all(outcome(make(), [stream[:end] + ending])[1] for ending in endings):
            return end
    return None


ENDINGS: list[tuple[Make, list[bytes]]] = [
    (lambda: Lines(LIMIT), [b"\n", b"\r\n"]),
    (lambda: Delimited(b"\r\n\r", LIMIT), [b"\r\n\r", b"\n\r", b"\r"]),
    (lambda: Delimited(b"aa", LIMIT), [b"aa", b"a"]),
    (lambda: LengthPrefixed(2, LIMIT), [b"", b"\0", b"\0\0"]),
]


@thorough
@given(case=st.sampled_from(ENDINGS), stream=streams)
def test_a_message_is_too_long_at_the_first_byte_that_makes_it_certain(
    case: tuple[Make, list[bytes]], stream: bytes
) -> None:
    make, endings = case
    framer = make()
    failed_at = None
    for count, byte in enumerate(bytewise(stream), 1):
        if outcome(framer, [byte])[1]:
            failed_at = count
            break
    assert failed_at == certain_at(make, stream, endings)


@pytest.mark.parametrize(
    ("make", "stream"),
    [
        (lambda: Lines(3), b"abc\nabc\r\nabcd"),
        (lambda: Lines(3), b"abc\nabc\r\nabcd\nabc\n"),
        (lambda: Delimited(b"\r\n", 3), b"abc\r\nabc\r\nabc\r\r"),
        (lambda: LengthPrefixed(4, 3), b"\0\0\0\3abc\0\0\0\3abc\0\0\0\4"),
    ],
)
def test_the_messages_before_one_that_is_too_long_come_first(make: Make, stream: bytes) -> None:
    messages = make().feed(stream)
    assert [next(messages), next(messages)] == [b"abc", b"abc"]
    with pytest.raises(FrameTooLong, match="at most 3 bytes") as caught:
        next(messages)
    assert caught.value.limit == 3


@thorough
@given(name=framers, pieces=cut_streams(), more=streams)
def test_after_a_message_that_is_too_long_every_feed_ends_in_the_same_way(
    name: str, pieces: list[bytes], more: bytes
) -> None:
    framer = FRAMERS[name]()
    if outcome(framer, pieces)[1]:
        assert outcome(framer, [more]) == ([], True, b"")
        assert outcome(framer, [b""]) == ([], True, b"")


def test_messages_that_were_not_taken_still_come_before_the_error() -> None:
    framer = Lines(3)
    assert next(framer.feed(b"1\n2\n")) == b"1"
    assert next(framer.feed(b"3\ntoo long\n")) == b"2"
    assert outcome(framer, [b"4\n"]) == ([b"3"], True, b"")


# Whoever stops early.


@thorough
@given(name=framers, pieces=cut_streams(), takes=st.lists(st.integers(0, 3), min_size=60, max_size=60))
def test_messages_that_were_not_taken_come_with_the_next_feed(
    name: str, pieces: list[bytes], takes: list[int]
) -> None:
    make = FRAMERS[name]
    framer = make()
    taken = []
    failed = False
    for piece, most in zip([*pieces, *[b""] * (60 - len(pieces))], takes, strict=False):
        messages = framer.feed(piece)
        try:
            for _ in range(most):
                taken.append(next(messages))  # noqa: PERF401 - those before the end count too
        except StopIteration:
            pass
        except FrameTooLong:
            failed = True
    messages_left, failed_now, rest = outcome(framer, [b""])
    assert (taken + messages_left, failed or failed_now, rest) == outcome(make(), [b"".join(pieces)])


def test_bytes_fed_while_messages_are_taken_come_after_them() -> None:
    framer = Lines()
    taken = []
    for line in framer.feed(b"1\n2\n3\n"):
        taken.append(line)
        if line == b"2":
            taken += [b"(", *framer.feed(b"4\n5\n"), b")"]
    assert taken == [b"1", b"2", b"(", b"3", b"4", b"5", b")"]


def test_nothing_is_lost_when_an_inner_feed_takes_only_a_part() -> None:
    framer = Lines(1)
    taken = []
    for line in framer.feed(b"1\n2\n3\n"):
        taken.append(line)
        if line == b"3":
            assert next(framer.feed(b"4\n5\ntoo long\n")) == b"4"
    assert taken == [b"1", b"2", b"3"]
    assert outcome(framer, [b""]) == ([b"5"], True, b"")


def test_a_flood_can_be_taken_one_message_at_a_time() -> None:
    framer = Lines()
    framer.feed(b"\n" * 65_536)
    taken = 0
    while next(framer.feed(b""), None) is not None:
        taken += 1
    assert taken == 65_536


# What it costs.


class Counted(bytearray):
    """A tail that counts, for each operation, the bytes that it may have to look at or move."""

    work = 0

    def __iadd__(self, data: Any) -> "Counted":  # type: ignore[misc]
        self.work += len(data)
        super().__iadd__(data)
        return self

    def __bytes__(self) -> bytes:
        self.work += len(self)
        return bytes(memoryview(self))

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.work += len(found) if isinstance(key, slice) else 1
        return found

    def __setitem__(self, key: Any, value: Any) -> None:
        self.work += len(self) + len(value)
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        before = len(self)
        super().__delitem__(key)
        if len(self) < before:
            self.work += before

    def find(self, sub: Any, start: SupportsIndex | None = 0, end: Any = None) -> int:
        self.work += len(self) - int(start or 0)
        return super().find(sub, start)

    def endswith(self, suffix: Any, *bounds: Any) -> bool:
        self.work += len(suffix)
        return super().endswith(suffix)

    def __getattribute__(self, name: str) -> Any:
        assert name in {"work", "find", "endswith", "clear"}, f"the work of {name} is not counted"
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    ("make", "stream"),
    [
        (lambda: Lines(9_000), (b"x" * 8_191 + b"\n") * 4),
        (lambda: Lines(9_000), (b"x" * 8_190 + b"\r\n") * 4),
        (lambda: Lines(9_000), b"\n" * 32_768),
        (lambda: Delimited(b"boundary", 9_000), (b"x" * 8_184 + b"boundary") * 4),
        (lambda: Delimited(b"boundary", 40_000), b"boundar" * 4_681),
        (lambda: LengthPrefixed(2, 9_000), (b"\x1f\xfe" + b"x" * 8_190) * 4),
        (lambda: LengthPrefixed(1), b"\0" * 32_768),
        (lambda: FixedSize(8_192), b"x" * 32_768),
        (lambda: FixedSize(1), b"x" * 32_768),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1_000, 32_768])
def test_each_byte_is_looked_at_a_fixed_number_of_times_however_the_stream_is_cut(
    make: Make, stream: bytes, size: int
) -> None:
    framer = make()
    tail = framer._inbox.tail = Counted()
    messages = 0
    for start in range(0, len(stream), size):
        messages += sum(1 for _ in framer.feed(stream[start : start + size]))
    assert framer._inbox.tail is tail
    assert messages or b"boundar" * 2 in stream
    feeds = len(stream) / size
    # With squares the 8 KiB messages would cost 4,000 for each byte.
    assert tail.work <= 8 * len(stream) + 16 * feeds


@thorough
@given(name=framers, pieces=cut_streams())
def test_an_unfinished_message_is_never_longer_than_allowed(name: str, pieces: list[bytes]) -> None:
    framer = FRAMERS[name]()
    for piece in pieces:
        if outcome(framer, [piece])[1]:
            break
        assert len(framer.rest()) < LIMIT + 4  # the longest prefix, or all but one byte of a delimiter


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (lambda: Lines(16_384), b"x" * 65_536),
        (lambda: Delimited(b"--", 16_384), b"-x" * 32_768),
        (lambda: LengthPrefixed(4, 16_384), b"\xff" * 65_536),
        (lambda: Lines(16_384), b"x" * 63 + b"\n"),
        (lambda: Lines(16_384), b"ab\n" * 10_000),
        (lambda: LengthPrefixed(1), b"\x02ab" * 10_000),
        (lambda: FixedSize(3), b"abc" * 10_000),
    ],
)
def test_nothing_is_held_of_what_was_taken_or_refused(make: Make, read: bytes) -> None:
    framer = make()

    def run() -> None:
        for _ in range(3):
            outcome(framer, [read])

    run()
    tracemalloc.start()
    try:
        run()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4_096


def test_a_message_that_is_never_taken_does_not_keep_all_others() -> None:
    framer = Lines()
    framer.feed(b"0\n")
    tracemalloc.start()
    try:
        for number in range(1, 3_000):
            assert next(framer.feed(b"%d\n" % number)) == b"%d" % (number - 1)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4_096


# What an author may get wrong.


def test_a_framer_without_a_boundary_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one byte, found none"):
        Delimited(b"")
    with pytest.raises(ValueError, match="at least one byte, found 0"):
        FixedSize(0)


@pytest.mark.parametrize("message", [b"two\nlines", b"ends in\r", b"\n"])
def test_a_message_of_several_lines_is_not_encoded(message: bytes) -> None:
    with pytest.raises(ValueError, match="a line without its end"):
        Lines().encode(message)


@pytest.mark.parametrize("message", [b"xaay", b"xa", b"aa"])
def test_a_message_with_a_delimiter_or_part_of_one_is_not_encoded(message: bytes) -> None:
    with pytest.raises(ValueError, match="a message without b'aa'"):
        Delimited(b"aa").encode(message)
