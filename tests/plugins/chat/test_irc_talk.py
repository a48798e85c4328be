from __future__ import annotations

import pytest
from twisted.internet.testing import StringTransport

from sockd_plugins.chat.irc.message import MAX_LINE
from sockd_plugins.chat.irc.output import MAX_STALL, MAX_WAITING, MAX_WAITING_EVENTS
from tests.plugins.chat.irc_clients import IrcClient, Network

TAGS = "message-tags server-time"


def a_pair(network: Network, caps: str = "") -> tuple[IrcClient, IrcClient]:
    ann, bob = network.client("ann", "#a", caps=caps), network.client("bob", "#a", caps=caps)
    ann.reads()
    return ann, bob


def test_what_is_said_reaches_the_others_and_not_the_speaker() -> None:
    ann, bob = a_pair(Network())
    ann.says("PRIVMSG #a :hello: there", "PRIVMSG #A waves", "NOTICE #a :bot")
    assert bob.reads() == [
        ":ann!ann@cloak PRIVMSG #a :hello: there",
        ":ann!ann@cloak PRIVMSG #a :waves",
        ":ann!ann@cloak NOTICE #a :bot",
    ]
    assert ann.reads() == []


def test_whoever_asked_for_it_reads_its_own_messages_too() -> None:
    ann, bob = a_pair(Network(), "echo-message")
    ann.says("PRIVMSG #a :hello", "PRIVMSG bob :psst")
    assert ann.reads() == [":ann!ann@cloak PRIVMSG #a :hello", ":ann!ann@cloak PRIVMSG bob :psst"]
    assert bob.reads() == [":ann!ann@cloak PRIVMSG #a :hello", ":ann!ann@cloak PRIVMSG bob :psst"]


def test_tags_go_only_to_those_who_asked_for_them() -> None:
    network = Network()
    ann, bob = a_pair(network)
    eve, joe = network.client("eve", "#a", caps=TAGS), network.client("joe", "#a", caps="server-time")
    bob.reads()
    eve.reads()
    ann.says("PRIVMSG #a :hello")
    time = "2027-01-15T08:00:00.000Z"
    assert bob.reads() == [":ann!ann@cloak PRIVMSG #a :hello"]
    assert joe.reads() == [f"@time={time} :ann!ann@cloak PRIVMSG #a :hello"]
    assert eve.reads() == [f"@time={time};msgid=a/1 :ann!ann@cloak PRIVMSG #a :hello"]


def test_actions_are_sent_on_and_other_messages_between_programs_are_not() -> None:
    ann, bob = a_pair(Network())
    ann.says("PRIVMSG #a :\1ACTION waves\1", "PRIVMSG bob :\1VERSION\1", "PRIVMSG #a :\1DCC SEND x 1 2 3\1")
    ann.says("NOTICE bob :\1VERSION x\1")
    assert bob.reads() == [":ann!ann@cloak PRIVMSG #a :\1ACTION waves\1"]
    assert ann.reads() == [
        ":irc.example 531 ann bob :CTCP VERSION is not sent on",
        ":irc.example 404 ann #a :CTCP DCC is not sent on",
    ]


def test_formatting_is_left_out_and_control_characters_are_written_out() -> None:
    ann, bob = a_pair(Network())
    ann.says("PRIVMSG #a :\2bold\2 \x0304red\x03 \x1b[31m")
    assert bob.reads() == [r":ann!ann@cloak PRIVMSG #a :bold red \x1b[31m"]


def test_a_text_that_is_longer_than_a_message_is_sent_as_several() -> None:
    ann, bob = a_pair(Network(length=100), TAGS)
    text = " ".join(f"word{number}" for number in range(40))
    ann.says(f"PRIVMSG #a :{text}")
    lines = bob.reads()
    assert len(lines) == 3
    assert "".join(line.split(" :", 2)[2] for line in lines) == text
    assert [line.split("msgid=")[1].split(" ")[0] for line in lines] == ["a/1", "a/2", "a/3"]


def test_a_message_that_is_longer_than_a_line_arrives_as_several_with_one_name() -> None:
    network = Network(length=4000)
    ann, bob = a_pair(network, TAGS)
    person = network.hub.find("ann")
    assert person is not None
    network.hub.say(person, "a", "é" * 1000)
    lines = bob.reads()
    assert "".join(line.split(" :", 1)[1].split(" :", 1)[1] for line in lines) == "é" * 1000
    assert [line.count("msgid=a/1") for line in lines] == [1] + [0] * (len(lines) - 1)
    assert all(len(line.split(" ", 1)[1].encode()) <= MAX_LINE for line in lines)
    assert ann.reads() == []


