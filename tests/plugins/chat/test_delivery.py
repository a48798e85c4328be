"""Delivery where messages are stored: with an archive that answers when the test says so."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.logger import Logger, capturedLogs

from sockd_plugins.chat.hub import delivery
from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.delivery import NotStored
from sockd_plugins.chat.hub.events import (
    Ended,
    Entered,
    Event,
    Gone,
    Joined,
    Left,
    Parted,
    Present,
    Said,
    Unsaid,
)
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.rules import Rules
from tests.plugins.chat.turns import ShortTurns

NOON = 1_800_000_000.0


class Disk:
    """Archive that stores what it is given once `turn` is called, or fails."""

    def __init__(self) -> None:
        self.stored: dict[str, list[Said]] = {}
        self.commits: list[list[Said]] = []
        self.waiting: list[tuple[Deferred[None], Sequence[Said]]] = []
        self.broken = False

    async def latest(self, room: str, limit: int) -> tuple[int, Sequence[Said]]:
        if self.broken:
            raise OSError("no disk")
        said = self.stored.get(room, [])
        return (said[-1].number if said else 0), said[-limit:]

    async def keep(self, said: Sequence[Said]) -> None:
        deferred: Deferred[None] = Deferred()
        self.waiting.append((deferred, said))
        await deferred

    async def redact(self, room: str, number: int) -> bool:
        raise NotImplementedError

    async def search(self, text: str, room: str, limit: int, before: int | None = None) -> Sequence[Said]:
        raise NotImplementedError

    def note_closed(self, room: str) -> None: ...

    def note_open(self, room: str) -> None: ...

    async def since(self, room: str, number: int, limit: int) -> Sequence[Said]:
        if self.broken:
            raise OSError("no disk")
        return [each for each in self.stored[room] if each.number > number][:limit]

    async def before(self, room: str, number: int, limit: int) -> Sequence[Said]:
        return [each for each in self.stored[room] if each.number < number][-limit:]

    async def place(self, room: str, at: float) -> tuple[int, int]:
        earlier = sum(each.at < at for each in self.stored[room])
        return earlier, earlier + 1

    def turn(self, failure: Exception | None = None) -> None:
        """End the commit that is under way."""
        (deferred, said), *self.waiting = self.waiting
        if failure is not None:
            deferred.errback(failure)
            return
        self.commits.append(list(said))
        for each in said:
            room = self.stored.setdefault(each.room, [])
            assert each.number == len(room) + 1
            room.append(each)
        deferred.callback(None)

    def settle(self) -> None:
        while self.waiting:
            self.turn()


class Ear:
    def __init__(self) -> None:
        self.heard: list[Event] = []

    def deliver(self, batch: Batch) -> None:
        self.heard.extend(batch.events)

    def take(self) -> list[Event]:
        heard, self.heard = self.heard, []
        return heard


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def hub(disk: Disk) -> Hub:
    return a_hub(disk)


def a_hub(disk: Disk) -> Hub:
    rules = Rules(
        room="lobby",
        max_members=10,
        max_rooms=5,
        name_length=16,
        message_length=40,
        history=3,
        rate=1e6,
        burst=100_000,
    )
    return Hub(rules, ShortTurns(), Logger("test"), disk, now=lambda: NOON)


def a_pair(hub: Hub) -> tuple[Person, Ear, Person, Ear]:
    ann_hears, bob_hears = Ear(), Ear()
    ann = hub.enter("ann", ann_hears, room="lobby", echoes=True)
    bob = hub.enter("bob", bob_hears, room="lobby")
    ann_hears.take()
    bob_hears.take()
    return ann, ann_hears, bob, bob_hears


def said(number: int, text: str, name: str = "ann", room: str = "lobby") -> Said:
    return Said(room, name, text, number, NOON)


def test_whatever_is_seen_is_stored_and_an_echo_means_that(hub: Hub, disk: Disk) -> None:
    ann, ann_hears, _, bob_hears = a_pair(hub)
    hub.say(ann, "lobby", "one")
    assert ann_hears.heard == bob_hears.heard == []
    disk.turn()
    assert disk.stored["lobby"] == ann_hears.heard == bob_hears.heard == [said(1, "one")]


def test_whatever_is_said_during_a_commit_is_stored_with_the_next_one(hub: Hub, disk: Disk) -> None:
    ann, ann_hears, bob, _ = a_pair(hub)
    hub.say(ann, "lobby", "one")
    hub.say(bob, "lobby", "two")
    hub.say(ann, "lobby", "three")
    assert len(disk.waiting) == 1
    disk.settle()
    expected = [said(1, "one"), said(2, "two", "bob"), said(3, "three")]
    assert disk.commits == [expected[:1], expected[1:]]
    assert ann_hears.heard == expected


def test_whatever_happens_after_a_message_is_heard_after_it(hub: Hub, disk: Disk) -> None:
    ann, ann_hears, bob, bob_hears = a_pair(hub)
    hub.say(ann, "lobby", "bye")
    hub.part(ann, "lobby", "supper")
    hub.tell(bob, "ann", "wait")
    assert bob_hears.heard == []
    disk.settle()
    assert bob_hears.heard == [said(1, "bye"), Left("lobby", "ann", "supper")]
    first, second, third = ann_hears.heard
    assert (first, second) == (said(1, "bye"), Parted("lobby", "ann", "supper"))
    assert getattr(third, "text", "") == "wait"


def test_who_enters_reads_what_came_before_and_hears_what_comes_after(hub: Hub, disk: Disk) -> None:
    ann, _, bob, _ = a_pair(hub)
    hub.say(ann, "lobby", "one")
    hub.say(ann, "lobby", "two")
    hub.leave(bob, "quit")
    carl_hears = Ear()
    hub.enter("carl", carl_hears, room="lobby")
    hub.say(ann, "lobby", "three")
    disk.settle()
    assert carl_hears.heard == [
        Entered("lobby", "carl", (Present("ann"),), (said(1, "one"), said(2, "two"))),
        said(3, "three"),
    ]


def test_who_enters_and_leaves_while_the_disk_works_hears_what_happens_between(hub: Hub, disk: Disk) -> None:
    ann, _, bob, bob_hears = a_pair(hub)
    hub.say(ann, "lobby", "one")
    hub.part(bob, "lobby")
    hub.say(ann, "lobby", "two")
    hub.join(bob, "lobby")
    hub.say(ann, "lobby", "three")
    hub.part(bob, "lobby")
    hub.say(ann, "lobby", "four")
    disk.settle()
    assert bob_hears.heard == [
        said(1, "one"),
        Parted("lobby", "bob", ""),
        Entered("lobby", "bob", (Present("ann"),), (said(1, "one"), said(2, "two"))),
        said(3, "three"),
        Parted("lobby", "bob", ""),
    ]


def test_a_message_that_is_not_stored_is_heard_by_nobody_and_leaves_no_gap(hub: Hub, disk: Disk) -> None:
    ann, ann_hears, bob, bob_hears = a_pair(hub)
    hub.say(ann, "lobby", "lost")
    hub.leave(hub.enter("carl", Ear(), room="lobby"), "quit")
    with capturedLogs():
        disk.turn(NotStored("no space left on the disk"))
    hub.say(bob, "lobby", "kept")
    disk.settle()
    assert ann_hears.heard == [
        Unsaid("lobby", "lost", "no space left on the disk"),
        Joined("lobby", "carl"),
        Gone("carl", "quit"),
        said(1, "kept", "bob"),
    ]
    assert bob_hears.heard == [Joined("lobby", "carl"), Gone("carl", "quit")]


def test_a_failure_that_nobody_foresaw_stops_nothing_and_is_logged(hub: Hub, disk: Disk) -> None:
    ann, ann_hears, _, _ = a_pair(hub)
    hub.say(ann, "lobby", "lost")
    with capturedLogs() as logged:
        disk.turn(ZeroDivisionError())
    hub.say(ann, "lobby", "kept")
    disk.settle()
    assert ann_hears.heard == [
        Unsaid("lobby", "lost", "the history failed"),
        said(1, "kept"),
    ]
    assert [event["log_failure"].type for event in logged] == [ZeroDivisionError]


def test_numbers_go_on_when_a_room_comes_back(hub: Hub, disk: Disk) -> None:
    ann, ann_hears, bob, _ = a_pair(hub)
    hub.join(ann, "den")
    hub.say(ann, "den", "one")
    hub.part(ann, "den")  # while the message is not stored
    hub.join(ann, "den")
    hub.say(ann, "den", "two")
    disk.settle()
    hub.part(ann, "den")
    ann_hears.take()
    hub.join(bob, "den")
    hub.join(ann, "den")
    hub.say(ann, "den", "three")
    disk.settle()
    before = (said(1, "one", room="den"), said(2, "two", room="den"))
    assert ann_hears.heard == [
        Entered("den", "ann", (Present("bob", "operator"),), before),
        said(3, "three", room="den"),
    ]


def test_a_room_whose_history_cannot_be_read_is_entered_without_it(hub: Hub, disk: Disk) -> None:
    disk.stored["den"] = [said(1, "old", room="den")]
    ann, ann_hears, _, _ = a_pair(hub)
    disk.broken = True
    with capturedLogs() as logged:
        hub.join(ann, "den")
        hub.say(ann, "den", "lost")
    assert len(logged) == 2
    assert ann_hears.take() == [
        Entered("den", "ann", rank="operator"),
        Unsaid("den", "lost", "the history failed"),
    ]
    disk.broken = False
    hub.say(ann, "den", "kept")
    disk.settle()
    assert ann_hears.heard == [said(2, "kept", room="den")]


def test_messages_that_memory_does_not_hold_come_from_the_archive(hub: Hub, disk: Disk) -> None:
    ann, _, _, _ = a_pair(hub)
    for number in range(1, 8):
        hub.say(ann, "lobby", str(number))
    disk.settle()

    def numbers(reading: object) -> list[int]:
        found: list[Said] = []
        ensureDeferred(reading).addCallback(found.extend)  # type: ignore[arg-type]
        return [each.number for each in found]

    assert numbers(hub.since(ann, "lobby", 5, 10)) == [6, 7]
    assert numbers(hub.since(ann, "lobby", 1, 3)) == [2, 3, 4]
    assert numbers(hub.before(ann, "lobby", 4, 2)) == [2, 3]
    disk.broken = True
    assert numbers(hub.since(ann, "lobby", 5, 10)) == [6, 7]
    with capturedLogs() as logged:
        outcome = ensureDeferred(hub.since(ann, "lobby", 1, 3))
    failure = outcome.result
    outcome.addErrback(lambda _: None)
    assert isinstance(getattr(failure, "value", None), ChatRefused)
    assert len(logged) == 1


def test_the_end_comes_after_what_was_said_and_can_be_awaited(hub: Hub, disk: Disk) -> None:
    ann, _, _, bob_hears = a_pair(hub)
    hub.say(ann, "lobby", "last")
    hub.close("the server is closing")
    finished = ensureDeferred(hub.finish())
    assert not finished.called
    disk.settle()
    assert finished.called
    assert bob_hears.heard == [Ended("the server is closing")]
    assert disk.stored["lobby"] == [said(1, "last")]


def test_no_more_is_said_than_fits_while_the_disk_hangs(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MOST_WAITING", 5)
    ann, _, _, _ = a_pair(hub)
    for _ in range(6):
        hub.say(ann, "lobby", "x")
    with pytest.raises(ChatRefused) as refused:
        hub.say(ann, "lobby", "x")
    assert refused.value.code == "busy"


def test_much_that_waited_is_delivered_in_bounded_pieces(
    hub: Hub, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "MOST_STORED", 4)
    ann, ann_hears, _, _ = a_pair(hub)
    for number in range(1, 11):
        hub.say(ann, "lobby", str(number))
    disk.settle()
    assert [len(commit) for commit in disk.commits] == [1, 4, 4, 1]
    assert ann_hears.heard == [said(number, str(number)) for number in range(1, 11)]


ROOMS = ("lobby", "den")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(0, 2), st.sampled_from(ROOMS)),
        st.tuples(st.just("join"), st.integers(0, 2), st.sampled_from(ROOMS)),
        st.tuples(st.just("part"), st.integers(0, 2), st.sampled_from(ROOMS)),
        st.tuples(st.sampled_from(["turn", "fail"]), st.just(0), st.just("")),
    ),
    max_size=40,
)


@given(STEPS)
def test_nobody_misses_or_doubles_a_message_whenever_people_come_and_go(
    steps: list[tuple[str, int, str]],
) -> None:
    disk = Disk()
    hub = a_hub(disk)
    ears = [Ear() for _ in range(3)]
    people = [hub.enter(name, ear, echoes=True) for name, ear in zip("abc", ears, strict=True)]
    with capturedLogs():
        for action, who, room in steps:
            try:
                match action:
                    case "say":
                        hub.say(people[who], room, "x")
                    case "join" | "part":
                        getattr(hub, action)(people[who], room)
                    case "turn" if disk.waiting:
                        disk.turn()
                    case "fail" if disk.waiting:
                        disk.turn(NotStored("full"))
            except ChatRefused:
                pass
        disk.settle()
    for ear in ears:
        seen: dict[str, int | None] = {}
        for event in ear.heard:
            match event:
                case Entered(room, recent=recent):
                    assert room not in seen
                    seen[room] = recent[-1].number if recent else None
                    numbers = [each.number for each in recent]
                    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
                case Parted(room):
                    del seen[room]
                case Said(room, _, _, number):
                    assert number == (seen[room] or 0) + 1
                    seen[room] = number
        for room, last in seen.items():
            assert (last or 0) == len(disk.stored.get(room, []))


def test_a_program_learns_the_number_of_its_message_once_it_is_stored(hub: Hub, disk: Disk) -> None:
    posted: list[object] = []
    Deferred.fromCoroutine(hub.post("deploy", "ops", "done")).addBoth(posted.append)
    assert not posted
    disk.turn()
    assert isinstance(posted[0], Said)
    assert (posted[0].room, posted[0].number) == ("ops", 1)
    assert [room.name for room in hub.rooms()] == ["lobby"]


def test_a_program_learns_that_its_message_could_not_be_stored(hub: Hub, disk: Disk) -> None:
    posted: list[object] = []
    Deferred.fromCoroutine(hub.post("deploy", "lobby", "done")).addErrback(
        lambda failure: posted.append(failure.value)
    )
    with capturedLogs():
        disk.turn(NotStored("no space is left"))
    assert isinstance(posted[0], ChatRefused)
    assert (posted[0].code, str(posted[0])) == ("not_stored", "no space is left")


def test_an_event_is_encoded_once_and_only_in_the_forms_of_those_who_are_owed_it() -> None:
    encoded: list[tuple[str, Event]] = []

    def plain(event: Event) -> bytes:
        encoded.append(("plain", event))
        return b"p"

    def other(event: Event) -> bytes:
        encoded.append(("other", event))
        return b"o"

    for_ann, for_bob, for_all = Joined("lobby", "ann"), Joined("lobby", "bob"), Joined("lobby", "eve")
    batch = Batch([for_ann, for_bob, for_all])
    assert [batch.pick([0, 2]).encoded(plain), batch.pick([1, 2]).encoded(other)] == [b"pp", b"oo"]
    assert batch.pick([2]).encoded(plain) == b"p"
    assert encoded == [("plain", for_ann), ("plain", for_all), ("other", for_bob), ("other", for_all)]
    assert batch.encoded(plain) == b"ppp"
