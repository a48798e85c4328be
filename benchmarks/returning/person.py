"""Person who enters, speaks, loses the connection and comes back."""

from __future__ import annotations

import asyncio
from random import Random

from benchmarks.returning.record import Record
from benchmarks.returning.wire import Cut, Open, Wire

ACKNOWLEDGED = 20.0
"""Seconds until a message has to be acknowledged on a connection that stays."""

ENTERED = 20.0
"""Seconds until an entry counts as failed."""


class Person:
    """Person with one kind of client.

    Args:
        name: of the person.
        kind: of the client, for the report.
        enter: how it connects.
        random: of its moods.
    """

    def __init__(self, name: str, kind: str, enter: Open, random: Random) -> None:
        self.kind = kind
        self.record = Record(name)
        self.visits = 0
        self._enter = enter
        self._random = random

    async def live(self, over: asyncio.Event) -> None:
        """Come and go until it is over."""
        while not over.is_set():
            await self._visit(over)
            await _rest(over, self._random.uniform(0, 1.5))

    async def read_on(self, over: asyncio.Event) -> None:
        """Come once more, when nobody speaks, and read what is missing."""
        while not await self._visit(over, speaks=False):
            await asyncio.sleep(0.2)

    async def _visit(self, over: asyncio.Event, *, speaks: bool = True) -> bool:
        """Be in the room for a while; return whether that ended as it was meant."""
        try:
            async with asyncio.timeout(ENTERED):
                wire = await self._enter(self.record.name, self.record.take, self.record.cut)
        except (Cut, TimeoutError):
            return False
        self.visits += 1
        try:
            await self._catch_up(wire)
            for _ in range(self._random.randint(1, 6) if speaks else 0):
                await self._say(wire)
                await _rest(over, self._random.uniform(0.5, 4))
                if over.is_set():
                    break
        except Cut:
            return False
        finally:
            wire.cut(gently=self._random.random() < 0.3)
            self.record.cut()
        return True

    async def _catch_up(self, wire: Wire) -> None:
        """Fetch what was said since the last visit."""
        last = await wire.mark()
        self.record.come_in(last)
        while (reached := self.record.reached or 0) < last:
            await wire.since(reached)
            if self.record.reached == reached:
                self.record.faults.append(f"{self.record.name}: nothing behind {reached}, where {last} is")
                return

    async def _say(self, wire: Wire) -> None:
        text = self.record.next_text()
        number = self.record.expect(text)
        await wire.say(text)
        done, _ = await asyncio.wait([number], timeout=ACKNOWLEDGED)
        if done:
            self.record.own[text] = number.result()
        elif self.kind != "udp":
            self.record.faults.append(f"{self.record.name}: {text!r} was not acknowledged")


async def _rest(over: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await over.wait()
    except TimeoutError:
        return
