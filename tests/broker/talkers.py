"""Parties that talk while servers fail, and the proof that nothing was lost, doubled or put elsewhere."""

from __future__ import annotations

from twisted.internet.task import deferLater

from sockd.broker import BrokerAway, BrokerFull
from tests.broker.parties import Party, reactor, said, until


class Talker:
    """Publishes numbered texts as fast as it may, and keeps those that were accepted."""

    def __init__(self, party: Party, name: str) -> None:
        self.accepted: list[str] = []
        self.refused = 0
        self.subject = party.enter()
        self._name = name
        self._said = 0

    def say(self) -> None:
        """Publish one text more, unless it is refused."""
        self._said += 1
        text = f"{self._name}.{self._said}"
        try:
            self.subject.publish(said(text))
            self.accepted.append(text)
        except (BrokerAway, BrokerFull):
            self.refused += 1


async def talk(talkers: list[Talker], turns: int) -> None:
    for _ in range(turns):
        for talker in talkers:
            talker.say()
        await deferLater(reactor, 0.002)


async def agree(parties: list[Party], talkers: list[Talker]) -> None:
    """Wait until all has arrived, and compare."""
    await until(lambda: all(party.connected for party in parties), "not all connected")
    accepted = sorted(text for talker in talkers for text in talker.accepted)
    await until(lambda: all(len(party.reader.entries) >= len(accepted) for party in parties), "not all came")
    await deferLater(reactor, 0.05)
    for party in parties:
        assert party.reader.entries == parties[0].reader.entries
        assert party.reader.missed == []
    assert sorted(parties[0].reader.texts) == accepted
    assert parties[0].reader.numbers == list(range(1, len(accepted) + 1))