@pytest.mark.parametrize(
    ("line", "numeric"),
    [
        ("PRIVMSG", "411"),
        ("PRIVMSG #a", "412"),
        ("PRIVMSG #a :", "412"),
        ("PRIVMSG #a :\2\2", "412"),
        ("PRIVMSG #b :x", "404"),
        ("PRIVMSG eve :x", "401"),
        ("PRIVMSG a,b,c,d,e :x", "407"),
    ],
)
def test_what_cannot_be_said_is_told_and_never_to_a_notice(line: str, numeric: str) -> None:
    ann, _ = a_pair(Network())
    assert ann.numerics(line, line.replace("PRIVMSG", "NOTICE")) == [numeric]


def test_several_targets_each_get_the_text() -> None:
    ann, bob = a_pair(Network())
    ann.says("PRIVMSG #a,bob :x")
    assert bob.reads() == [":ann!ann@cloak PRIVMSG #a :x", ":ann!ann@cloak PRIVMSG bob :x"]


def test_other_bytes_than_utf_8_are_refused_and_not_sent_on() -> None:
    network = Network()
    ann, bob = a_pair(network)
    eve = network.client("eve", "#a", caps="standard-replies")
    bob.reads()
    for client in (ann, eve):
        client.sends("PRIVMSG #a :café\r\n".encode("latin-1"))
    assert ann.reads()[-1] == ":irc.example NOTICE ann :PRIVMSG: not sent: text has to be UTF-8 here"
    assert eve.reads() == [":irc.example FAIL PRIVMSG INVALID_UTF8 :not sent: text has to be UTF-8 here"]
    assert bob.reads() == []


def test_a_line_that_is_too_long_is_refused_by_itself() -> None:
    ann, bob = a_pair(Network())
    ann.says("PRIVMSG #a :" + "x" * 3000, "PRIVMSG #a :short")
    assert ann.reads() == [":irc.example 417 ann :Input line was too long: at most 510 bytes"]
    assert bob.reads() == [":ann!ann@cloak PRIVMSG #a :short"]


def test_whoever_is_away_is_said_to_be() -> None:
    network = Network()
    ann, bob = a_pair(network)
    eve = network.client("eve", "#a", caps="away-notify")
    ann.reads()
    bob.says("AWAY :lunch")
    assert bob.reads()[-1] == ":irc.example 306 bob :You have been marked as being away"
    assert eve.reads() == [":bob!bob@cloak AWAY :lunch"]
    assert ann.reads() == []
    ann.says("PRIVMSG bob :hungry?", "NOTICE bob :x")
    assert ann.reads() == [":irc.example 301 ann bob :lunch"]
    bob.says("AWAY")
    assert bob.reads()[-1] == ":irc.example 305 bob :You are no longer marked as being away"
    assert eve.reads() == [":bob!bob@cloak AWAY"]


def test_a_client_that_is_too_fast_waits_and_loses_nothing() -> None:
    network = Network(rate=10, burst=5)
    ann, bob = a_pair(network)
    network.clock.advance(10)  # the room is entered
    network.clock.advance(10)
    ann.reads()
    bob.reads()
    ann.sends(b"".join(b"PRIVMSG #a :%d\r\n" % number for number in range(20)))
    heard = bob.reads()
    assert len(heard) == 5
    assert ann.transport.producerState == "paused"
    network.clock.advance(0.21)
    network.turn()
    network.clock.advance(0)
    assert len(bob.reads()) == 2
    for _ in range(20):
        network.clock.advance(0.101)
        network.turn()
    assert len(bob.reads()) == 13
    assert ann.transport.producerState == "producing"
    assert ann.reads() == []


def test_a_client_pays_for_long_answers() -> None:
    network = Network(rate=10, burst=5, motd=("x" * 400,) * 50)
    ann = network.client("ann")
    network.clock.advance(10)
    ann.sends(b"MOTD\r\n" * 5)
    assert len(ann.reads()) == 52
    network.clock.advance(0.1)
    assert ann.reads() == []
    network.clock.advance(0.5)
    assert len(ann.reads()) == 52


