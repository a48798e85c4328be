from __future__ import annotations

import pytest

from sockd_plugins.chat.hub.rules import RoomRules
from tests.plugins.chat.irc_clients import IrcClient, Network

HISTORY = "batch server-time message-tags"


def a_pair(network: Network) -> tuple[IrcClient, IrcClient]:
    ann, bob = network.client("ann", "#a"), network.client("bob", "#a")
    ann.reads()
    return ann, bob


def test_an_entry_shows_topic_and_people_and_the_others_see_it() -> None:
    network = Network()
    ann = network.client("ann", "#a")
    ann.says("TOPIC #a :cats")
    assert ann.reads() == [":ann!ann@cloak TOPIC #a :cats"]
    bob = network.connect()
    bob.says("NICK bob", "USER bob 0 * :Bob")
    bob.reads()
    bob.says("JOIN #A")
    assert bob.reads() == [
        ":bob!bob@cloak JOIN #a",
        ":irc.example 332 bob #a :cats",
        ":irc.example 333 bob #a ann 1800000000",
        ":irc.example 353 bob = #a :bob @ann",
        ":irc.example 366 bob #a :End of /NAMES list",
    ]
    assert ann.reads() == [":bob!bob@cloak JOIN #a"]


def test_those_who_asked_see_accounts_and_hosts() -> None:
    network = Network()
    network.client("ann", "#a")
    bob = network.client("bob", caps="extended-join userhost-in-names")
    bob.says("JOIN #a")
    assert bob.reads()[:2] == [
        ":bob!bob@cloak JOIN #a * :bob",
        ":irc.example 353 bob = #a :bob!bob@cloak @ann!ann@cloak",
    ]


def test_a_list_of_names_is_as_many_lines_as_it_needs() -> None:
    network = Network()
    people = [f"somebody{number}_with_a_name" for number in range(60)]
    for name in people:
        network.client(name, "#a")
    ann = network.client("ann", "#a")
    ann.says("NAMES #a")
    lines = ann.reads()
    assert all(len(line) <= 510 for line in lines)
    listed = [name for line in lines if " 353 " in line for name in line.split(" :")[1].split(" ")]
    assert sorted(name.lstrip("@") for name in listed) == sorted([*people, "ann"])


def test_past_messages_are_a_batch_for_those_who_know_one() -> None:
    network = Network()
    ann = network.client("ann", "#a")
    ann.says("PRIVMSG #a :one", "PRIVMSG #a :\1ACTION two\1")
    tagged = "batch=history;time=2027-01-15T08:00:00.000Z;msgid=a"
    bob = network.client("bob", caps=HISTORY)
    bob.says("JOIN #a")
    assert bob.reads()[3:] == [
        ":irc.example BATCH +history chathistory #a",
        f"@{tagged}/1 :ann!ann@cloak PRIVMSG #a :one",
        f"@{tagged}/2 :ann!ann@cloak PRIVMSG #a :\1ACTION two\1",
        ":irc.example BATCH -history",
    ]


def test_past_messages_have_their_time_in_a_tag_or_in_the_text() -> None:
    network = Network()
    ann = network.client("ann", "#a")
    ann.says("PRIVMSG #a :one")
    for caps, line in (
        ("server-time", "@time=2027-01-15T08:00:00.000Z :ann!ann@cloak PRIVMSG #a :one"),
        ("", ":ann!ann@cloak PRIVMSG #a :[2027-01-15 08:00] one"),
    ):
        bob = network.client("bob", caps=caps)
        bob.says("JOIN #a")
        assert bob.reads()[3:] == [line]
        bob.hangs_up()


def test_whoever_asks_for_history_itself_is_sent_none_unasked() -> None:
    network = Network()
    ann = network.client("ann", "#a")
    ann.says("PRIVMSG #a :one")
    bob = network.client("bob", caps=f"{HISTORY} draft/chathistory")
    bob.says("JOIN #a")
    assert [line.split(" ")[1] for line in bob.reads()] == ["JOIN", "353", "366"]


