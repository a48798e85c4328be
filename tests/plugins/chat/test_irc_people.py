from __future__ import annotations

from sockd_plugins.chat.hub.rules import RoomRules
from sockd_plugins.chat.irc.monitors import MAX_MONITORED
from tests.plugins.chat.irc_clients import Network


def test_who_tells_about_a_room_and_about_a_person() -> None:
    network = Network()
    ann, bob = network.client("ann", "#a"), network.client("bob", "#a")
    bob.says("AWAY :lunch")
    ann.reads()
    ann.says("WHO #a", "WHO bob", "WHO #nowhere", "WHO")
    assert ann.reads() == [
        ":irc.example 352 ann #a ann cloak irc.example ann H@ :0 ann",
        ":irc.example 352 ann #a bob cloak irc.example bob G :0 bob",
        ":irc.example 315 ann #a :End of WHO list",
        ":irc.example 352 ann * bob cloak irc.example bob G :0 bob",
        ":irc.example 315 ann bob :End of WHO list",
        ":irc.example 315 ann #nowhere :End of WHO list",
        ":irc.example 315 ann * :End of WHO list",
    ]


def test_whox_has_the_fields_that_were_asked_for_in_the_order_of_the_standard() -> None:
    network = Network()
    ann = network.client("ann", "#a")
    ann.says("WHO #a %rlathcusnfdio,152", "WHO #a %n", "WHO ann %%")
    assert ann.reads() == [
        ":irc.example 354 ann 152 #a ann 255.255.255.255 cloak irc.example ann H@ 0 0 0 n/a :ann",
        ":irc.example 315 ann #a :End of WHO list",
        ":irc.example 354 ann ann",
        ":irc.example 315 ann #a :End of WHO list",
        ":irc.example 352 ann * ann cloak irc.example ann H :0 ann",
        ":irc.example 315 ann ann :End of WHO list",
    ]


def test_whois_tells_what_one_may_know() -> None:
    network = Network(hidden=RoomRules(modes="s"))
    ann = network.client("ann")
    bob = network.client("bob", "#a", "#hidden")
    bob.says("AWAY :lunch")
    network.time += 60
    ann.says("WHOIS bob", "WHOIS irc.example bob,eve", "WHOWAS eve")
    about = [
        ":irc.example 311 ann bob bob cloak * :bob",
        ":irc.example 319 ann bob :@#a",
        ":irc.example 312 ann bob irc.example :example",
        ":irc.example 301 ann bob :lunch",
        ":irc.example 317 ann bob 60 1800000000 :seconds idle, signon time",
    ]
    assert ann.reads() == [
        *about,
        ":irc.example 318 ann bob :End of /WHOIS list",
        *about,
        ":irc.example 401 ann eve :nobody here has that name",
        ":irc.example 318 ann bob,eve :End of /WHOIS list",
        ":irc.example 406 ann eve :There was no such nickname",
        ":irc.example 369 ann eve :End of WHOWAS",
    ]


def test_people_are_found_by_name() -> None:
    network = Network()
    ann = network.client("ann")
    network.client("bob").says("AWAY :x")
    ann.says("ISON bob eve :ANN joe", "USERHOST ann bob eve")
    assert ann.reads() == [
        ":irc.example 303 ann :bob ann",
        ":irc.example 302 ann :ann=+ann@cloak bob=-bob@cloak",
    ]


def test_watched_names_are_told_when_they_come_and_go() -> None:
    network = Network()
    ann = network.client("ann")
    network.client("joe")
    ann.says("MONITOR + Bob,joe")
    assert ann.reads() == [":irc.example 730 ann :joe!joe@cloak", ":irc.example 731 ann :Bob"]
    bob = network.client("bob")
    assert ann.reads() == [":irc.example 730 ann :bob!bob@cloak"]
    bob.says("NICK rob")
    assert ann.reads() == [":irc.example 731 ann :bob"]
    bob.says("NICK bob")
    bob.hangs_up()
    assert ann.reads() == [":irc.example 730 ann :bob!bob@cloak", ":irc.example 731 ann :bob"]
    ann.says("MONITOR L", "MONITOR S", "MONITOR - bob", "MONITOR L", "MONITOR C", "MONITOR L")
    assert ann.reads() == [
        ":irc.example 732 ann :Bob,joe",
        ":irc.example 733 ann :End of MONITOR list",
        ":irc.example 730 ann :joe!joe@cloak",
        ":irc.example 731 ann :Bob",
        ":irc.example 732 ann :joe",
        ":irc.example 733 ann :End of MONITOR list",
        ":irc.example 733 ann :End of MONITOR list",
    ]
    network.client("bob")
    assert ann.reads() == []


def test_names_that_are_watched_are_bounded_and_forgotten_with_the_client() -> None:
    network = Network()
    ann = network.client("ann")
    for number in range(MAX_MONITORED):
        ann.says(f"MONITOR + n{number}")
    ann.reads()
    ann.says("MONITOR + n0,more,most")
    assert ann.reads() == [
        f":irc.example 734 ann {MAX_MONITORED} more,most :Monitor list is full",
        ":irc.example 731 ann :n0",
    ]
    ann.hangs_up()
    assert list(network.server.monitors.of(ann.protocol)) == []
    network.client("n0")


def test_the_server_tells_about_itself() -> None:
    ann = Network(motd=("hello",)).client("ann")
    assert ann.numerics("MOTD", "LUSERS", "VERSION", "TIME", "ADMIN", "INFO") == [
        *("375", "372", "376", "251", "254", "255", "351", "005", "005", "391", "423", "371", "374"),
    ]
