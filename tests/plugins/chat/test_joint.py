"""Hubs of several processes that are one chat, over a real broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.events import Ended, Entered, Event, Gone, Joined, Redacted, Renamed, Said
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.rules import Rules
from sockd_plugins.chat.joint.exchange import JointExchange
from sockd_plugins.chat.joint.rooms import RoomLogs
from tests.broker.parties import Nats, Party, reactor, until
from tests.broker.servers import NatsServer, one

RULES = Rules("lobby", 100, 20, 24, 400, 20, 10_000, 10_000)


class Outlet:
    """Outlet that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def deliver(self, batch: Batch) -> None:
        self.events += batch.events

    def has(self, kind: type[Event], **fields: object) -> bool:
        return any(
            isinstance(event, kind) and all(getattr(event, key) == value for key, value in fields.items())
            for event in self.events
        )


class Archive:
    """Store of messages in memory."""

    def __init__(self) -> None:
        self.rooms: dict[str, dict[int, Said]] = {}

    async def latest(self, room: str, limit: int) -> tuple[int, Sequence[Said]]:
        kept = self.rooms.get(room, {})
        return max(kept, default=0), list(kept.values())[max(0, len(kept) - limit) :] if limit else []

    async def keep(self, said: Sequence[Said]) -> None:
        for each in said:
            self.rooms.setdefault(each.room, {})[each.number] = each

    async def since(self, room: str, number: int, limit: int) -> Sequence[Said]:
        return [each for each in self.rooms.get(room, {}).values() if each.number > number][:limit]

    async def before(self, room: str, number: int, limit: int) -> Sequence[Said]:
        return [each for each in self.rooms.get(room, {}).values() if each.number < number][-limit:]

    async def place(self, room: str, at: float) -> tuple[int, int]:
        return 0, 1

    async def search(self, text: str, room: str, limit: int, before: int | None = None) -> Sequence[Said]:
        return [each for each in self.rooms.get(room, {}).values() if text in each.text][:limit]

    async def redact(self, room: str, number: int) -> bool:
        kept = self.rooms.get(room, {})
        if number in kept:
            kept[number] = replace(kept[number], text="")
        return number in kept

    def note_closed(self, room: str) -> None:
        """Closed rooms are not what these tests are about."""

    def note_open(self, room: str) -> None:
        """Closed rooms are not what these tests are about."""


