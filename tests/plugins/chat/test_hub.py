from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock
from twisted.logger import Logger, capturedLogs

from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.delivery import MOST_OWED
from sockd_plugins.chat.hub.events import (
    Change,
    Ended,
    Entered,
    Event,
    Gone,
    Joined,
    Left,
    Parted,
    Present,
    Renamed,
    Said,
    Told,
)
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Person, RoomFacts
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.rules import Rules
from tests.plugins.chat.results import result_of
from tests.plugins.chat.turns import ShortTurns

NOON = 1_800_000_000.0


def rules(
    max_members: int = 10, max_rooms: int = 3, history: int = 3, rate: float = 10, burst: int = 100
) -> Rules:
    return Rules(
        room="lobby",
        max_members=max_members,
        max_rooms=max_rooms,
        name_length=16,
        message_length=40,
        history=history,
        rate=rate,
        burst=burst,
    )


class Ear:
    """Outlet that records a member's events."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.batches = 0

    def deliver(self, batch: Batch) -> None:
        self.heard.extend(batch.events)
        self.batches += 1

    def take(self) -> list[Event]:
        heard, self.heard = self.heard, []
        return heard


class Broken(Ear):
    """Outlet that fails at every message."""

    def deliver(self, batch: Batch) -> None:
        super().deliver(batch)
        if any(isinstance(event, Said) for event in batch.events):
            raise RuntimeError("broken")


def a_hub(limits: Rules | None = None, clock: Clock | None = None) -> Hub:
    return Hub(limits or rules(), clock or ShortTurns(), Logger("test"), now=lambda: NOON)


def enter(hub: Hub, name: str, ear: Ear) -> Person:
    """Add a person to the lobby."""
    return hub.enter(name, ear, room="lobby")


def say(hub: Hub, person: Person, text: str) -> Said:
    """Say something in the person's room; return the message without its number."""
    room = here(person)
    hub.say(person, room, text)
    return Said(room, person.name, text, 0, NOON)


def here(person: Person) -> str:
    (room,) = person.rooms.values()
    return room.name


def numbered(*said: Said, first: int = 1) -> list[Said]:
    return [each.numbered(number) for number, each in enumerate(said, first)]


def a_pair(hub: Hub) -> tuple[Person, Ear, Person, Ear]:
    """Return two members in the lobby, with no events left."""
    ann_hears, bob_hears = Ear(), Ear()
    ann, bob = enter(hub, "ann", ann_hears), enter(hub, "bob", bob_hears)
    ann_hears.take()
    bob_hears.take()
    return ann, ann_hears, bob, bob_hears


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(ChatRefused) as refused:
        action()
    return str(refused.value)


def test_a_newcomer_learns_where_it_is_and_the_others_learn_of_it() -> None:
    hub, ann, bob = a_hub(), Ear(), Ear()
    enter(hub, "ann", ann)
    enter(hub, "Bob", bob)
    assert ann.heard == [Entered("lobby", "ann"), Joined("lobby", "Bob")]
    assert bob.heard == [Entered("lobby", "Bob", (Present("ann"),))]


def test_a_message_reaches_everybody_in_the_room_but_its_speaker() -> None:
    hub = a_hub()
    ann, ann_hears, bob, bob_hears = a_pair(hub)
    hub.move(bob, "garden")
    carl_hears = Ear()
    enter(hub, "carl", carl_hears)
    for ear in (ann_hears, bob_hears, carl_hears):
        ear.take()
    said = say(hub, ann, "hello")
    assert (ann_hears.heard, bob_hears.heard, carl_hears.heard) == ([], [], numbered(said))


def test_a_private_message_reaches_one_member_in_whatever_room() -> None:
    hub = a_hub()
    ann, ann_hears, bob, bob_hears = a_pair(hub)
    hub.move(bob, "garden")
    ann_hears.take()
    bob_hears.take()
    hub.tell(ann, "BOB", "psst")
    assert (ann_hears.heard, bob_hears.heard) == ([], [Told("ann", "bob", "psst", NOON)])
    assert refusal(lambda: hub.tell(ann, "carl", "psst")) == "nobody here has that name"


def test_a_change_of_room_is_an_exit_from_one_and_an_entry_into_the_other() -> None:
    hub = a_hub()
    ann, ann_hears, bob, bob_hears = a_pair(hub)
    hub.move(ann, "garden")
    hub.move(bob, "Garden")
    assert ann_hears.heard == [
        Entered("garden", "ann", rank="operator"),
        Parted("lobby", "ann", ""),
        Joined("garden", "bob"),
    ]
    assert bob_hears.heard == [
        Left("lobby", "ann", ""),
        Entered("garden", "bob", (Present("ann", "operator"),)),
        Parted("lobby", "bob", ""),
    ]
    assert refusal(lambda: hub.move(bob, "GARDEN")) == "you are in garden already"


