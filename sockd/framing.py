r"""Message boundaries on a byte stream, for plugin authors.

A stream has no messages: what a peer writes at once may arrive byte by byte, or a hundred writes in one
piece. A framer takes the pieces as they come and gives whole messages, the same however they were cut:

    class Greeter(Protocol):
        def connectionMade(self):
            self.lines = Lines(max_length=512)
        def dataReceived(self, data):
            for line in self.lines.feed(data):
                self.transport.write(b"hello " + line + b"\n")

All framers have the same shape. `feed(data)` takes in all of `data` and iterates over the messages that
are complete. Whoever stops early, to close or to give others their turn, loses nothing: the next `feed`
(of `b""`, if nothing new came) goes on with the message after. A message that is too long raises
`FrameTooLong` in its place, after all messages before it, as soon as its length is certain; the stream
makes no sense from there on, so every further `feed` ends the same way. `rest()` is the unfinished
message: what a peer left behind when it closed. Between two feeds a framer holds the messages that were
not taken and at most one unfinished message of `max_length`; its total cost is linear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, takewhile
from operator import length_hint
from struct import Struct
from typing import Literal

MAX_LENGTH = 16_384
"""Bytes of a message by default, as in Twisted's line receivers."""


_FEW = 32
"""Probes beyond which a look at every message is as cheap; 64 KiB have 8 at the default limit."""


class FrameTooLong(ValueError):
    """Error of a message that has more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"expected a message of at most {limit} bytes, found a longer one")
        self.limit = limit


class Lines:
    """Lines of text, each ended by LF or CR LF, which is not part of the message.

    Args:
        max_length: bytes that a line may have, its end not counted.
    """

    def __init__(self, max_length: int = MAX_LENGTH) -> None:
        self._max_length = max_length
        self._inbox = _Inbox(self._cut, max_length)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Return the lines that are complete with `data`."""
        return self._inbox.feed(data)

    def rest(self) -> bytes:
        """Return the line without an end."""
        return bytes(self._inbox.tail)

    def encode(self, message: bytes) -> bytes:
        """Return the bytes of the line `message`.

        Raises:
            ValueError: it would arrive as anything else.
        """
        if b"\n" in message or message.endswith(b"\r"):
            raise ValueError(f"expected a line without its end, found {message[-80:]!r}")
        return _fitting(message, self._max_length) + b"\n"

    def _cut(self, tail: bytearray, known: int) -> tuple[list[bytes], bool]:
        returns = tail.find(b"\r", max(0, known - 1)) >= 0
        lines, short = _split(tail, known, b"\n", self._max_length)
        if returns:
            lines = [line.removesuffix(b"\r") for line in lines]
        return _limited(lines, short, tail, b"\r\n", self._max_length)


class Delimited:
    """Messages that each end with `delimiter`, which is not part of them.

    Args:
        delimiter: one byte or more.
        max_length: bytes that a message may have, its delimiter not counted.
    """

    def __init__(self, delimiter: bytes, max_length: int = MAX_LENGTH) -> None:
        if not delimiter:
            raise ValueError("expected a delimiter of at least one byte, found none")
        self._delimiter = delimiter
        self._max_length = max_length
        self._inbox = _Inbox(self._cut, max_length)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Return the messages that are complete with `data`."""
        return self._inbox.feed(data)

    def rest(self) -> bytes:
        """Return the message without a delimiter, perhaps with the beginning of one."""
        return bytes(self._inbox.tail)

    def encode(self, message: bytes) -> bytes:
        """Return `message` and the delimiter.

        Raises:
            ValueError: it would arrive as anything else.
        """
        whole = _fitting(message, self._max_length) + self._delimiter
        if whole.find(self._delimiter) < len(message):
            raise ValueError(f"expected a message without {self._delimiter!r}, found {message[:80]!r}")
        return whole

    def _cut(self, tail: bytearray, known: int) -> tuple[list[bytes], bool]:
        messages, short = _split(tail, known, self._delimiter, self._max_length)
        return _limited(messages, short, tail, self._delimiter, self._max_length)


class LengthPrefixed:
    """Messages that each follow their own length, an unsigned big-endian number.

    Args:
        prefix: bytes of the length.
        max_length: bytes that a message may have, its length not counted.
    """

    def __init__(self, prefix: Literal[1, 2, 4] = 4, max_length: int = MAX_LENGTH) -> None:
        self._prefix = Struct({1: ">B", 2: ">H", 4: ">I"}[prefix])
        self._max_length = min(max_length, 256**prefix - 1)
        self._inbox = _Inbox(self._cut, self._max_length)
        self._needed: int = prefix  # bytes from the start of the tail before there is anything to do

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Return the messages that are complete with `data`."""
        return self._inbox.feed(data)

    def rest(self) -> bytes:
        """Return the unfinished message, from the first byte of its length."""
        return bytes(self._inbox.tail)

    def encode(self, message: bytes) -> bytes:
        """Return the length of `message`, and `message`."""
        return self._prefix.pack(len(_fitting(message, self._max_length))) + message

    def _cut(self, tail: bytearray, _known: int) -> tuple[list[bytes], bool]:
        messages: list[bytes] = []
        if len(tail) < self._needed:
            return messages, False
        block, start, self._needed = bytes(tail), 0, self._prefix.size
        while (body := start + self._prefix.size) <= len(block):
            (length,) = self._prefix.unpack_from(block, start)
            if length > self._max_length:
                return messages, True
            end = body + length
            if end > len(block):
                self._needed = end - start
                break
            messages.append(block[body:end])
            start = end
        del tail[:start]
        return messages, False