class Machine:
    """Process that serves the chat."""

    def __init__(self, party: Party) -> None:
        self.party = party
        log = Logger()
        self.archive = Archive()
        logs = RoomLogs(party.broker, self.archive, log)
        self.hub = Hub(
            RULES,
            reactor,
            log,
            logs,
            joint=lambda elsewhere: JointExchange(party.broker, logs, elsewhere, reactor, log),
        )

    async def ready(self) -> Machine:
        """Wait until people can come in."""
        await until(self._open)
        return self

    def _open(self) -> bool:
        with suppress(ChatRefused):
            self.hub.leave(self.hub.enter("probe", Outlet()), "")
            return True
        return False

    def enter(self, name: str) -> tuple[Person, Outlet]:
        outlet = Outlet()
        return self.hub.enter(name, outlet, room="lobby"), outlet


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    yield from one(tmp_path_factory.mktemp("nats"))


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def machines(server: NatsServer) -> AsyncIterator[list[Machine]]:
    nats = Nats(server.url)
    made = [await Machine(await nats.party()).ready() for _ in range(2)]
    yield made
    for machine in made:
        machine.hub.close("the end")
        await Deferred.fromCoroutine(machine.hub.finish())
    await nats.stop()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_of_two_who_take_a_name_at_once_one_keeps_it(machines: list[Machine]) -> None:
    for turn in range(5):
        name = f"ann{turn}"
        rivals = [machine.enter(name) for machine in machines]
        await until(lambda rivals=rivals: any(person.gone for person, _ in rivals))  # type: ignore[misc]
        winner, loser = sorted(rivals, key=lambda rival: rival[0].gone)
        assert (winner[0].gone, loser[0].gone) == (False, True)
        await until(lambda loser=loser: loser[1].has(Ended))  # type: ignore[misc]
        assert not winner[1].has(Ended)
        home = machines[rivals.index(winner)]
        other = machines[1 - rivals.index(winner)]
        await until(lambda other=other, name=name: other.hub.find(name) is not None)  # type: ignore[misc]
        shown = other.hub.find(name)
        assert shown is not None
        assert shown.elsewhere
        home.hub.leave(winner[0], "bye")
        await until(lambda other=other, name=name: other.hub.find(name) is None)  # type: ignore[misc]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_everybody_reads_all_in_one_order_with_the_same_numbers(machines: list[Machine]) -> None:
    people = [machine.enter(name) for machine, name in zip(machines, ("ann", "bob"), strict=True)]
    await until(lambda: people[0][1].has(Joined, name="bob"))
    for turn in range(40):
        for machine, (person, _) in zip(machines, people, strict=True):
            machine.hub.say(person, "lobby", f"{person.name} {turn}")
    late = machines[0].enter("cid")
    for turn in range(40, 60):
        for machine, (person, _) in zip(machines, people, strict=True):
            machine.hub.say(person, "lobby", f"{person.name} {turn}")
    for person, outlet in people:
        other = "bob" if person.name == "ann" else "ann"
        await until(lambda outlet=outlet, other=other: outlet.has(Said, text=f"{other} 59"))  # type: ignore[misc]
        said = [event for event in outlet.events if isinstance(event, Said)]
        assert [event.text for event in said] == [f"{other} {turn}" for turn in range(60)]
    await until(lambda: all(late[1].has(Said, text=f"{name} 59") for name in ("ann", "bob")))
    entered = next(event for event in late[1].events if isinstance(event, Entered))
    seen = [*entered.recent, *(event for event in late[1].events if isinstance(event, Said))]
    numbers = [said.number for said in seen]
    assert numbers == list(range(numbers[0], 121))
    by_number = {said.number: said.text for said in seen}
    for _, outlet in people:
        for event in outlet.events:
            if isinstance(event, Said) and event.number in by_number:
                assert by_number[event.number] == event.text


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_new_name_is_shown_as_one(machines: list[Machine]) -> None:
    ann, _ = machines[0].enter("ann")
    _, seen = machines[1].enter("bob")
    await until(lambda: machines[1].hub.find("ann") is not None and machines[0].hub.find("bob") is not None)
    for name in ("anna", "Anna", "ann"):
        machines[0].hub.rename(ann, name)
        await until(lambda name=name: seen.has(Renamed, new_name=name))  # type: ignore[misc]
    assert not seen.has(Gone)
    with pytest.raises(ChatRefused, match="taken"):
        machines[0].hub.rename(ann, "bob")


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_program_gets_the_number_of_what_it_has_said(machines: list[Machine]) -> None:
    _, seen = machines[1].enter("bob")
    said = await machines[0].hub.post("alerts", "lobby", "disk full")
    await until(lambda: seen.has(Said, text="disk full", number=said.number))
    again = await machines[0].hub.read("lobby", said.number - 1, 5)
    assert [each.text for each in again] == ["disk full"]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_machine_has_what_was_said_in_rooms_where_it_has_nobody(
    machines: list[Machine],
) -> None:
    ann, _ = machines[0].enter("ann")
    for turn in range(30):
        machines[0].hub.say(ann, "lobby", f"{turn}")
    await until(lambda: len(machines[0].archive.rooms.get("lobby", ())) == 30)
    await until(lambda: machines[1].hub.find("ann") is not None)
    _, outlet = machines[1].enter("cid")
    await until(lambda: outlet.has(Entered))
    entered = next(event for event in outlet.events if isinstance(event, Entered))
    assert [each.name for each in entered.others] == ["ann"]
    await until(lambda: len(machines[1].archive.rooms.get("lobby", ())) == 30)
    assert machines[0].archive.rooms == machines[1].archive.rooms
    said = [*entered.recent, *(event for event in outlet.events if isinstance(event, Said))]
    assert [each.number for each in said][-10:] == list(range(21, 31))


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_message_that_is_removed_is_removed_on_every_machine(machines: list[Machine]) -> None:
    ann, _ = machines[0].enter("ann")
    _, seen = machines[1].enter("bob")
    machines[0].hub.join(ann, "ops")
    machines[0].hub.say(ann, "lobby", "a secret")
    await until(lambda: seen.has(Said, text="a secret"))
    number = next(event.number for event in seen.events if isinstance(event, Said))
    ann.rooms["lobby"].members[ann].rank = "operator"
    await machines[0].hub.record.redact(ann, "lobby", number)
    await until(lambda: seen.has(Redacted, number=number))
    for machine in machines:
        assert machine.archive.rooms["lobby"][number].text == ""