@pytest.mark.parametrize("name", ["ann", "ANN", "aNn"])
def test_a_name_cannot_be_taken_in_another_case(name: str) -> None:
    hub = a_hub()
    _, _, bob, _ = a_pair(hub)
    assert refusal(lambda: enter(hub, name, Ear())) == f"the name {name} is taken"
    assert refusal(lambda: hub.rename(bob, name)) == f"the name {name} is taken"
    assert bob.name == "bob"


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "ann\n", "\u212aen", "ańn", "a" * 17, "*", "<ann>", "a\x1b"]
)
def test_a_name_is_short_and_plain(name: str) -> None:
    hub = a_hub()
    ann, _, _, _ = a_pair(hub)
    for action in (
        lambda: enter(hub, name, Ear()),
        lambda: hub.rename(ann, name),
        lambda: hub.move(ann, name),
    ):
        assert refusal(action) == "a name is 1 to 16 of A-Z a-z 0-9 _ . -"


def test_a_member_may_write_its_name_differently_and_the_room_learns_it() -> None:
    hub = a_hub()
    ann, ann_hears, _, bob_hears = a_pair(hub)
    hub.rename(ann, "Ann")
    hub.rename(ann, "carl")
    expected = [Renamed("ann", "Ann"), Renamed("Ann", "carl")]
    assert ann_hears.heard == bob_hears.heard == expected
    assert hub.find("CARL") is not None
    assert hub.find("ann") is None


def test_a_name_is_free_at_once_when_its_member_leaves_and_leaving_twice_does_no_harm() -> None:
    hub = a_hub()
    ann, _, _, bob_hears = a_pair(hub)
    hub.leave(ann, "disconnected")
    other = enter(hub, "ann", Ear())
    hub.leave(ann, "disconnected")
    assert not other.gone
    assert bob_hears.heard == [Gone("ann", "disconnected"), Joined("lobby", "ann")]
    assert refusal(lambda: hub.say(ann, "lobby", "hello")) == "you are not in the chat any more"


def test_a_newcomer_gets_the_last_messages_and_no_more() -> None:
    hub = a_hub()
    ann, _, bob, _ = a_pair(hub)
    for text in ("one", "two", "three", "four"):
        say(hub, ann, text)
    hub.leave(ann, "")
    hub.leave(bob, "")
    ear = Ear()
    enter(hub, "carl", ear)
    recent = [Said("lobby", "ann", text, 0, NOON) for text in ("two", "three", "four")]
    assert ear.heard == [Entered("lobby", "carl", (), tuple(numbered(*recent, first=2)))]


def test_a_room_other_than_the_first_is_forgotten_with_its_last_member() -> None:
    hub = a_hub()
    ann, _, bob, bob_hears = a_pair(hub)
    hub.move(ann, "garden")
    say(hub, ann, "a secret")
    hub.move(ann, "lobby")
    bob_hears.take()
    hub.move(bob, "garden")
    assert bob_hears.heard == [Entered("garden", "bob", rank="operator"), Parted("lobby", "bob", "")]


def test_there_are_no_more_rooms_and_members_than_the_rules_say() -> None:
    hub = a_hub(rules(max_members=3, max_rooms=2))
    ann, _, bob, _ = a_pair(hub)
    enter(hub, "carl", Ear())
    assert refusal(lambda: enter(hub, "dora", Ear())) == "the chat is full: 3 members"
    hub.move(ann, "garden")
    assert refusal(lambda: hub.move(bob, "cellar")) == "there are 2 rooms already"
    assert here(bob) == "lobby"


def test_text_is_told_in_printable_form_and_bounded_in_that_form() -> None:
    hub = a_hub()
    ann, _, _, bob_hears = a_pair(hub)
    say(hub, ann, "\x1b[31mred\u202e")
    assert bob_hears.take() == [Said("lobby", "ann", r"\x1b[31mred\u202e", 1, NOON)]
    say(hub, ann, "x" * 40)
    assert refusal(lambda: say(hub, ann, "x" * 41)) == "too long: at most 40 bytes, not 41"
    assert refusal(lambda: hub.tell(ann, "bob", "\0" * 11)) == "too long: at most 40 bytes, not 44"
    assert refusal(lambda: say(hub, ann, "  ")) == "there is no text to send"