class FixedSize:
    """Messages of `size` bytes each, one or more."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"expected a size of at least one byte, found {size}")
        self._size = size
        self._inbox = _Inbox(self._cut, size)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Return the messages that are complete with `data`."""
        return self._inbox.feed(data)

    def rest(self) -> bytes:
        """Return the unfinished message."""
        return bytes(self._inbox.tail)

    def _cut(self, tail: bytearray, _known: int) -> tuple[list[bytes], bool]:
        whole = len(tail) - len(tail) % self._size
        block = bytes(tail[:whole])
        del tail[:whole]
        return [block[start : start + self._size] for start in range(0, whole, self._size)], False


class _Inbox:
    """Complete messages that were not taken yet, then the unfinished tail or the error."""

    def __init__(self, cut: Callable[[bytearray, int], tuple[list[bytes], bool]], limit: int) -> None:
        self._cut = cut  # moves messages out of the tail, of which it saw the first bytes before
        self._limit = limit
        self._failed = False
        self._messages: list[bytes] = []
        self._untaken = iter(self._messages)
        self.tail = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._failed:
            known = len(self.tail)
            self.tail += data
            messages, self._failed = self._cut(self.tail, known)
            self._add(messages)
        if self._failed:
            self.tail.clear()
        return chain(self._untaken, iter(self._end, b""))

    def _add(self, messages: list[bytes]) -> None:
        untaken = length_hint(self._untaken)
        if 2 * untaken <= len(self._messages):  # copies no more than was taken since the last copy
            self._messages = [*self._untaken, *messages]
            self._untaken = iter(self._messages)
        else:
            self._messages += messages

    def _end(self) -> bytes:
        """Raise the error that follows the messages, if there is one."""
        if not length_hint(self._untaken):
            self._messages = []
            if self._failed:
                raise FrameTooLong(self._limit)
        return b""


def _split(tail: bytearray, known: int, delimiter: bytes, limit: int) -> tuple[list[bytes], bool]:
    """Return the messages that end in the tail, and whether all of them are surely shorter than `limit`."""
    # A delimiter that was cut begins in what is known; searching all of it again would cost squares.
    if tail.find(delimiter, max(0, known - len(delimiter) + 1)) < 0:
        return [], True
    block = bytes(tail)
    messages = block.split(delimiter)
    tail[:] = messages.pop()
    return messages, _surely_short(block, delimiter, limit)


def _surely_short(block: bytes, delimiter: bytes, limit: int) -> bool:
    """Tell by a few probes whether no message exceeds `limit`: a longer one fills a stretch without
    delimiter.
    """
    stretch = limit // 2 + 1
    starts = range(0, len(block) - stretch, stretch)
    return len(starts) <= _FEW and all(block.find(delimiter, at, at + stretch) >= 0 for at in starts)


def _limited(
    messages: list[bytes], short: bool, tail: bytearray, terminator: bytes, limit: int
) -> tuple[list[bytes], bool]:
    """Return the messages before the first that is too long, and whether there is one."""
    if not short and max(map(len, messages)) > limit:
        return list(takewhile(lambda message: len(message) <= limit, messages)), True
    # The last bytes of the tail may be the beginning of a terminator, and then are none of the message.
    excess = len(tail) - limit
    fits = excess <= 0 or any(tail.endswith(terminator[:n]) for n in range(excess, len(terminator)))
    return messages, not fits


def _fitting(message: bytes, limit: int) -> bytes:
    if len(message) > limit:
        raise FrameTooLong(limit)
    return message
