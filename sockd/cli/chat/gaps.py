"""Gaps in the messages of a room, after a break or a lost datagram: asked for again, and filled in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sockd.cli.chat.order import Order
from sockd.cli.chat.outbox import MOST_TRIES, Item, Outbox, Outcome
from sockd.cli.chat.wire import Pong, Said

MOST_ASKED = {True: 100, False: 25}
"""Messages that are asked for at a time; over datagrams fewer, as only so much is sent for each."""

MOST_CAUGHT_UP = 1000
"""Messages that are asked for after a break at most; a person reads older ones by scrolling."""

MOST_ROOMS = 100
"""Rooms whose last number is remembered."""


class Owner(Protocol):
    """Conversation that the messages belong to."""

    def show(self, messages: list[Said]) -> None:
        """Show messages, which are in order."""

    def lack(self, count: int) -> None:
        """Learn that messages cannot be had."""

    def count_anew(self) -> None:
        """Learn that the server counts its messages from the beginning again."""

    def settle(self) -> None:
        """Learn that everything up to now is there."""

    def despair(self) -> None:
        """Learn that the server does not answer."""


class Gaps:
    """Messages of one room after the other, and what is missing in them.

    Args:
        outbox: for questions.
        stream: whether an answer is complete for certain.
        owner: gets the messages.
    """

    def __init__(self, outbox: Outbox, stream: bool, owner: Owner) -> None:
        self._outbox = outbox
        self._stream = stream
        self._owner = owner
        self._orders: dict[str, Order] = {}  # of the rooms, the one used last comes last
        self._room = ""
        self._asked: range | None = None
        self._older: range | None = None
        self._asks = 0
        self._target = 0

    @property
    def last(self) -> int:
        """Number of the last message that was shown; 0 before the first."""
        return self._order().last or 0

    def enter(self, room: str, now: float) -> None:
        """Go on with the messages of a room."""
        self._room = room.lower()
        self.interrupt()
        self.look(now)

    def interrupt(self) -> None:
        """Forget what was asked for."""
        self._asked = self._older = None
        self._target = self._asks = 0

    def is_older(self, said: Said) -> bool:
        """Tell whether a message was asked for by `ask_older`."""
        return self._older is not None and said.number in self._older and said.number <= self.last

    def is_new(self, said: Said) -> bool:
        """Tell whether a message was not seen before."""
        return self._order().is_new(said)

    def take(self, said: Said, now: float) -> None:
        """Take a message in; ask for those before it, if they are missing."""
        order = self._order()
        if order.is_new(said) and 0 < said.number <= (order.last or 0):
            self._owner.count_anew()
            self.look(now)
        self._owner.show(order.take(said))
        if order.last is not None and order.last < said.number:
            self._fill(said.number, now)

    def look(self, now: float) -> None:
        """Ask for the number of the last message, and then for what is missing."""

        def over(outcome: Outcome, pong: Pong | None) -> None:
            if outcome == "done" and pong is not None:
                self._compare(pong, now)
            else:
                self._owner.despair()

        self._outbox.add(Item("", quiet=True, over=over), now)

    def ask_older(self, number: int, count: int, now: float, over: Callable[[], None]) -> bool:
        """Ask for messages before a number; return False if there are none, or some are asked for already."""
        if number <= 1 or self._older is not None:
            return False
        self._older = range(max(1, number - count), number)

        def answered(_outcome: Outcome, _pong: Pong | None) -> None:
            self._older = None
            over()

        text = f"/again {self._older[0]}-{self._older[-1]}"
        self._outbox.add(Item(text, quiet=True, over=answered), now)
        return True

    def _compare(self, pong: Pong, now: float) -> None:
        if pong.room.lower() != self._room:
            self._owner.settle()
            return
        order = self._order()
        if self._stream and order.last is not None and pong.last < order.last:
            order.restart()
            self._owner.count_anew()
        self._fill(pong.last, now)

    def _fill(self, number: int, now: float) -> None:
        """Ask for what is missing up to a number, unless that is under way; then go on."""
        self._target = max(self._target, number)
        if self._asked is not None:
            return
        order = self._order()
        gap = order.gap(self._target)
        if len(gap) > MOST_CAUGHT_UP:
            self._give_up(gap[-MOST_CAUGHT_UP] - 1)
        self._owner.show(order.in_order())
        gap = order.gap(self._target)[: MOST_ASKED[self._stream]]
        if not gap:
            self._owner.settle()
            return

        known = self.last

        def answered(outcome: Outcome, _pong: Pong | None) -> None:
            if self._asked is gap:
                self._asked = None
                if outcome == "done":
                    self._asks = 0 if self.last > known else self._asks + 1
                    self._answered(gap, now)

        self._asked = gap
        text = f"/again {gap[0]}-{gap[-1]}"
        self._outbox.add(Item(text, quiet=True, over=answered), now)

    def _answered(self, gap: range, now: float) -> None:
        if self.last < gap[-1] and (self._stream or self._asks >= MOST_TRIES):
            self._give_up(gap[-1])
        self._fill(0, now)

    def _give_up(self, number: int) -> None:
        lost, messages = self._order().skip_to(number)
        if lost:
            self._owner.lack(lost)
        self._owner.show(messages)

    def _order(self) -> Order:
        order = self._orders.pop(self._room, None) or Order(waits=not self._stream)
        self._orders[self._room] = order
        if len(self._orders) > MOST_ROOMS:
            del self._orders[next(iter(self._orders))]
        return order