def test_a_member_that_is_too_fast_is_told_once_and_may_go_on_a_little_later() -> None:
    clock = ShortTurns()
    hub = a_hub(rules(rate=2, burst=3), clock)
    ann, _, _, bob_hears = a_pair(hub)
    for _ in range(3):
        say(hub, ann, "spam")
    assert refusal(lambda: say(hub, ann, "spam")) == "too fast: what goes beyond 2 a second is dropped"
    assert refusal(lambda: hub.rename(ann, "anna")) == ""
    assert refusal(lambda: hub.move(ann, "garden")) == ""
    clock.advance(0.5)
    say(hub, ann, "sorry")
    assert refusal(lambda: say(hub, ann, "spam")) == "too fast: what goes beyond 2 a second is dropped"
    assert [event.text for event in bob_hears.heard if isinstance(event, Said)] == [*["spam"] * 3, "sorry"]


def test_a_long_silence_does_not_save_up_more_than_the_burst() -> None:
    clock = ShortTurns()
    hub = a_hub(rules(rate=2, burst=3), clock)
    ann, _, _, _ = a_pair(hub)
    clock.advance(3600)
    for _ in range(3):
        say(hub, ann, "spam")
    assert refusal(lambda: say(hub, ann, "spam")).startswith("too fast")


def test_a_member_whose_delivery_fails_is_out_and_nobody_else_misses_anything() -> None:
    hub = a_hub()
    broken_hears = Broken()
    enter(hub, "broken", broken_hears)
    ann, ann_hears, _, bob_hears = a_pair(hub)
    with capturedLogs() as failures:
        said = say(hub, ann, "hello")
    assert bob_hears.heard == [*numbered(said), Gone("broken", "failed")]
    assert ann_hears.heard == [Gone("broken", "failed")]
    assert isinstance(broken_hears.heard[-1], Ended)
    assert hub.find("broken") is None
    assert [(event["member"], event["log_failure"].type) for event in failures] == [("broken", RuntimeError)]


def test_events_caused_by_a_delivery_reach_all_members_in_the_same_order() -> None:
    hub = a_hub()
    ann, ann_hears, _, _ = a_pair(hub)

    class Slow(Ear):
        def deliver(self, batch: Batch) -> None:
            super().deliver(batch)
            if isinstance(batch.events[-1], Said):
                hub.leave(slow, "too slow")

    slow_hears = Slow()
    slow = enter(hub, "slow", slow_hears)
    last_hears = Ear()
    enter(hub, "last", last_hears)
    ann_hears.take()
    last_hears.take()
    said = say(hub, ann, "hello")
    assert last_hears.heard == [*numbered(said), Gone("slow", "too slow")]
    assert ann_hears.heard == [Gone("slow", "too slow")]
    assert [slow_hears.heard[-1]] == numbered(said)


def test_many_who_fail_at_once_are_out_without_a_deep_stack() -> None:
    hub = a_hub(rules(max_members=1000))
    ear = Ear()
    ann = enter(hub, "ann", ear)
    for number in range(500):
        enter(hub, f"x{number}", Broken())
    ear.take()
    say(hub, ann, "hello")
    assert ear.heard == [Gone(f"x{number}", "failed") for number in range(500)]
    assert hub.present(ann, "lobby") == (Present("ann"),)


def test_the_end_is_told_to_all_and_nobody_enters_after_it() -> None:
    hub = a_hub()
    ann, ann_hears, _, bob_hears = a_pair(hub)
    hub.close("the server is closing")
    hub.leave(ann, "disconnected")
    assert ann_hears.heard == bob_hears.heard == [Ended("the server is closing")]
    assert refusal(lambda: enter(hub, "carl", Ear())) == "the server is closing"


def test_what_a_member_is_owed_in_a_turn_comes_at_once_and_its_own_words_do_not() -> None:
    clock = Clock()
    hub = a_hub(clock=clock)
    ears = {name: Ear() for name in ("ann", "bob", "carl")}
    ann, bob, _ = (enter(hub, name, ear) for name, ear in ears.items())
    clock.advance(0)
    for ear in ears.values():
        ear.batches = 0
        ear.take()
    said = [say(hub, ann, "1"), say(hub, bob, "2"), say(hub, ann, "3")]
    assert [ear.heard for ear in ears.values()] == [[], [], []]
    clock.advance(0)
    first, second, third = numbered(*said)
    assert [ear.heard for ear in ears.values()] == [[second], [first, third], [first, second, third]]
    assert [ear.batches for ear in ears.values()] == [1, 1, 1]
    assert not clock.getDelayedCalls()


