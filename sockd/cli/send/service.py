"""Service that takes files, as all connections of a run know it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sockd.cli.address import Address
from sockd.cli.send import digests
from sockd.cli.send.channel import Channel, Lost
from sockd.cli.send.items import Item
from sockd.cli.send.wire import Hello, NotUnderstood, Refused, Stored, parse
from sockd.cli.send.work import Outcome, Status

GREETING_SECONDS = 30.0
"""Seconds for the first answer; the connection may have waited to be accepted."""

_OF_BEFORE = "expected 'put"  # how servers that do not know `hello` begin their refusal of it


class Denied(Exception):
    """Refusal of everything that this run could send; the text tells why."""


class Ended(Exception):
    """End of the conversation; another connection goes on at once."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """Wishes of the person who sends.

    Attributes:
        token: that permits it; "" for none.
        algorithm: of the digests; "" for the fastest that both sides have.
        receipts: whether the server is to sign receipts.
    """

    token: str = ""
    algorithm: str = ""
    receipts: bool = False


class Service:
    """Service at an address.

    Args:
        address: of it.
        wishes: of the person who sends.
        interrupted: tells whether the run is to end.

    Attributes:
        words: what the server can, as it has told; empty for a server that knows no `hello`, None before.
        dropped: ids of uploads that it is to remove.
    """

    def __init__(self, address: Address, wishes: Wishes, interrupted: Callable[[], bool]) -> None:
        self.address = address
        self.words: frozenset[str] | None = None
        self.dropped: deque[str] = deque()
        self._wishes = wishes
        self._interrupted = interrupted

    def connect(self) -> Channel:
        """Open a connection, and learn what the server can.

        Raises:
            Lost: it cannot be reached.
            Denied: it takes no files, or none from this sender.
        """
        while True:
            channel = Channel(self.address, self._interrupted)
            try:
                if self.words == frozenset() or self._greet(channel):
                    while self.dropped and self.can("drop"):
                        channel.send(f"drop {self.dropped.popleft()}\n".encode())
                    return channel
            except BaseException:  # whatever it was, nothing of it looks like a file
                channel.reset()
                raise
            channel.close()

    def can(self, word: str) -> bool:
        """Tell whether the server has an ability."""
        return word in (self.words or ())

    @property
    def algorithm(self) -> str:
        """Algorithm of the digests."""
        if self._wishes.algorithm:
            return self._wishes.algorithm
        return "blake3" if self.can("blake3") and digests.known("blake3") else "sha256"

    def _greet(self, channel: Channel) -> bool:
        """Exchange greetings; return False if the server is of before, and has ended the conversation."""
        wishes = self._wishes
        token = f"token {wishes.token}\n" if wishes.token else ""
        channel.send(f"{token}hello upload{' receipts' if wishes.receipts else ''}\n".encode())
        try:
            answer = parse(channel.line(GREETING_SECONDS))
        except NotUnderstood:
            raise Denied("the server speaks another protocol") from None
        except Lost as lost:
            if not str(lost).startswith("no answer"):
                raise
            raise Lost(
                f"{lost}; the server is busy, or this port speaks another protocol than 'upload' of the"
                " plugin 'files'"
            ) from None
        if isinstance(answer, Hello):
            self.words = answer.words
            self._check()
            return True
        if not isinstance(answer, Refused):
            raise Denied("the server speaks another protocol")
        if answer.code == "bad-request" and answer.text.startswith(_OF_BEFORE):
            self.words = frozenset()
            self._check()
            return False
        raise Denied(answer.why)

    def _check(self) -> None:
        """Check that the server can do what is wished."""
        wishes = self._wishes
        if wishes.token and not self.can("tokens"):
            raise Denied("the server knows no tokens")
        if wishes.receipts and not self.can("receipts"):
            raise Denied("the server gives no receipts")
        if wishes.algorithm == "blake3" and not self.can("blake3"):
            raise Denied("the server has no BLAKE3: leave out --digest")


def stored_outcome(item: Item, answer: Stored) -> Outcome:
    """Return the outcome of a file that the server has stored."""
    status: Status = "there" if answer.duplicate else "stored"
    digest = f"{answer.algorithm}={answer.digest}"
    return Outcome(item, status, answer.name, answer.size, digest, receipt=answer.receipt)
