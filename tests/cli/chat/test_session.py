"""Conversation of the client: nothing missed, nothing doubled, whatever breaks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.cli.chat.served import Client, DatagramClient, Wire, a_hub
from tests.plugins.chat.turns import ShortTurns


def test_a_person_enters_speaks_and_reads_its_message_once_it_is_stored() -> None:
    hub = a_hub()
    ann, bob = Client(hub), Client(hub, "bob")
    ann.types("hello", "/me waves", "/msg bob psst")
    assert ann.reads() == [
        *("* you are ann in lobby, alone", "* bob joined lobby"),
        *("+1 <ann> hello", "+2 <ann> waves", "[you -> bob] psst"),
    ]
    assert bob.reads() == [
        "* you are bob in lobby, with ann",
        *("1 <ann> hello", "2 <ann> waves", "[ann -> you] psst"),
    ]
    assert ann.session.outbox.idle


def test_a_room_is_entered_without_a_visit_to_the_first_one() -> None:
    hub = a_hub()
    ann = Client(hub)
    bob = Client(hub, "bob", "den")
    assert bob.reads() == ["* you are bob in den, alone"]
    assert ann.reads() == ["* you are ann in lobby, alone"]


def test_names_and_rooms_are_known_for_completion() -> None:
    hub = a_hub()
    ann = Client(hub)
    Client(hub, "bob")
    carl = Client(hub, "carl")
    carl.types("/nick carla", "/join den")
    ann.types("/rooms", "/who")
    assert list(ann.session.around.people) == ["bob", "ann"]
    assert set(ann.session.around.rooms) == {"lobby", "den"}
    ann.types("/join den")
    assert set(ann.session.around.people) == {"ann", "carla"}


def test_after_a_break_it_goes_on_without_gap_or_double() -> None:
    hub = a_hub(history=20)
    ann, bob = Client(hub), Client(hub, "bob")
    bob.types("1", "2")
    ann.reads()
    ann.breaks()
    bob.types("3", "4")
    ann.types("typed while away")
    assert ann.session.pending == ["typed while away"]
    ann.opens()
    assert ann.reads() == ["* connected again", "3 <bob> 3", "4 <bob> 4", "+5 <ann> typed while away"]


def test_after_a_break_it_is_in_its_room_again() -> None:
    hub = a_hub()
    ann = Client(hub)
    ann.types("/join den", "hi")
    ann.reads()
    bob = Client(hub, "bob", "den")
    assert ann.reads() == ["* bob joined den"]
    ann.breaks()
    bob.types("there?")
    ann.opens()
    assert ann.reads() == ["* connected again", "2 <bob> there?"]


def test_more_than_the_server_shows_by_itself_is_asked_for() -> None:
    """A newcomer is shown the last messages; the others are there, but were not seen."""
    hub = a_hub()
    ann, bob = Client(hub), Client(hub, "bob")
    bob.types("0")
    ann.reads()
    ann.deaf = True
    bob.types(*map(str, range(1, 151)))
    ann.passes()
    ann.deaf = False
    bob.types("last")
    numbers = [int(line.split()[0]) for line in ann.reads()]
    assert numbers == list(range(2, 153))


@given(st.booleans(), st.booleans())
def test_a_message_that_was_under_way_is_neither_lost_nor_doubled(mute: bool, deaf: bool) -> None:
    hub = a_hub()
    ann, bob = Client(hub), Client(hub, "bob")
    ann.mute, ann.deaf = mute, deaf
    ann.types("hello")
    ann.breaks()
    assert ann.session.pending == (["hello"] if mute or deaf else [])
    ann.mute = ann.deaf = False
    ann.opens()
    assert ann.session.outbox.idle
    assert [line for line in ann.reads() if "hello" in line] == ["+1 <ann> hello"]
    assert [line for line in bob.reads() if "hello" in line] == ["1 <ann> hello"]


def test_a_private_message_that_was_under_way_is_told_to_be_unknown() -> None:
    hub = a_hub()
    ann, bob = Client(hub), Client(hub, "bob")
    ann.deaf = True
    ann.types("/msg bob psst")
    ann.breaks()
    ann.deaf = False
    ann.opens()
    assert ann.reads()[-2:] == ["? /msg bob psst", "* connected again"]
    assert "[ann -> you] psst" in bob.reads()


def test_a_server_that_counts_anew_is_noticed() -> None:
    ann = Client(a_hub())
    ann.types("1", "2", "3")
    ann.breaks()
    ann.reads()
    ann.hub = a_hub(later=60)
    Client(ann.hub, "bob").types("other")
    ann.opens()
    ann.types("mine")
    shown = ann.reads()
    assert "* the server counts its messages anew" in shown
    assert shown[-1] == "+2 <ann> mine"


def test_a_name_that_is_taken_is_asked_for_again() -> None:
    hub = a_hub()
    Client(hub)
    other = Client(hub)
    assert other.reads() == ["! taken the name ann is taken; type another name"]
    other.types("no way", "/nick otto")
    assert other.reads() == [
        "! bad_name a name is 1 to 24 of A-Z a-z 0-9 _ . -; type another name",
        "* you are otto in lobby, with ann",
    ]


def test_the_login_to_a_name_may_be_typed() -> None:
    ann = Client(a_hub())
    ann.breaks()
    ann.session.opened(0)
    sent: list[str] = []
    ann.session._send = sent.append
    for line in ("* welcome; your name?", "! login the name ann belongs to the account ann: log in first"):
        ann.session.received(line, 0)
    ann.session.typed("/login ann secret", 0)
    assert sent == ["/login ann secret"]


def test_a_name_that_is_taken_ends_a_script() -> None:
    hub = a_hub()
    Client(hub)
    assert Client(hub, asks=False).session.failure == "the name ann is taken"


def test_a_name_that_somebody_has_taken_during_a_break_is_tried_again() -> None:
    hub = a_hub()
    ann = Client(hub)
    ann.breaks()
    other = Client(hub)
    ann.opens()
    assert ann.session.lost
    assert ann.reads()[-1] == "* the name ann is taken"
    other.types("/quit")
    ann.breaks()
    ann.opens()
    assert ann.reads() == ["* connected again"]


def test_a_name_is_taken_over_from_ones_own_dead_connection() -> None:
    hub = a_hub()
    ann, bob = Client(hub), Client(hub, "bob")
    ann.types("hello")
    ann.reads()
    ann.cut = True  # without a sign for the server
    ann.session.closed()
    ann.opens()
    ann.types("again")
    assert ann.reads() == ["* connected again", "+2 <ann> again"]
    heard = ["1 <ann> hello", "* ann left (connected again)", "* ann joined lobby", "2 <ann> again"]
    assert bob.reads()[1:] == heard


def test_what_comes_too_fast_is_sent_again_later() -> None:
    clock = ShortTurns()
    ann = Client(a_hub(clock, rate=1, burst=6))  # a ping and five messages
    ann.types(*"12345678")
    assert ann.session.pending == [*"678"]
    for _ in range(4):
        clock.advance(1)
        ann.waits(1)
    assert [line for line in ann.reads() if line[0] == "+"] == [f"+{n} <ann> {n}" for n in range(1, 9)]


def test_a_refused_message_is_told_and_the_next_one_follows() -> None:
    ann = Client(a_hub())
    ann.types("x" * 401, "/dance", "/msg carl hi", "ok")
    assert ann.reads()[1:] == [
        "! too_long too long: at most 400 bytes, not 401",
        "! unknown unknown command: /help lists them all",
        "! no_such_name nobody here has that name",
        "+1 <ann> ok",
    ]


def test_what_the_client_itself_uses_is_no_command_of_the_person() -> None:
    ann = Client(a_hub())
    ann.types("/numbers off", "/echo off", "hello")
    assert ann.reads()[1:] == [
        "! of_client /numbers is what this client itself uses",
        "! of_client /echo is what this client itself uses",
        "+1 <ann> hello",
    ]


def test_older_messages_are_shown_above_the_others() -> None:
    hub = a_hub()
    bob = Client(hub, "bob")
    bob.types(*map(str, range(1, 31)))
    ann = Client(hub)
    ann.reads()
    arrived: list[bool] = []
    assert ann.session.before(11, 5, lambda: arrived.append(True))
    assert ann.reads() == [f"^{number} <bob> {number}" for number in range(6, 11)]
    assert arrived == [True]
    assert not ann.session.before(1, 5, lambda: None)


def test_messages_that_the_person_asks_for_again_are_shown_again() -> None:
    hub = a_hub()
    ann = Client(hub)
    ann.types("1", "2", "3")
    ann.reads()
    ann.types("/since 1", "/again 1")
    assert ann.reads() == ["2 <ann> 2", "3 <ann> 3", "1 <ann> 1"]


def test_leaving_waits_until_everything_is_stored() -> None:
    hub = a_hub()
    ann = Client(hub, asks=False)
    ann.mute = True
    ann.types("hello")
    ann.session.leave(ann.now)
    assert not ann.session.over
    ann.breaks()
    ann.mute = False
    ann.opens()
    assert ann.session.over
    assert "+1 <ann> hello" in ann.reads()


def test_nothing_is_said_after_quit() -> None:
    ann = Client(a_hub())
    ann.types("hello", "/quit", "not said")
    assert ann.session.over
    assert [line for line in ann.reads() if line[0] == "+"] == ["+1 <ann> hello"]


def test_a_dead_connection_is_given_up() -> None:
    ann = Client(a_hub())
    ann.mute = True
    ann.waits(29)
    assert not ann.cut
    ann.waits(40)
    assert ann.cut


def test_another_service_is_told_from_a_chat() -> None:
    ann = Client(a_hub())
    ann.breaks()
    ann.session.opened(0)
    ann.session.received("220 mail.example ESMTP", 0)
    assert ann.session.failure == "220 mail.example ESMTP"


def test_who_was_removed_is_in_no_room_and_does_not_come_back_by_itself() -> None:
    hub = a_hub()
    ann, bob = Client(hub, room="den"), Client(hub, "bob", "den")
    ann.types("/remove bob")
    bob.passes()
    assert bob.session.around.room == ""
    bob.reads()
    bob.types("hello?")
    assert bob.reads() == ["! not_in_room you are in no room: /join ROOM"]
    bob.breaks()
    bob.opens()
    assert bob.reads() == ["* you are bob in lobby, alone"]
    assert ann.session.around.room == "den"


# Datagrams.


def a_wire() -> tuple[Wire, DatagramClient, Client]:
    hub = a_hub()
    wire = Wire(hub)
    return wire, DatagramClient(wire, hub), Client(hub, "bob")


def test_a_person_over_datagrams_proves_its_address_and_is_shown_what_was_said() -> None:
    hub = a_hub()
    wire = Wire(hub)
    Client(hub, "bob").types(*map(str, range(1, 31)))
    ann = DatagramClient(wire, hub)
    ann.types("hello")
    expected = [f"{number} <bob> {number}" for number in range(11, 31)]
    assert ann.reads() == ["* you are ann in lobby", *expected, "+31 <ann> hello"]


def test_the_first_message_of_a_room_is_shown_over_datagrams_too() -> None:
    _, ann, bob = a_wire()
    ann.types("/join den")
    bob.types("/join den")
    ann.reads()
    bob.types("first")
    assert ann.reads() == ["1 <bob> first"]


def test_lost_datagrams_are_asked_for_again_in_order() -> None:
    _, ann, bob = a_wire()
    ann.reads()
    ann.deaf = True
    bob.types("1", "2")
    ann.passes()
    ann.deaf = False
    bob.types("3")
    assert ann.reads() == ["1 <bob> 1", "2 <bob> 2", "3 <bob> 3"]


def test_the_last_datagram_may_be_lost_too() -> None:
    _, ann, bob = a_wire()
    ann.reads()
    ann.deaf = True
    bob.types("1")
    ann.passes()
    ann.deaf = False
    ann.waits(11)
    assert ann.reads() == ["1 <bob> 1"]


@given(st.booleans(), st.booleans())
def test_a_lost_message_is_sent_again_and_an_unanswered_one_is_not(mute: bool, deaf: bool) -> None:
    _, ann, bob = a_wire()
    ann.mute, ann.deaf = mute, deaf
    ann.types("hello")
    ann.waits(1)
    ann.mute = ann.deaf = False
    ann.waits(20)
    assert [line for line in ann.reads() if "hello" in line] == ["+1 <ann> hello"]
    assert [line for line in bob.reads() if "hello" in line] == ["1 <ann> hello"]
    assert ann.session.outbox.idle


def test_a_member_that_the_server_forgot_comes_again() -> None:
    wire, ann, _ = a_wire()
    ann.types("1")
    ann.reads()
    ann.hub = a_hub(later=60)
    ann.wire = Wire(ann.hub)
    ann.types("2")
    ann.waits(1)
    assert ann.cut
    ann.opens()
    assert ann.reads() == ["* connected again", "* the server counts its messages anew", "+1 <ann> 2"]
    assert wire is not ann.wire


def test_what_is_said_while_a_person_comes_over_datagrams_is_shown_once() -> None:
    hub = a_hub()
    wire, bob = Wire(hub), Client(hub, "bob")
    bob.types(*map(str, range(1, 31)))
    more = iter(range(31, 99))
    ann = DatagramClient(wire, hub, cut=True)
    ann.before = lambda line: bob.types(str(next(more))) if b"/ping" not in line else None
    ann.opens()
    ann.before = lambda _: None
    bob.types("last")
    numbers = [int(line.split()[0]) for line in ann.reads() if line[0] != "*"]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert numbers[0] < 31
    assert len(numbers) > 20


def test_messages_over_datagrams_are_said_as_they_are_typed() -> None:
    _, ann, _ = a_wire()
    ann.reads()
    ann.types("hello", "//etc", "/me waves", "/say /x", "/notice done")
    assert ann.reads() == [
        f"+{n} <ann> {text}" for n, text in enumerate(("hello", "/etc", "waves", "/x", "done"), 1)
    ]


def test_a_person_whose_address_changes_keeps_its_name() -> None:
    _, ann, bob = a_wire()
    ann.types("/nick anna", "hello")
    ann.reads()
    ann.breaks()
    ann.address = ("127.0.0.1", 40009)
    ann.opens()
    ann.types("again")
    assert ann.reads()[-1] == "+2 <anna> again"
    assert ann.session.around.name == "anna"
    assert bob.reads()[-1] == "2 <anna> again"


def test_a_room_over_datagrams() -> None:
    hub = a_hub()
    ann = DatagramClient(Wire(hub), hub, room="den")
    assert ann.reads()[-1] == "* you are ann in den"


def test_a_taken_name_over_datagrams_ends_a_script() -> None:
    hub = a_hub()
    Client(hub)
    other = DatagramClient(Wire(hub), hub, asks=False)
    assert other.session.failure == "the name ann is taken"
    other.passes()
    assert hub.find("guest-1") is None