def test_several_rooms_are_entered_and_left_at_once() -> None:
    network = Network(rate=10, burst=5)
    ann = network.client("ann")
    network.clock.advance(10)
    ann.says("JOIN #" + ",#".join(f"room{number}" for number in range(15)))
    for _ in range(30):
        network.clock.advance(0.1)
        network.turn()
    assert sum(" JOIN " in line for line in ann.reads()) == 15
    ann.says("JOIN 0")
    for _ in range(30):
        network.clock.advance(0.1)
        network.turn()
    assert sum(" PART " in line for line in ann.reads()) == 15
    person = network.hub.find("ann")
    assert person is not None
    assert not person.rooms


def test_an_entry_twice_is_as_one() -> None:
    ann = Network().client("ann", "#a")
    ann.says("JOIN #a", "JOIN #A")
    assert ann.reads() == []


@pytest.mark.parametrize(
    ("line", "numeric"),
    [
        ("JOIN", "461"),
        ("JOIN :", "461"),
        ("JOIN a", "403"),
        ("JOIN #", "476"),
        ("JOIN #a[]", "476"),
        ("JOIN #closed", "473"),
        ("JOIN #locked", "475"),
        ("JOIN #locked wrong", "475"),
        ("PART #b", "442"),
        ("PART", "461"),
        ("TOPIC #nowhere", "403"),
        ("TOPIC #lobby", "442"),
        ("TOPIC #lobby :x", "442"),
        ("TOPIC #a", "331"),
        ("KICK #a", "461"),
        ("KICK #a eve", "441"),
        ("KICK #b ann", "442"),
        ("INVITE ann", "461"),
        ("INVITE ann #a", "443"),
        ("INVITE eve #a", "401"),
        ("INVITE bob #b", "442"),
        ("MODE", "461"),
        ("MODE #nowhere", "403"),
        ("MODE #a +x", "472"),
        ("MODE #a +k", "696"),
        ("MODE #a +o eve", "441"),
        ("MODE #lobby +m", "442"),
        ("MODE bob", "502"),
        ("MODE nobody", "401"),
        ("MODE ann +x", "501"),
        ("NAMES #nowhere", "366"),
        ("FOO", "421"),
        ("WHOIS", "461"),
    ],
)
def test_what_cannot_be_done_is_told_by_its_numeric(line: str, numeric: str) -> None:
    network = Network(closed=RoomRules(modes="i"), locked=RoomRules(key="secret"))
    network.client("bob")
    assert network.client("ann", "#a").numerics(line) == [numeric]


def test_only_operators_may_change_a_room() -> None:
    ann, bob = a_pair(Network())
    assert bob.numerics("TOPIC #a :x", "KICK #a ann", "MODE #a +m", "MODE #a +b x") == ["482"] * 4
    ann.says("MODE #a +o bob")
    assert bob.reads() == [":ann!ann@cloak MODE #a +o bob"]
    assert bob.numerics("TOPIC #a :x") == ["TOPIC"]


def test_whoever_is_removed_and_the_others_read_it() -> None:
    network = Network()
    ann, bob = a_pair(network)
    ann.says("KICK #a BOB :behave", "NAMES #a")
    assert bob.reads() == [":ann!ann@cloak KICK #a bob :behave"]
    assert ann.reads()[:2] == [
        ":ann!ann@cloak KICK #a bob :behave",
        ":irc.example 353 ann = #a :@ann",
    ]