def test_a_turn_in_which_very_much_is_said_is_delivered_in_bounded_batches() -> None:
    clock = Clock()
    hub = a_hub(rules(rate=1e6, burst=1000), clock)
    ann, _, _, bob_hears = a_pair(hub)
    clock.advance(0)
    bob_hears.take()
    bob_hears.batches = 0
    said = [say(hub, ann, str(number)) for number in range(2 * MOST_OWED + 1)]
    assert bob_hears.heard == []
    clock.advance(0)
    assert bob_hears.heard == numbered(*said)
    assert bob_hears.batches == 3


def test_what_came_before_is_heard_before_what_a_member_alone_is_told() -> None:
    clock = Clock()
    hub = a_hub(clock=clock)
    ann, _, _, bob_hears = a_pair(hub)
    clock.advance(0)
    bob_hears.take()
    said = say(hub, ann, "first")
    told = hub.tell(ann, "bob", "second")
    clock.advance(0)
    assert bob_hears.heard == [*numbered(said), told]


ACTIONS = st.one_of(
    st.tuples(st.just("say"), st.integers(0, 3), st.text("ab", min_size=1, max_size=3)),
    st.tuples(st.just("tell"), st.integers(0, 3), st.sampled_from("abcd")),
    st.tuples(
        st.sampled_from(["join", "part", "move"]), st.integers(0, 3), st.sampled_from(["lobby", "garden"])
    ),
    st.tuples(st.just("rename"), st.integers(0, 3), st.sampled_from("abcdefgh")),
    st.tuples(st.just("leave"), st.integers(0, 3), st.just("")),
    st.tuples(st.just("turn"), st.just(0), st.just("")),
)


def heard_after(actions: list[tuple[str, int, str]], clock: Clock) -> list[list[Event]]:
    """Return what each of four members has heard at the end."""
    hub = a_hub(clock=clock)
    ears = [Ear() for _ in range(4)]
    members = [enter(hub, name, ear) for name, ear in zip("abcd", ears, strict=True)]
    for action, number, word in actions:
        with suppress(ChatRefused):
            match action:
                case "turn":
                    clock.advance(0)
                case "tell":
                    hub.tell(members[number], word, "psst")
                case "say":
                    for room in tuple(members[number].rooms):
                        hub.say(members[number], room, word)
                case _:
                    getattr(hub, action)(members[number], word)
        if not all(room.members for room in hub._rooms if room.name != "lobby"):
            clock.advance(0)  # a room that nobody is in is forgotten at the end of the turn
    clock.advance(0)
    return [ear.heard for ear in ears]


@given(st.lists(ACTIONS, max_size=20))
def test_everybody_hears_the_same_in_the_same_order_wherever_turns_end(
    actions: list[tuple[str, int, str]],
) -> None:
    assert heard_after(actions, Clock()) == heard_after(actions, ShortTurns())


NAMES = st.sampled_from(["ann", "Ann", "bob", "BOB", "carl", "dora", "e", "", "no way", "\u212a"])
ROOMS = st.sampled_from(["lobby", "Lobby", "garden", "cellar", "attic", "", "#x"])


