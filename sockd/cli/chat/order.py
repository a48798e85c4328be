"""Messages of one room in the order of their numbers, without gap or double."""

from __future__ import annotations

from sockd.cli.chat.wire import Said

NEWEST = 20
"""Messages of before that a newcomer is shown, where the server shows none by itself."""

MOST_HELD = 1000
"""Messages held back at most until those before them arrive."""


class Order:
    """Order of the messages of a room.

    Args:
        waits: whether the first message is held back until `gap` has told where to begin.

    Attributes:
        last: number of the last message that was released; None before the first.
    """

    def __init__(self, *, waits: bool = False) -> None:
        self._waits = waits
        self.last: int | None = None
        self._at = 0.0
        self._held: dict[int, Said] = {}

    def is_new(self, said: Said) -> bool:
        """Tell whether a message was not seen before.

        A number that was seen already, with a later time, comes from a server that counts anew.
        """
        if self.last is None or said.number > self.last or not said.number:
            return True
        return said.at is not None and said.at > self._at

    def take(self, said: Said) -> list[Said]:
        """Take a message in; return those that are in order now. One without a number is in order."""
        if not said.number:
            return [said]
        if not self.is_new(said):
            return []
        if self.last is not None and said.number <= self.last:
            self.restart()
        if self.last is None and not self._waits:
            self.last = said.number - 1
        self._held.setdefault(said.number, said)
        if len(self._held) > MOST_HELD:
            self.last = min(self._held) - 1
        return self.in_order()

    def gap(self, last: int) -> range:
        """Return the numbers of the first gap, if the room's last message has the number `last`."""
        if self.last is None:
            self.last = max(0, min(last - NEWEST, min(self._held, default=last) - 1))
        return range(self.last + 1, min(min(self._held, default=last + 1), last + 1))

    def skip_to(self, number: int) -> tuple[int, list[Said]]:
        """Give up what is missing up to a number; return how many these are, and what is in order now."""
        if self.last is None or number <= self.last:
            return 0, []
        lost = sum(each not in self._held for each in range(self.last + 1, number + 1))
        kept = [self._held.pop(each) for each in sorted(self._held) if each <= number]
        for said in kept:
            self._at = max(self._at, said.at or 0.0)
        self.last = number
        return lost, kept + self.in_order()

    def restart(self) -> None:
        """Begin anew with the next message."""
        self.last = None
        self._at = 0.0
        self._held.clear()

    def in_order(self) -> list[Said]:
        """Return the messages that are in order now."""
        released = []
        while self.last is not None and (said := self._held.pop(self.last + 1, None)) is not None:
            self.last += 1
            self._at = max(self._at, said.at or 0.0)
            released.append(said)
        return released