def test_modes_are_told_and_changed() -> None:
    network = Network()
    ann, bob = a_pair(network)
    assert ann.numerics("MODE #a", "MODE ann", "MODE ann +i") == ["324", "221"]
    ann.says("MODE #a +mk-t+l key 10", "MODE #a +v bob", "MODE #a")
    assert ann.reads() == [
        ":ann!ann@cloak MODE #a +mk-t+l key 10",
        ":ann!ann@cloak MODE #a +v bob",
        ":irc.example 324 ann #a +mnkl key 10",
    ]
    bob.says("NAMES #a")
    assert ":irc.example 353 bob = #a :@ann +bob" in bob.reads()
    ann.says("MODE #a -v bob")
    assert bob.numerics("PRIVMSG #a :x")[-1] == "404"


@pytest.mark.parametrize(
    ("mask", "shown"),
    [
        ("bob", "bob!*@*"),
        ("*!bob@irc.example", "bob!*@*"),
        ("*!*bob@*.example", "bob!*@*"),
        ("bob!*@*", "bob!*@*"),
        ("*!*@u0123456789", "*!*@cloak"),
        ("*!*bob@u0123456789", "*!*@cloak"),
        ("$a:bob", "$a:bob"),
    ],
)
def test_a_ban_means_what_clients_mean_by_it(mask: str, shown: str) -> None:
    ann = Network().client("ann", "#a")
    ann.says(f"MODE #a +b {mask}", "MODE #a b")
    assert ann.reads() == [
        f":ann!ann@cloak MODE #a +b {shown}",
        f":irc.example 367 ann #a {shown}",
        ":irc.example 368 ann #a :End of channel ban list",
    ]


def test_whoever_is_banned_stays_outside_also_under_another_name() -> None:
    network = Network()
    ann, bob = a_pair(network)
    cloak = network.server.host_of("bob")
    ann.says(f"MODE #a +b *!*@{cloak}", "KICK #a bob")
    assert bob.numerics("NICK rob", "JOIN #a")[-2:] == ["NICK", "474"]


def test_lists_that_only_members_may_see_are_empty_to_others() -> None:
    network = Network()
    ann = network.client("ann", "#a")
    ann.says("MODE #a +be bob!*@* eve!*@*")
    ann.reads()
    eve = network.client("eve")
    assert eve.numerics("MODE #a b", "MODE #a +e", "MODE #a I") == ["367", "368", "349", "347"]
    assert ann.numerics("MODE #a e") == ["348", "349"]


def test_an_invitation_opens_a_room() -> None:
    network = Network()
    ann = network.client("ann", "#a")
    bob = network.client("bob")
    ann.says("MODE #a +i")
    assert bob.numerics("JOIN #a") == ["473"]
    ann.says("INVITE bob #a")
    assert ann.reads()[-1] == ":irc.example 341 ann bob #a"
    assert bob.reads() == [":ann!ann@cloak INVITE bob :#a"]
    assert bob.numerics("JOIN #a")[0] == "JOIN"


def test_rooms_are_listed_with_people_and_topic_and_secret_ones_are_not() -> None:
    network = Network(hidden=RoomRules(modes="s"), ops=RoomRules(topic="pagers"))
    ann = network.client("ann", "#ops")
    ann.says("LIST", "LIST #ops,#nowhere")
    entries = [":irc.example 322 ann #lobby 0 :", ":irc.example 322 ann #ops 1 :pagers"]
    begin, end = ":irc.example 321 ann Channel :Users  Name", ":irc.example 323 ann :End of /LIST"
    assert ann.reads() == [begin, *entries, end, begin, entries[1], end]
    assert ann.numerics("MODE #hidden", "TOPIC #hidden") == ["403", "403"]


def test_a_new_name_is_told_once_to_those_who_share_rooms() -> None:
    network = Network()
    ann, bob = network.client("ann", "#a", "#b"), network.client("bob", "#a", "#b")
    ann.reads()
    bob.says("NICK rob")
    assert ann.reads() == [":bob!bob@cloak NICK :rob"]
    assert bob.reads() == [":bob!bob@cloak NICK :rob"]
    assert bob.numerics("NICK ann", "NICK rob", "NICK [") == ["433", "432"]
