from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger

from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.charter import MOST_KNOWN, MOST_LISTED, Charter
from sockd_plugins.chat.hub.events import (
    AccountSet,
    AwaySet,
    Change,
    Entered,
    Event,
    Invited,
    Joined,
    ModeSet,
    Present,
    Removed,
    Said,
    Topic,
    TopicSet,
)
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.moderation import MOST_CHANGES, MOST_INVITED
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.rules import RoomRules, Rules

NOON = 1_800_000_000.0


class Ear:
    """Outlet that records a person's events."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def deliver(self, batch: Batch) -> None:
        self.heard.extend(batch.events)


class Chat:
    """Chat with people who have come into rooms."""

    def __init__(self, *, keeper: Callable[[str], str] = lambda _: "", **rooms: RoomRules) -> None:
        self.clock = Clock()
        rules = Rules("lobby", 50, 40, 16, 60, 3, rate=1e6, burst=10**6, rooms=rooms)
        self.hub = Hub(rules, self.clock, Logger("test"), now=lambda: NOON, keeper=keeper)
        self.ears: dict[Person, Ear] = {}

    def person(self, name: str, *rooms: str, account: str = "", host: str = "-") -> Person:
        ear = Ear()
        person = self.hub.enter(name, ear, account=account, host=host)
        self.ears[person] = ear
        for room in rooms:
            self.hub.join(person, room)
        return person

    def turn(self) -> None:
        self.clock.advance(0)

    def heard(self, person: Person) -> list[Event]:
        self.turn()
        heard, self.ears[person].heard = self.ears[person].heard, []
        return heard

    def modes(self, person: Person, *changes: str, room: str = "garden") -> None:
        self.hub.set_modes(person, room, [change(each) for each in changes])

    def since(self, person: Person, room: str, number: int = 0) -> list[str]:
        found: list[Sequence[Said]] = []
        Deferred.fromCoroutine(self.hub.since(person, room, number, 100)).addCallback(found.append)
        return [said.text for said in found[0]]

    def before(self, person: Person, room: str, number: int) -> list[str]:
        found: list[Sequence[Said]] = []
        Deferred.fromCoroutine(self.hub.before(person, room, number, 100)).addCallback(found.append)
        return [said.text for said in found[0]]


def change(text: str) -> Change:
    """Return `+k word` as a change."""
    mode, _, argument = text.partition(" ")
    return Change(mode[0] == "+", mode[1:], argument)


def code(action: Callable[[], object]) -> str:
    with pytest.raises(ChatRefused) as refused:
        action()
    assert str(refused.value)
    assert "\n" not in str(refused.value)
    return refused.value.code


def a_garden() -> tuple[Chat, Person, Person]:
    """Return a room with its operator and another one, with no events left."""
    chat = Chat()
    ann, bob = chat.person("ann", "garden"), chat.person("bob", "garden")
    chat.turn()
    chat.heard(ann), chat.heard(bob)
    return chat, ann, bob


# ranks


def test_the_first_one_in_a_new_room_is_its_operator_and_nobody_in_the_lobby_is() -> None:
    chat = Chat()
    ann, bob = chat.person("ann", "garden"), chat.person("bob", "garden", "lobby")
    assert chat.heard(ann)[0] == Entered("garden", "ann", rank="operator")
    entered = chat.heard(bob)
    assert entered[0] == Entered("garden", "bob", (Present("ann", "operator"),))
    assert entered[1] == Entered("lobby", "bob")


def test_an_owner_is_operator_from_the_entry_on_and_the_others_are_told() -> None:
    chat = Chat(ops=RoomRules(owners=frozenset({"Ann"})))
    bob = chat.person("bob", "ops")
    ann = chat.person("anna", "ops", account="ann")
    assert chat.heard(bob)[1:] == [
        Joined("ops", "anna", "ann"),
        ModeSet("ops", "", (Change(True, "o", "anna"),)),
    ]
    assert chat.heard(ann) == [Entered("ops", "anna", (Present("bob"),), rank="operator", account="ann")]


def test_an_owner_who_logs_in_later_becomes_operator() -> None:
    chat = Chat(ops=RoomRules(owners=frozenset({"ann"})))
    ann = chat.person("ann", "ops")
    chat.heard(ann)
    chat.hub.log_in(ann, "ann")
    assert chat.heard(ann) == [AccountSet("ann", "ann"), ModeSet("ops", "", (Change(True, "o", "ann"),))]


def test_an_operator_gives_and_takes_ranks() -> None:
    chat, ann, bob = a_garden()
    chat.modes(ann, "+v bob", "+o BOB", "+o bob", "+v bob")
    assert chat.heard(bob) == [
        ModeSet("garden", "ann", (Change(True, "v", "bob"), Change(True, "o", "bob"))),
    ]
    chat.modes(bob, "-o ann", "-v ann")
    assert chat.heard(ann)[-1] == ModeSet("garden", "bob", (Change(False, "o", "ann"),))
    assert code(lambda: chat.modes(ann, "+o ann")) == "not_operator"
    assert code(lambda: chat.modes(bob, "+o carl")) == "no_such_member"


def test_whoever_is_no_operator_changes_nothing() -> None:
    chat, _, bob = a_garden()
    hub = chat.hub
    assert code(lambda: chat.modes(bob, "+m")) == "not_operator"
    assert code(lambda: hub.set_topic(bob, "garden", "mine")) == "not_operator"
    assert code(lambda: hub.remove(bob, "garden", "ann")) == "not_operator"
    assert code(lambda: chat.modes(bob, "+m", room="lobby")) == "not_in_room"


def test_changes_up_to_the_first_impossible_one_are_made_and_told() -> None:
    chat, ann, bob = a_garden()
    assert code(lambda: chat.modes(ann, "+m", "+x", "+i")) == "bad_mode"
    assert chat.heard(bob) == [ModeSet("garden", "ann", (Change(True, "m"),))]
    assert code(lambda: chat.modes(ann, *["+m"] * (MOST_CHANGES + 1))) == "too_many"


def test_nobody_is_shown_an_address_and_a_ban_of_its_cloak_holds_for_every_name() -> None:
    chat, ann, _ = a_garden()
    eve = chat.person("eve", "garden", host="192.0.2.9")
    facts = chat.hub.whois(ann, "eve")
    assert facts.host.startswith("u")
    assert "192" not in facts.host
    chat.modes(ann, f"+b *@{facts.host}")
    chat.hub.remove(ann, "garden", "eve")
    chat.hub.leave(eve, "")
    assert code(lambda: chat.hub.join(chat.person("eva", host="192.0.2.9"), "garden")) == "banned"
    chat.person("pam", "garden", host="192.0.2.10")


# topic


def test_a_topic_is_told_and_shown_to_newcomers() -> None:
    chat, ann, bob = a_garden()
    chat.hub.set_topic(ann, "garden", "roses\x1b")
    assert chat.heard(bob) == [TopicSet("garden", "ann", r"roses\x1b", NOON)]
    carl = chat.person("carl", "garden")
    [entered] = chat.heard(carl)
    assert isinstance(entered, Entered)
    assert entered.topic == Topic(r"roses\x1b", "ann", NOON)
    chat.hub.set_topic(ann, "garden", "  ")
    assert chat.heard(carl) == [TopicSet("garden", "ann", "", NOON)]
    assert code(lambda: chat.hub.set_topic(ann, "garden", "x" * 61)) == "too_long"


def test_everybody_sets_the_topic_where_operators_say_so() -> None:
    chat, ann, bob = a_garden()
    chat.modes(ann, "-t")
    chat.hub.set_topic(bob, "garden", "tulips")
    assert chat.heard(ann)[-1] == TopicSet("garden", "bob", "tulips", NOON)


# removal, bans, invitations


def test_a_removed_person_and_all_others_are_told_once() -> None:
    chat, ann, bob = a_garden()
    carl = chat.person("carl", "garden")
    chat.heard(bob), chat.heard(carl), chat.heard(ann)
    chat.hub.say(ann, "garden", "last words")
    chat.hub.remove(ann, "garden", "BOB", "noise")
    chat.hub.say(ann, "garden", "peace")
    removed = Removed("garden", "bob", "ann", "noise")
    assert [type(event) for event in chat.heard(bob)] == [Said, Removed]
    assert chat.heard(carl)[1] == removed
    assert chat.heard(ann) == [removed]
    assert not bob.rooms
    assert code(lambda: chat.hub.say(bob, "garden", "hey")) == "not_in_room"


def test_who_removes_itself_as_the_last_one_leaves_a_room_that_is_dropped() -> None:
    chat = Chat()
    ann = chat.person("ann", "garden")
    chat.turn()
    chat.hub.remove(ann, "garden", "ann")
    chat.turn()
    assert chat.hub.find_room("garden", ann) is None


@pytest.mark.parametrize("mask", ["bob", "BO*", "*@u*", "$a:bob"])
def test_whoever_is_banned_does_not_enter(mask: str) -> None:
    chat, ann, _ = a_garden()
    chat.modes(ann, f"+b {mask}")
    eve = chat.person("bobby", account="bob", host="192.0.2.9")
    if mask == "bob":
        chat.hub.rename(chat.hub.find("bob") or eve, "robert")
        chat.hub.rename(eve, "bob")
    assert code(lambda: chat.hub.join(eve, "garden")) == "banned"
    chat.modes(ann, "+e bob*")
    chat.hub.join(eve, "garden")


def test_a_ban_is_listed_with_who_made_it_and_taken_back_in_any_spelling() -> None:
    chat, ann, _ = a_garden()
    chat.modes(ann, "+b Eve", "+b eve!*@*", "+b $a:x")
    room = chat.hub.find_room("garden", ann)
    assert room is not None
    assert list(room.charter.listed("b")) == [("eve!*@*", "ann"), ("$a:x", "ann")]
    chat.modes(ann, "-b EVE!*@*")
    assert list(room.charter.listed("b")) == [("$a:x", "ann")]
    assert code(lambda: chat.modes(ann, "+b a b")) == "bad_mask"


def test_lists_are_bounded() -> None:
    chat, ann, _ = a_garden()
    for number in range(MOST_LISTED):
        chat.modes(ann, f"+b x{number}")
    assert code(lambda: chat.modes(ann, "+b more")) == "list_full"
    chat.modes(ann, "-b x0", "+b more")


def test_invite_only_rooms_let_in_whoever_is_invited_once() -> None:
    chat, ann, bob = a_garden()
    carl = chat.person("carl")
    chat.modes(ann, "+i", "+k word", "+l 2")
    assert code(lambda: chat.hub.join(carl, "garden", "word")) == "invite"
    assert code(lambda: chat.hub.invite(bob, "garden", "carl")) == "not_operator"
    assert chat.hub.invite(ann, "garden", "CARL") == "carl"
    assert chat.heard(carl) == [Invited("garden", "carl", "ann")]
    chat.hub.join(carl, "garden")
    assert code(lambda: chat.hub.invite(ann, "garden", "carl")) == "in_room_already"
    chat.hub.part(carl, "garden")
    assert code(lambda: chat.hub.join(carl, "garden")) == "invite"
    chat.modes(ann, "+I car*", "-k", "-l")
    chat.hub.join(carl, "garden")
    assert code(lambda: chat.hub.invite(ann, "garden", "nobody")) == "no_such_name"


def test_invitations_are_bounded_and_do_not_outlive_their_room() -> None:
    chat = Chat()
    ann, bob = chat.person("ann"), chat.person("bob")
    for number in range(MOST_INVITED + 3):
        chat.hub.join(ann, f"room{number}")
        chat.hub.invite(ann, f"room{number}", "bob")
    assert len(bob.invited) == MOST_INVITED
    chat.modes(ann, "+k word", room="room9")
    chat.hub.part(ann, "room9")
    chat.turn()
    carl = chat.person("carl", "room9")
    chat.modes(carl, "+i", room="room9")
    assert code(lambda: chat.hub.join(bob, "room9")) == "invite"


# key, limit, voice, secrecy


def test_a_key_is_asked_for_and_owners_need_none() -> None:
    chat = Chat(ops=RoomRules(owners=frozenset({"ann"}), key="word"))
    bob, ann = chat.person("bob"), chat.person("ann", account="ann")
    assert code(lambda: chat.hub.join(bob, "ops")) == "key"
    assert code(lambda: chat.hub.join(bob, "ops", "Word")) == "key"
    chat.hub.join(bob, "ops", "word")
    chat.hub.join(ann, "ops")
    chat.modes(ann, "-k", room="ops")
    assert ModeSet("ops", "ann", (Change(False, "k", "*"),)) in chat.heard(bob)
    for text in ("+k a b", "+k ", "+k a,b", "+k " + "x" * 33, "+k zoë"):
        assert code(lambda text=text: chat.modes(ann, text, room="ops")) == "bad_mode"  # type: ignore[misc]


def test_a_room_with_a_limit_is_full() -> None:
    chat, ann, _ = a_garden()
    chat.modes(ann, "+l 2")
    carl = chat.person("carl")
    assert code(lambda: chat.hub.join(carl, "garden")) == "room_full"
    chat.modes(ann, "-l", "-l")
    chat.hub.join(carl, "garden")
    for text in ("+l 0", "+l x", "+l -1", "+l 9999999999", "+l ٣"):
        assert code(lambda text=text: chat.modes(ann, text)) == "bad_mode"  # type: ignore[misc]


def test_in_a_moderated_room_operators_and_voices_speak() -> None:
    chat, ann, bob = a_garden()
    chat.modes(ann, "+m")
    assert code(lambda: chat.hub.say(bob, "garden", "me")) == "moderated"
    chat.modes(ann, "+v bob")
    chat.hub.say(bob, "garden", "me")
    chat.hub.say(ann, "garden", "you")


def test_a_secret_room_is_known_to_those_inside_alone() -> None:
    chat, ann, bob = a_garden()
    chat.modes(ann, "+s")
    carl = chat.person("carl", "lobby")
    assert [room.name for room in chat.hub.rooms(carl)] == ["lobby"]
    assert [room.name for room in chat.hub.rooms(bob)] == ["lobby", "garden"]
    assert chat.hub.find_room("garden", carl) is None
    assert chat.hub.whois(carl, "ann").rooms == ()
    assert chat.hub.whois(bob, "ann").rooms == (("garden", "operator"),)


def test_modes_are_shown_without_the_key_to_those_outside() -> None:
    charter = Charter()
    for text in ("+k word", "+l 9", "+s", "-n"):
        charter.apply(change(text), "ann")
    inside = charter.shown(to_member=True)
    assert inside == tuple(map(change, ("+n", "+s", "+t", "+k word", "+l 9")))
    assert change("+k") in charter.shown(to_member=False)


# names and accounts


def test_confusable_names_are_refused() -> None:
    chat = Chat()
    chat.person("alice")
    assert code(lambda: chat.person("A1ice")) == "confusable"
    assert code(lambda: chat.person("ALICE")) == "taken"
    assert code(lambda: chat.person("NickServ")) == "bad_name"
    bob = chat.person("bob")
    chat.hub.rename(bob, "BOB")
    chat.hub.rename(bob, "b0b")
    assert code(lambda: chat.hub.rename(bob, "a1ice")) == "confusable"


def test_confusable_rooms_are_refused() -> None:
    chat, ann, _ = a_garden()
    assert code(lambda: chat.hub.join(ann, "l0bby")) == "confusable"
    assert code(lambda: chat.hub.join(ann, "..")) == "bad_name"


def test_a_name_with_an_account_needs_a_login() -> None:
    chat = Chat(keeper=lambda name: "ann" if name.lower() in ("ann", "anm") else "")
    assert code(lambda: chat.person("Ann")) == "login"
    bob = chat.person("bob")
    assert code(lambda: chat.hub.rename(bob, "ann")) == "login"
    chat.hub.log_in(bob, "ann")
    chat.hub.rename(bob, "ann")
    assert bob.name == "ann"


def test_absence_is_told_once_to_each_who_shares_a_room() -> None:
    chat, ann, bob = a_garden()
    chat.hub.join(ann, "lobby")
    chat.hub.join(bob, "lobby")
    chat.heard(bob)
    chat.hub.set_away(ann, "at lunch")
    assert chat.heard(bob) == [AwaySet("ann", "at lunch")]
    assert chat.hub.present(bob, "garden")[0] == Present("ann", "operator", away=True)
    chat.hub.set_away(ann, "")
    assert chat.heard(bob) == [AwaySet("ann", "")]


# what newcomers may read


def talk(chat: Chat, room: str, policy_account: str = "") -> Person:
    """Say two messages in a room, then bring bob in, and say a third one."""
    ann = chat.person("ann", room)
    chat.hub.say(ann, room, "one")
    chat.hub.say(ann, room, "two")
    bob = chat.person("bob", room, account=policy_account)
    chat.hub.say(ann, room, "three")
    chat.turn()
    return bob


def recent(events: Sequence[Event]) -> list[str]:
    return [said.text for event in events if isinstance(event, Entered) for said in event.recent]


def test_newcomers_read_back_everything_unless_a_room_says_otherwise() -> None:
    chat = Chat()
    bob = talk(chat, "lobby")
    assert recent(chat.heard(bob)) == ["one", "two"]
    assert chat.since(bob, "lobby") == ["one", "two", "three"]


@pytest.mark.parametrize("policy", ["none", "joined"])
def test_a_room_may_show_newcomers_nothing_from_before_their_entry(policy: str) -> None:
    chat = Chat(ops=RoomRules(read_back=policy))  # type: ignore[arg-type]
    bob = talk(chat, "ops")
    assert recent(chat.heard(bob)) == []
    assert chat.since(bob, "ops") == ["three"]
    assert chat.before(bob, "ops", 4) == ["three"]
    assert chat.before(bob, "ops", 3) == []


def test_nothing_is_read_before_the_entry_is_delivered() -> None:
    chat = Chat(ops=RoomRules(read_back="none"))
    ann = chat.person("ann", "ops")
    chat.hub.say(ann, "ops", "one")
    chat.turn()
    chat.hub.say(ann, "ops", "two")
    bob = chat.person("bob", "ops")
    assert chat.since(bob, "ops") == []
    chat.turn()
    assert chat.since(bob, "ops") == []


@pytest.mark.parametrize(("policy", "again"), [("joined", ["three", "four"]), ("none", [])])
def test_who_comes_back_with_an_account_reads_on_where_the_room_says_so(
    policy: str, again: list[str]
) -> None:
    chat = Chat(ops=RoomRules(read_back=policy))  # type: ignore[arg-type]
    bob = talk(chat, "ops", "bob")
    chat.hub.leave(bob, "lost")
    ann = chat.hub.find("ann")
    assert ann is not None
    chat.hub.say(ann, "ops", "four")
    chat.turn()
    back = chat.person("bob", "ops", account="bob")
    assert recent(chat.heard(back)) == again
    assert chat.since(back, "ops", 2) == again


def test_first_entries_are_remembered_for_a_bounded_number_of_accounts() -> None:
    charter = Charter.configured(RoomRules(read_back="joined"))
    for number in range(MOST_KNOWN + 5):
        assert charter.unread(f"a{number}", number) == number
    assert len(charter.known) == MOST_KNOWN
    assert charter.unread("a9999", 99_999) == 9999


def test_a_configured_room_exists_with_its_topic_before_anybody_comes() -> None:
    chat = Chat(ops=RoomRules(topic="pagers", modes="m"))
    assert [room.name for room in chat.hub.rooms()] == ["lobby", "ops"]
    ann = chat.person("ann", "ops")
    [entered] = chat.heard(ann)
    assert isinstance(entered, Entered)
    assert (entered.topic, entered.rank) == (Topic("pagers", "", NOON), "")
    assert code(lambda: chat.hub.say(ann, "ops", "me")) == "moderated"
    chat.hub.part(ann, "ops")
    chat.turn()
    assert [room.name for room in chat.hub.rooms()] == ["lobby", "ops"]
