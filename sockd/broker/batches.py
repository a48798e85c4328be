r"""Wire format of entries: a batch is one message of a broker, which holds entries that follow each other.

    sockd1 3f9a61c2b70d4e18 17 1835 1764336000123      format, origin, batch, first number, milliseconds
    n 14                                               a numbered entry of 14 bytes follows
    {"said":"hi …"}
    - 20                                               one without a number
    …

The origin counts its batches, so origin and batch together are the batch's own name. A batch without entries
only tells up to which number its subject is numbered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sockd.broker.contract import Draft, Entry

_FORMAT = b"sockd1"

MOST_ENTRIES = 1024
"""Entries in a batch that is read."""


class BatchFault(ValueError):
    """Fault of a message that is no batch: something else publishes to the subject."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries that were published together.

    Attributes:
        origin: the publisher.
        count: number of the batch among those of its origin.
        entries: in their order.
        last: number up to which the subject is numbered with this batch.
    """

    origin: str
    count: int
    entries: tuple[Entry, ...]
    last: int


def encode(origin: str, count: int, first: int, at: float, drafts: Sequence[Draft]) -> bytes:
    """Return the message for drafts.

    Args:
        origin: the publisher.
        count: number of the batch among those of its origin.
        first: number of the first entry that is numbered.
        at: time of publication, in seconds since 1970.
        drafts: in their order.
    """
    parts = [b"%b %b %d %d %d\n" % (_FORMAT, origin.encode(), count, first, round(at * 1000))]
    parts += [
        b"%b %d\n%b\n" % (b"n" if each.numbered else b"-", len(each.data), each.data) for each in drafts
    ]
    return b"".join(parts)


def decode(data: bytes) -> Batch:
    """Return the batch of a message.

    Raises:
        BatchFault: it is none.
    """
    try:
        end = data.index(b"\n")
        kind, name, count, first, milliseconds = data[:end].split(b" ")
        if kind != _FORMAT:
            raise BatchFault("another format")
        origin, at, number = name.decode("ascii"), int(milliseconds) / 1000, int(first) - 1
        entries: list[Entry] = []
        start = end + 1
        while start < len(data):
            end = data.index(b"\n", start)
            mark, size = data[start:end].split(b" ")
            begin, after = end + 1, end + 1 + int(size)
            if mark not in (b"n", b"-") or after < begin or data[after : after + 1] != b"\n":
                raise BatchFault("a damaged entry")
            number += mark == b"n"
            entries.append(Entry(number, data[begin:after], origin, at, mark == b"n"))
            start = after + 1
        if number < 0 or len(entries) > MOST_ENTRIES:
            raise BatchFault(f"{len(entries)} entries")
        return Batch(origin, int(count), tuple(entries), number)
    except BatchFault:
        raise
    except (ValueError, OverflowError) as error:
        raise BatchFault(f"no batch: {data[:40]!r}") from error