def test_labels_come_back_with_the_answers() -> None:
    ann = Network().client("ann", "#a", caps="labeled-response message-tags batch echo-message")
    ann.says("@label=1 PING x", "@label=2 PONG x", "@label=3 PRIVMSG #a :hello", "@label=4 JOIN #b,#a b")
    ann.says("@label=5 NICK anna", "@label=6 PRIVMSG anna :me", "@label=7 FOO", "PING y")
    assert ann.reads() == [
        "@label=1 :irc.example PONG irc.example :x",
        "@label=2 :irc.example ACK",
        "@label=3;msgid=a/1 :ann!ann@cloak PRIVMSG #a :hello",
        "@label=4 :irc.example BATCH +answer labeled-response",
        "@batch=answer :ann!ann@cloak JOIN #b",
        "@batch=answer :irc.example 353 ann = #b :@ann",
        "@batch=answer :irc.example 366 ann #b :End of /NAMES list",
        ":irc.example BATCH -answer",
        "@label=5 :ann!ann@cloak NICK :anna",
        ":anna!anna@cloak PRIVMSG anna :me",
        "@label=6 :anna!anna@cloak PRIVMSG anna :me",
        "@label=7 :irc.example 421 anna FOO :Unknown command",
        ":irc.example PONG irc.example :y",
    ]


def test_a_label_comes_back_also_with_a_text_that_is_changed() -> None:
    ann = Network().client("ann", "#a", caps="labeled-response message-tags batch echo-message")
    ann.says("@label=1 PRIVMSG #a :\x1b[31m", "@label=2 PRIVMSG #a :x")
    assert ann.reads() == [
        r"@label=1;msgid=a/1 :ann!ann@cloak PRIVMSG #a :\x1b[31m",
        "@label=2;msgid=a/2 :ann!ann@cloak PRIVMSG #a :x",
    ]


def test_a_command_is_answered_after_what_the_one_before_it_caused() -> None:
    ann = Network().client("ann")
    ann.sends(b"JOIN #a\r\nPRIVMSG #a :hi\r\nNAMES #a\r\nPART #a\r\nPING x\r\n")
    assert [line.split(" ")[1] for line in ann.reads()] == [
        "JOIN",
        "353",
        "366",
        "353",
        "366",
        "PART",
        "PONG",
    ]


class Narrow(StringTransport):
    """Transport that a peer does not read from until it is told to."""

    is_open = True

    def write(self, data: bytes) -> None:
        self.io.write(data)
        if not self.is_open:
            assert self.producer is not None
            self.producer.pauseProducing()


def a_stalled_reader(network: Network, caps: str = "") -> tuple[IrcClient, IrcClient]:
    ann = network.client("ann", "#a")
    bob = network.client("bob", "#a", transport=Narrow, caps=caps)
    bob.transport.is_open = False
    ann.says("PRIVMSG #a :last")
    bob.reads()
    return ann, bob


def test_a_client_that_does_not_read_is_told_what_it_missed() -> None:
    network = Network()
    ann, bob = a_stalled_reader(network)
    said = MAX_WAITING // 300
    for number in range(said):
        ann.says(f"PRIVMSG #a :{'x' * 300}{number}")
    assert bob.reads() == []
    ann.says("JOIN #b", "PART #a :bye")
    bob.transport.is_open = True
    bob.transport.producer.resumeProducing()
    lines = bob.reads()
    kept = [line for line in lines if "PRIVMSG" in line]
    skipped = said - len(kept)
    assert skipped > 0
    assert lines[-2] == ":ann!ann@cloak PART #a :bye"
    assert lines[-1] == (
        f":irc.example NOTICE #a :{skipped} skipped, because you did not read;"
        f" CHATHISTORY AFTER #a msgid=a/{len(kept) + 1} 200 shows them"
    )
    bob.says("PING x")
    assert bob.reads() == [":irc.example PONG irc.example :x"]


def test_a_client_that_reads_nothing_for_long_is_ended() -> None:
    network = Network()
    ann, bob = a_stalled_reader(network)
    for _ in range(MAX_WAITING // 300):
        ann.says(f"PRIVMSG #a :{'x' * 300}")
    network.clock.advance(MAX_STALL)
    assert bob.is_closed
    assert bob.reads() == ["ERROR :Closing link: too slow: you have read nothing for 60 seconds"]
    assert ":bob!bob@irc.example QUIT :too slow: you have read nothing for 60 seconds" in ann.reads()


def test_changes_of_who_is_there_are_kept_up_to_a_bound() -> None:
    network = Network(length=400)
    ann, bob = a_stalled_reader(network)
    for _ in range(MAX_WAITING_EVENTS // 800):
        ann.says(f"PART #a :{'x' * 400}", "JOIN #a")
    assert not bob.is_closed
    for _ in range(MAX_WAITING_EVENTS // 800):
        ann.says(f"PART #a :{'x' * 400}", "JOIN #a")
    assert bob.is_closed
    assert network.hub.find("bob") is None
