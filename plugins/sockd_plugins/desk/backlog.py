"""What clients wrote while no operator was there."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True, slots=True)
class Message:
    """What a client wrote, and when: in seconds of the monotonic clock."""

    client: str
    address: str
    text: str
    at: float


class Backlog:
    """Messages for the next operator; when there is no room for one more, the oldest gives way.

    Args:
        per_client: how many of one client are kept, so that one that floods displaces only its own.
        total: how many are kept in all.
    """

    def __init__(self, per_client: int, total: int) -> None:
        self._per_client = per_client
        self._total = total
        self._numbers = count()
        self._messages: OrderedDict[int, Message] = OrderedDict()
        self._by_client: dict[str, deque[int]] = {}
        self._dropped = 0

    def add(self, message: Message) -> None:
        """Keep it."""
        number = next(self._numbers)
        self._messages[number] = message
        self._by_client.setdefault(message.client, deque()).append(number)
        if len(self._by_client[message.client]) > self._per_client:
            self._drop(message.client)
        elif len(self._messages) > self._total:
            self._drop(next(iter(self._messages.values())).client)

    def take(self) -> tuple[list[Message], int]:
        """All that is kept, oldest first, and how many were dropped; afterwards nothing is kept."""
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
