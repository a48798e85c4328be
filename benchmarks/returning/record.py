"""Record of one person: what it got, and which of its own messages were acknowledged."""

from __future__ import annotations

from asyncio import Future, get_running_loop
from dataclasses import dataclass, field

from benchmarks.returning.wire import give_up

Message = tuple[str, str]
"""Speaker and text."""


@dataclass(eq=False)
class Record:
    """Messages of one room, by number, as a person got them.

    Attributes:
        reached: number up to which nothing is missing; None until the person has come in for the first time.
        first: number of the last message before that.
        own: numbers of its own messages that were acknowledged, by their text.
        faults: what should not have happened.
    """

    name: str
    got: dict[int, Message] = field(default_factory=dict)
    reached: int | None = None
    first: int = 0
    own: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    said: int = 0
    _awaited: dict[str, Future[int]] = field(default_factory=dict)

    def come_in(self, last: int) -> None:
        """Note the number of the last message before the first entry."""
        if self.reached is None:
            self.first = self.reached = last
            self._advance()

    def take(self, number: int, name: str, text: str) -> None:
        """Note a message, which may have been seen before."""
        if self.got.setdefault(number, (name, text)) != (name, text):
            self.faults.append(f"{self.name}: {number} was {self.got[number]}, then {(name, text)}")
        self._advance()
        awaited = self._awaited.pop(text, None) if name == self.name else None
        if awaited is not None and not awaited.done():
            awaited.set_result(number)

    def next_text(self) -> str:
        """Return a text that nobody has said."""
        self.said += 1
        return f"{self.name} {self.said}"

    def expect(self, text: str) -> Future[int]:
        """Return the number that a text will get."""
        awaited = self._awaited[text] = get_running_loop().create_future()
        return awaited

    def cut(self) -> None:
        """Give up on what is not acknowledged: the connection is gone."""
        awaited, self._awaited = self._awaited, {}
        give_up(*awaited.values())

    def _advance(self) -> None:
        while self.reached is not None and self.reached + 1 in self.got:
            self.reached += 1