class ChatMachine(RuleBasedStateMachine):
    """Random actions and failures of members, after which the hub's promises hold."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = rules(max_members=4, max_rooms=3, history=2, rate=1, burst=4)
        self.clock = ShortTurns()
        self.hub = a_hub(self.limits, self.clock)
        self.members: list[Person] = []

    def act(self, action: Callable[[], object]) -> None:
        with suppress(ChatRefused):
            action()

    def one(self, number: int) -> Person:
        return self.members[number % len(self.members)]

    @rule(name=NAMES, outlet=st.sampled_from([Ear, Broken]))
    def enter(self, name: str, outlet: Callable[[], Ear]) -> None:
        self.act(lambda: self.members.append(enter(self.hub, name, outlet())))

    @precondition(lambda self: self.members)
    @rule(number=st.integers(0, 9), room=ROOMS, request=st.sampled_from(["join", "part", "move"]))
    def change_room(self, number: int, room: str, request: str) -> None:
        self.act(lambda: getattr(self.hub, request)(self.one(number), room))

    @precondition(lambda self: self.members)
    @rule(number=st.integers(0, 9), name=NAMES)
    def rename(self, number: int, name: str) -> None:
        self.act(lambda: self.hub.rename(self.one(number), name))

    @precondition(lambda self: self.members)
    @rule(number=st.integers(0, 9), room=ROOMS, text=st.text(max_size=60))
    def say(self, number: int, room: str, text: str) -> None:
        self.act(lambda: self.hub.say(self.one(number), room, text))

    @precondition(lambda self: self.members)
    @rule(number=st.integers(0, 9), name=NAMES, text=st.text(max_size=60))
    def tell(self, number: int, name: str, text: str) -> None:
        self.act(lambda: self.hub.tell(self.one(number), name, text))

    @precondition(lambda self: self.members)
    @rule(number=st.integers(0, 9))
    def leave(self, number: int) -> None:
        self.hub.leave(self.one(number), "gone")

    @rule(seconds=st.floats(0, 10))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def names_are_unique_and_found(self) -> None:
        present = [member for member in self.members if not member.gone]
        assert len({member.name.lower() for member in present}) == len(present)
        assert all(self.hub.find(member.name) is member for member in present)
        assert len(self.hub.people) == len(present) <= self.limits.max_members

    @invariant()
    def people_and_rooms_agree_on_who_is_where(self) -> None:
        of_rooms = {(member, room.name.lower()) for room in self.hub._rooms for member in room.members}
        of_people = {(member, key) for member in self.members for key in member.rooms}
        assert of_rooms == of_people
        assert not any(member.gone for member, _ in of_rooms)

    @invariant()
    def empty_rooms_vanish_and_the_first_stays(self) -> None:
        rooms = tuple(self.hub._rooms)
        assert rooms[0].name == "lobby"
        assert all(room.members for room in rooms[1:])
        assert len(rooms) <= self.limits.max_rooms

    @invariant()
    def what_was_said_is_bounded(self) -> None:
        for room in self.hub._rooms:
            assert len(room.recent) <= self.limits.history
            assert all(len(said.text.encode()) <= self.limits.message_length for said in room.recent)
        assert not self.hub._delivery._owed
        assert not self.hub._delivery._stays


TestChatMachine = ChatMachine.TestCase
TestChatMachine.settings = settings(max_examples=100, stateful_step_count=30)


def test_a_program_speaks_in_a_room_without_being_there() -> None:
    hub, ear = a_hub(), Ear()
    enter(hub, "ann", ear)
    ear.take()
    said = Said("lobby", "deploy", "done", 1, NOON, "notice")
    assert result_of(hub.post("deploy", "Lobby", "done")) == said
    assert ear.take() == [said]
    assert hub.rooms() == (RoomFacts("lobby", 1, 1, None),)


@pytest.mark.parametrize(
    ("name", "room", "text", "code"),
    [
        ("ann", "lobby", "done", "taken"),
        ("de ploy", "lobby", "done", "bad_name"),
        ("deploy", "nowhere", "done", "no_such_room"),
        ("deploy", "lobby", " ", "no_text"),
    ],
)
def test_a_program_that_is_in_no_room_is_refused(name: str, room: str, text: str, code: str) -> None:
    hub = a_hub()
    enter(hub, "ann", Ear())
    with pytest.raises(ChatRefused) as refused:
        result_of(hub.post(name, room, text))
    assert refused.value.code == code


def test_what_is_kept_of_a_room_can_be_read_from_outside() -> None:
    hub = a_hub()
    for text in ("one", "two", "three", "four"):
        result_of(hub.post("deploy", "lobby", text))
    assert [said.number for said in result_of(hub.read("lobby", 0, 2))] == [2, 3]
    assert [said.text for said in result_of(hub.read("lobby", 3, 9))] == ["four"]
    with pytest.raises(ChatRefused, match="the last message in lobby has the number 4"):
        result_of(hub.read("lobby", 5, 9))


def test_the_numbers_of_a_room_go_on_after_it_was_empty() -> None:
    hub, ear = a_hub(), Ear()
    ann = enter(hub, "ann", ear)
    for text in ("one", "two"):
        hub.join(ann, "garden")
        hub.say(ann, "Garden", text)
        hub.part(ann, "garden")
        assert [room.name for room in hub.rooms()] == ["lobby"]
    hub.join(ann, "GARDEN")
    assert result_of(hub.post("deploy", "garden", "three")).number == 3


def test_whoever_enters_an_empty_room_is_its_operator_also_before_its_last_events_are_delivered() -> None:
    hub, ear = a_hub(clock=Clock()), Ear()
    ann, bob = enter(hub, "ann", ear), enter(hub, "bob", Ear())
    hub.join(ann, "garden")
    hub.set_modes(ann, "garden", [Change(True, "i")])
    hub.part(ann, "garden")
    hub.join(bob, "garden")
    assert [each.rank for each in hub.present(bob, "garden")] == ["operator"]
