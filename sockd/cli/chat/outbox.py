"""Lines on their way to the server, one at a time: the next one leaves when the one before is answered.

So each refusal and each lost datagram belongs to one line, and after a break it is known which message has to
be sent again. A message is answered by itself with its number, which the server sends once the message is
stored (`/echo on`); every other line is followed by `/ping`, whose answer comes last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

from sockd.cli.chat.wire import Pong

AGAIN = 2.0
"""Seconds until a datagram that had no answer is sent again."""

MOST_TRIES = 5

SLOW_DOWN = 1.0
"""Seconds until a message that came too fast is sent again."""

_MESSAGES = ("/say", "/me", "/notice", "/msg")
"""Commands that the server answers by sending the message back."""

_REREADING = ("/since", "/again", "/search")

Outcome = Literal["done", "refused", "unknown"]
"""Result of a line; of an unknown one it cannot be told whether it has arrived."""


def _ignore(_outcome: Outcome, _pong: Pong | None) -> None:
    """Do nothing with an outcome."""


@dataclass(slots=True, eq=False)
class Item:
    """Line to send.

    Attributes:
        text: of the line.
        message: whether the server answers it by sending it back.
        private: whether it is a message to one person, which has no number.
        quiet: whether the person did not write it, so that it reads no refusal of it.
        over: called with the outcome, and with the answer to `/ping` that told it.
    """

    text: str
    message: bool = False
    private: bool = False
    quiet: bool = False
    over: Callable[[Outcome, Pong | None], None] = field(default=_ignore)
    tries: int = 0
    sent_at: float = 0.0
    token: int = 0


def typed(line: str, over: Callable[[Outcome, Pong | None], None]) -> Item:
    """Return the item of a line that a person typed."""
    command = line.split(" ", 1)[0].lower()
    message = command in _MESSAGES or not line.startswith("/") or line.startswith("//")
    return Item(line, message, private=command == "/msg", over=over)


class Outbox:
    """Lines that wait, and the one that is being answered.

    Args:
        send: sends a line.
        stream: whether lines arrive for certain while the connection lasts.
    """

    def __init__(self, send: Callable[[str], None], stream: bool) -> None:
        self._send = send
        self._stream = stream
        self._urgent: deque[Item] = deque()
        self._waiting: deque[Item] = deque()
        self._tokens = count(1)
        self._not_before = 0.0
        self._connected = False
        self._open = False
        self.current: Item | None = None

    @property
    def idle(self) -> bool:
        """True if everything is answered."""
        return self.current is None and not self._urgent and not self._waiting

    @property
    def rereads(self) -> bool:
        """True while the person itself has asked for messages again."""
        item = self.current
        return item is not None and not item.quiet and item.text.lower().startswith(_REREADING)

    @property
    def messages(self) -> list[Item]:
        """Messages that are not known to be stored, in their order."""
        current = [] if self.current is None else [self.current]
        return [item for item in (*current, *self._waiting) if item.message]

    def add(self, item: Item, now: float) -> None:
        """Send a line in its turn; a quiet one before those of the person."""
        (self._urgent if item.quiet else self._waiting).append(item)
        self.go_on(now)

    def put_back(self, item: Item) -> None:
        """Let a message be the next of the person's lines."""
        self._waiting.appendleft(item)

    def connect(self) -> None:
        """Begin to send what the conversation itself needs."""
        self._connected = True

    def open(self, now: float) -> None:
        """Send the person's lines too."""
        self._open = True
        self.go_on(now)

    def doubt(self) -> Item | None:
        """Hold the person's lines back; return the message of which it is not known whether it arrived."""
        self._open = False
        item = self.current
        if item is None or not item.message:
            return None
        self.current = None
        return item

    def disconnect(self) -> Item | None:
        """Stop sending; return the message of which it is not known whether it arrived."""
        item = self.doubt()
        self._connected = False
        self._urgent.clear()
        lost, self.current = self.current, None
        if lost is not None:
            lost.over("unknown", None)
        return item

    def go_on(self, now: float) -> None:
        """Send the next line, if there is one and it may be sent."""
        if not self._connected or self.current is not None or now < self._not_before:
            return
        if self._urgent:
            self.current = self._urgent.popleft()
        elif self._open and self._waiting:
            self.current = self._waiting.popleft()
        if self.current is not None:
            self._transmit(self.current, now)

    def echoed(self, now: float) -> Item | None:
        """End the message that came back; return it, or None if none was on its way."""
        item = self.current
        if item is None or not item.message:
            return None
        self._finish("done", None, now)
        return item

    def refused(self, code: str, now: float) -> bool:
        """Learn that something was refused; return whether the person has to be told."""
        item = self.current
        if item is None:
            return True
        if code == "too_fast":
            self.current = None
            self._not_before = now + SLOW_DOWN
            (self._urgent if item.quiet else self._waiting).appendleft(item)
            return False
        if item.message:
            self._finish("refused", None, now)
        return not item.quiet

    def ponged(self, pong: Pong, now: float) -> None:
        """Learn that all lines before a `/ping` are answered."""
        item = self.current
        if item is not None and not item.message and item.token == pong.token:
            self._finish("done", pong, now)

    def tick(self, now: float) -> bool:
        """Send again what had no answer, as datagrams may be lost; return whether a message had none."""
        item = self.current
        if item is not None and not self._stream and now - item.sent_at >= AGAIN:
            if item.message:
                return True
            if item.tries >= MOST_TRIES:
                self._finish("unknown", None, now)
            else:
                self._transmit(item, now)
        self.go_on(now)
        return False

    def _transmit(self, item: Item, now: float) -> None:
        item.tries += 1
        item.sent_at = now
        if item.text:
            text = item.text
            if item.message and not self._stream and (text[:1] != "/" or text[:2] == "//"):
                # A server that has forgotten the address must not take a message for a name.
                text = f"/say {text.removeprefix('/')}"
            self._send(text)
        if not item.message:
            item.token = next(self._tokens)
            self._send(f"/ping {item.token}")

    def _finish(self, outcome: Outcome, pong: Pong | None, now: float) -> None:
        item, self.current = self.current, None
        if item is not None:
            item.over(outcome, pong)
        self.go_on(now)
