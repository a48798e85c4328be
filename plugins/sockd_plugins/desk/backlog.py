"""Backlog of messages that clients wrote while no operator was connected."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True, slots=True)
class Message:
    """Message of a client with its time, in seconds of the monotonic clock."""

    client: str
    address: str
    text: str
    at: float


class Backlog:
    """Messages for the next operator; when there is no room for one more, the oldest is dropped.

    Args:
        per_client: messages of one client at most, so that a client that floods displaces only its own.
        total: messages in all at most.
    """

    def __init__(self, per_client: int, total: int) -> None:
        self._per_client = per_client
        self._total = total
        self._numbers = count()
        self._messages: OrderedDict[int, Message] = OrderedDict()
        self._by_client: dict[str, deque[int]] = {}
        self._dropped = 0

    def add(self, message: Message) -> None:
        """Keep a message."""
        number = next(self._numbers)
        self._messages[number] = message
        self._by_client.setdefault(message.client, deque()).append(number)
        if len(self._by_client[message.client]) > self._per_client:
            self._drop(message.client)
        elif len(self._messages) > self._total:
            self._drop(next(iter(self._messages.values())).client)

    def take(self) -> tuple[list[Message], int]:
        """Return all messages, oldest first, and how many were dropped; then keep none."""
        messages, dropped = list(self._messages.values()), self._dropped
        self._messages.clear()
        self._by_client.clear()
        self._dropped = 0
        return messages, dropped

    def _drop(self, client: str) -> None:
        """Drop the oldest message of a client."""
        numbers = self._by_client[client]
        del self._messages[numbers.popleft()]
        if not numbers:
            del self._by_client[client]
        self._dropped += 1
