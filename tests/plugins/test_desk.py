from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from zope.interface.verify import verifyObject

from sockd.plugin import Context, IDatagramPlugin, IStreamPlugin
from sockd_plugins.desk import Desk
from sockd_plugins.desk.clients import REFUSALS, REFUSALS_AT_ONCE
from sockd_plugins.desk.operators import LINE_LENGTH, WAITING


class Line:
    """Connection to one of the desk's endpoints."""

    def __init__(
        self, room: "Room", protocol: str, address: Any, transport: type[Any] = StringTransport
    ) -> None:
        factory: Any = room.desk.stream_factory(protocol, room.context)
        self.protocol = factory.buildProtocol(address)
        self.transport = transport(peerAddress=address)
        connect(self.protocol, self.transport)

    def types(self, *lines: str) -> None:
        for line in lines:
            self.protocol.dataReceived(f"{line}\n".encode())

    def reads(self) -> list[str]:
        text: str = self.transport.value().decode()
        self.transport.clear()
        assert text.endswith("\n") or not text
        return text.split("\n")[:-1]

    def hangs_up(self) -> None:
        self.protocol.connectionLost()


class Port:
    """Datagram listener of the desk."""

    def __init__(self, room: "Room") -> None:
        self.protocol: Any = room.desk.datagram_protocol("clients", room.context)
        self.sent: list[tuple[bytes, Any]] = []
        connect(self.protocol, self)

    def write(self, data: bytes, addr: Any) -> None:
        self.sent.append((data, addr))

    def hears(self, text: str | bytes, addr: Any = ("127.0.0.1", 50000)) -> None:
        self.protocol.datagramReceived(text if isinstance(text, bytes) else text.encode(), addr)

    def shows(self, addr: Any = ("127.0.0.1", 50000)) -> list[str]:
        texts = [data.decode() for data, to in self.sent if to == addr]
        self.sent = [(data, to) for data, to in self.sent if to != addr]
        assert all(text.endswith("\n") for text in texts)
        return [text.removesuffix("\n") for text in texts]


def connect(protocol: Any, transport: Any) -> None:
    protocol.makeConnection(transport)


class Room:
    """Desk, and its clock."""

    def __init__(self, **options: Any) -> None:
        self.desk = Desk(**options)
        self.clock = Clock()
        self.context = Context("desk", self.clock, Logger("test"), Path("nowhere"))
        self.port_number = 40000

    def client(self) -> Line:
        self.port_number += 1
        return Line(self, "clients", IPv4Address("TCP", "127.0.0.1", self.port_number))

    def operator(self) -> Line:
        """Return an operator who has read all lines."""
        operator = Line(self, "operator", UNIXAddress(None))
        operator.reads()
        return operator


@pytest.fixture
def room() -> Room:
    return Room()


def test_the_plugin_keeps_the_contract() -> None:
    assert verifyObject(IStreamPlugin, Desk())
    assert verifyObject(IDatagramPlugin, Desk())
    assert Desk.protocols == {"clients": ("stream", "datagram"), "operator": ("stream",)}


def test_every_option_is_explained_and_bounded() -> None:
    for name, option in Desk.model_fields.items():
        assert option.description, name
        assert option.metadata, name
    with pytest.raises(ValidationError):
        Desk(max_clients=0)


def test_the_operator_reads_who_writes_and_answers_by_name(room: Room) -> None:
    operator, ann, bob = room.operator(), room.client(), room.client()
    ann.types("hello", "", "anybody?")
    bob.types("hi")
    assert operator.reads() == [
        "* c1 127.0.0.1:40001 joined",
        "* c2 127.0.0.1:40002 joined",
        "c1 127.0.0.1:40001> hello",
        "c1 127.0.0.1:40001> anybody?",
        "c2 127.0.0.1:40002> hi",
    ]
    operator.types("c2 good morning")
    assert operator.reads() == ["op1 -> c2> good morning"]
    assert (ann.reads(), bob.reads()) == ([], ["good morning"])


@pytest.mark.parametrize("line", ["c1 hi", "@c1 hi", "C1 hi", "c1: hi", "c1:hi", "@c1, hi", "  c1   hi  "])
def test_an_answer_is_addressed_in_the_ways_people_do_it(room: Room, line: str) -> None:
    ann, bob, operator = room.client(), room.client(), room.operator()
    operator.types("c2", line)
    assert (ann.reads(), bob.reads()) == (["hi"], [])


@pytest.mark.parametrize("peer", [IPv6Address("TCP", "::1", 7), UNIXAddress(None)])
def test_every_kind_of_peer_has_a_name_for_the_operator(room: Room, peer: Any) -> None:
    operator = room.operator()
    Line(room, "clients", peer)
    assert operator.reads() == [f"* c1 {'unix' if isinstance(peer, UNIXAddress) else '[::1]:7'} joined"]


def test_a_line_without_a_name_goes_to_whom_the_operator_answered_last(room: Room) -> None:
    operator, ann, bob = room.operator(), room.client(), room.client()
    operator.types("hello?")
    assert operator.reads()[2:] == ["* to whom? begin with a name, as in c1 TEXT; /list shows who is here"]
    operator.types("c1 one")
    bob.types("me too")
    operator.types("two", "c2", "three", "crash")
    assert operator.reads() == [
        "op1 -> c1> one",
        "c2 127.0.0.1:40002> me too",
        "op1 -> c1> two",
        "* lines without a name go to c2 127.0.0.1:40002",
        "op1 -> c2> three",
        "op1 -> c2> crash",
    ]
    assert (ann.reads(), bob.reads()) == (["one", "two"], ["three", "crash"])


def test_nothing_goes_to_somebody_else_when_the_addressee_has_left(room: Room) -> None:
    operator, ann, bob = room.operator(), room.client(), room.client()
    operator.types("c1 one")
    ann.hangs_up()
    carl = room.client()
    operator.reads()
    operator.types("two", "three", "c1 four")
    assert operator.reads() == [
        "* c1 is not here; nothing was sent",
        "* to whom? begin with a name, as in c1 TEXT; /list shows who is here",
        "* c1 is not here; nothing was sent",
    ]
    assert bob.reads() == carl.reads() == []


@pytest.mark.parametrize("mistake", ["c9 hi", "@c9 hi", "@bob hi", "/close c9"])
def test_after_a_wrong_name_nobody_is_chosen(room: Room, mistake: str) -> None:
    ann, operator = room.client(), room.operator()
    operator.types("c1 one", mistake, "two")
    assert [line for line in operator.reads() if "nothing was sent" in line]
    assert ann.reads() == ["one"]


def test_names_are_never_used_again(room: Room) -> None:
    operator = room.operator()
    for _ in range(3):
        room.client().hangs_up()
    assert [line.split()[1] for line in operator.reads()[::2]] == ["c1", "c2", "c3"]


def test_the_list_shows_age_and_unanswered_messages(room: Room) -> None:
    operator, ann = room.operator(), room.client()
    ann.types("one", "two")
    room.clock.advance(90)
    bob = room.client()
    bob.types("three")
    operator.types("c2 yes?")
    room.clock.advance(300)
    operator.reads()
    operator.types("/list")
    assert operator.reads() == [
        "* clients here: 2",
        "* c1 127.0.0.1:40001, for 6 min, 2 unanswered",
        "* c2 127.0.0.1:40002, for 5 min, 0 unanswered",
    ]
    room.clock.advance(10_000)
    operator.types("/list")
    assert operator.reads()[1] == "* c1 127.0.0.1:40001, for 3 h, 2 unanswered"


def test_the_other_commands_do_what_help_says(room: Room) -> None:
    operator, ann, bob = room.operator(), room.client(), room.client()
    operator.reads()
    operator.types("/help")
    told = "".join(operator.reads())
    assert all(word in told for word in ("/list", "/all TEXT", "/close c1", "/help", "/quit"))
    operator.types("/all we close soon", "/all", "/close", "/dance")
    unknown = "* unknown or incomplete command: /help lists them all"
    assert operator.reads() == ["op1 -> all 2> we close soon", unknown, unknown, unknown]
    assert ann.reads() == bob.reads() == ["we close soon"]
    operator.types("/close c1")
    assert operator.reads() == ["* c1 127.0.0.1:40001 left (closed by op1)"]
    assert ann.transport.disconnecting
    ann.types("not said")
    ann.hangs_up()
    operator.types("/quit", "/all not sent")
    assert operator.transport.disconnecting
    assert (operator.reads(), bob.reads()) == ([], [])


def test_several_operators_see_the_same(room: Room) -> None:
    one = room.operator()
    two = room.operator()
    ann = room.client()
    ann.types("hello")
    two.types("c1 hi")
    one.types("c1 good morning")
    assert one.reads()[0] == "* op2 is here too"
    seen = [
        "* c1 127.0.0.1:40001 joined",
        "c1 127.0.0.1:40001> hello",
        "op2 -> c1> hi",
        "op1 -> c1> good morning",
    ]
    assert two.reads() == seen
    two.hangs_up()
    assert one.reads() == ["* op2 is gone"]
    assert ann.reads() == ["hi", "good morning"]


def test_messages_without_an_operator_are_kept_with_their_age(room: Room) -> None:
    ann, bob = room.client(), room.client()
    ann.types("hello", "hello?")
    room.clock.advance(60)
    bob.types("bye")
    bob.hangs_up()
    room.clock.advance(180)
    operator = Line(room, "operator", UNIXAddress(None))
    assert operator.reads() == [
        "* you are op1; /help tells what you can type",
        "* clients here: 1",
        "* c1 127.0.0.1:40001, for 4 min, 2 unanswered",
        "c1 127.0.0.1:40001 (4 min ago)> hello",
        "c1 127.0.0.1:40001 (4 min ago)> hello?",
        "c2 127.0.0.1:40002 (3 min ago, gone)> bye",
    ]
    assert len(Line(room, "operator", UNIXAddress(None)).reads()) == 3


def test_kept_messages_are_bounded_and_dropped_ones_counted() -> None:
    room = Room(kept_messages=2, kept_total=3)
    for text in ("a", "b"):
        room.client().types(*[text] * 3)
    lines = Line(room, "operator", UNIXAddress(None)).reads()
    assert lines[4:] == [
        "* 3 older messages were dropped",
        "c1 127.0.0.1:40001 (0 s ago)> a",
        "c2 127.0.0.1:40002 (0 s ago)> b",
        "c2 127.0.0.1:40002 (0 s ago)> b",
    ]


def test_a_client_is_told_once_that_nobody_is_there_and_again_after_the_next_absence(room: Room) -> None:
    ann = room.client()
    ann.types("hello", "hello?")
    assert ann.reads() == ["nobody is at the desk; your message is kept"]
    operator = room.operator()
    ann.types("ah")
    operator.hangs_up()
    assert ann.reads() == []
    ann.types("and now?")
    assert ann.reads() == ["nobody is at the desk; your message is kept"]


def test_a_greeting_is_sent_and_silence_about_absence_is_kept_if_so_configured() -> None:
    room = Room(greeting="good morning", absent="")
    ann, port = room.client(), Port(room)
    ann.types("hello")
    port.hears("hello")
    assert (ann.reads(), port.shows()) == (["good morning"], [])


def test_q_ends_a_dialogue(room: Room) -> None:
    operator, ann = room.operator(), room.client()
    ann.protocol.dataReceived(b"quick\r\nq\r\nnot said\r\n")
    assert ann.transport.disconnecting
    ann.hangs_up()
    assert operator.reads()[1:] == ["c1 127.0.0.1:40001> quick", "* c1 127.0.0.1:40001 left (q)"]


def test_control_characters_are_written_out_in_both_directions(room: Room) -> None:
    operator, ann, port = room.operator(), room.client(), Port(room)
    ann.protocol.dataReceived(b"\x1b[2J\x9b\xff\r\n")
    port.hears(b"a\n* c1 left", "/run/\x1b[2J.sock")
    port.hears(b"hi", b"\0\x1b")
    operator.types("c1 \x07")
    assert operator.reads()[1:] == [
        r"c1 127.0.0.1:40001> \x1b[2J\x9b\xff",
        r"* c2 /run/\x1b[2J.sock joined",
        r"c2 /run/\x1b[2J.sock> a\x0a* c1 left",
        r"* c3 \x00\x1b joined",
        r"c3 \x00\x1b> hi",
        r"op1 -> c1> \x07",
    ]
    assert ann.reads() == [r"\x07"]


def test_a_giant_line_ends_the_connection_with_one_line(room: Room) -> None:
    operator, ann = room.operator(), room.client()
    ann.types("before")
    for _ in range(100):
        ann.protocol.dataReceived(b"x" * 500)
    assert ann.reads() == ["a message has at most 1000 bytes"]
    assert ann.transport.disconnecting
    assert operator.reads()[1:] == [
        "c1 127.0.0.1:40001> before",
        "* c1 127.0.0.1:40001 left (too long a message)",
    ]


def test_a_giant_line_of_an_operator_closes_its_terminal(room: Room) -> None:
    operator = room.operator()
    operator.protocol.dataReceived(b"x" * (LINE_LENGTH + 3))
    assert operator.reads() == [f"* a line has at most {LINE_LENGTH} bytes"]
    assert operator.transport.disconnecting
    assert operator.transport.producer is None


def test_the_desk_has_a_bounded_number_of_places() -> None:
    room = Room(max_clients=2)
    operator = room.operator()
    room.client()
    bob, carl = room.client(), room.client()
    operator.reads()
    assert carl.reads() == ["the desk is full, try again later"]
    assert carl.transport.disconnecting
    carl.types("hello")
    carl.hangs_up()
    assert operator.reads() == []
    bob.hangs_up()
    room.client().types("hello")
    assert operator.reads()[-1] == "c3 127.0.0.1:40004> hello"


def test_a_terminal_that_does_not_read_grows_nothing_and_is_told_what_it_missed() -> None:
    room = Room(kept_total=10)
    operator, ann = room.operator(), room.client()
    operator.reads()
    operator.transport.producer.pauseProducing()
    bound = 10 + WAITING
    ann.types(*map(str, range(bound + 500)))
    assert operator.reads() == []
    operator.transport.producer.resumeProducing()
    lines = operator.reads()
    assert lines[0] == "* 500 lines were dropped while you did not read"
    assert lines[1:] == [f"c1 127.0.0.1:40001> {number}" for number in range(500, bound + 500)]


def test_a_stopped_terminal_delays_no_other(room: Room) -> None:
    stopped, reading, ann = room.operator(), room.operator(), room.client()
    reading.reads()
    stopped.transport.producer.pauseProducing()
    ann.types("hello")
    reading.types("c1 hi")
    assert reading.reads() == ["c1 127.0.0.1:40001> hello", "op2 -> c1> hi"]
    assert ann.reads() == ["hi"]


def test_kept_messages_reach_a_slow_terminal(room: Room) -> None:
    class Narrow(StringTransport):
        """Transport that takes one write, and then no more before its producer is resumed."""

        def write(self, data: bytes) -> None:
            self.io.write(data)
            assert self.producer is not None
            self.producer.pauseProducing()

    for _ in range(20):
        room.client().types(*map(str, range(50)))
    operator = Line(room, "operator", UNIXAddress(None), Narrow)
    for _ in range(2000):
        operator.transport.producer.resumeProducing()
    lines = operator.reads()
    assert len(lines) == 1 + 1 + 20 + 20 * 50
    assert not any("dropped" in line for line in lines)


def test_a_client_by_datagram_is_an_address_with_a_name(room: Room) -> None:
    operator, port = room.operator(), Port(room)
    port.hears("hello\n")
    port.hears("there")
    port.hears("other", ("::1", 50000))
    operator.types("c1 hi", "c2 good morning")
    assert operator.reads()[:5] == [
        "* c1 127.0.0.1:50000 joined",
        "c1 127.0.0.1:50000> hello",
        "c1 127.0.0.1:50000> there",
        "* c2 [::1]:50000 joined",
        "c2 [::1]:50000> other",
    ]
    assert (port.shows(), port.shows(("::1", 50000))) == (["hi"], ["good morning"])


def test_a_client_by_datagram_leaves_by_q_or_silence_or_the_operators_will(room: Room) -> None:
    operator, port = room.operator(), Port(room)
    port.hears("hello")
    port.hears("q")
    port.hears("q")
    port.hears("hello")
    room.clock.advance(500)
    port.hears("")
    room.clock.advance(500)
    operator.reads()
    room.clock.advance(100)
    assert operator.reads() == ["* c2 127.0.0.1:50000 left (silent)"]
    port.hears("hello")
    operator.types("/close c3")
    port.hears("hello")
    assert operator.reads()[2:4] == [
        "* c3 127.0.0.1:50000 left (closed by op1)",
        "* c4 127.0.0.1:50000 joined",
    ]
    assert len(room.clock.getDelayedCalls()) == 1


@pytest.mark.parametrize("first", ["", " \n", "q", "q\n"])
def test_nothing_to_say_makes_no_client_of_an_address(room: Room, first: str) -> None:
    operator, port = room.operator(), Port(room)
    port.hears(first)
    assert (operator.reads(), port.sent) == ([], [])


def test_a_peer_without_an_address_is_ignored(room: Room) -> None:
    operator, port = room.operator(), Port(room)
    port.hears("hello", None)
    assert (operator.reads(), port.sent) == ([], [])


def test_a_datagram_that_is_too_long_is_refused_shortly(room: Room) -> None:
    operator, port = room.operator(), Port(room)
    port.hears("x" * 1001)
    assert (operator.reads(), port.shows()) == ([], ["a message has at most 1000 bytes"])


def test_refusals_by_datagram_come_no_faster_than_a_person_could_ask() -> None:
    """The refused address may be a service that answers, or the target of a flood."""
    room = Room(max_clients=2)
    port = Port(room)
    port.hears("first")
    others = [("10.0.0.1", 10_000 + number) for number in range(1000)]
    for second in (0, 1):
        room.clock.advance(second)
        for other in others:
            port.hears("x" * (1 + 1000 * second), other)
    assert sum(len(port.shows(other)) for other in others) == REFUSALS_AT_ONCE + REFUSALS


def test_forged_addresses_take_half_of_the_places_and_push_nobody_out() -> None:
    room = Room(max_clients=20)
    operator, port, other = room.operator(), Port(room), Port(room)
    port.hears("first")
    for number in range(10_000):
        (port, other)[number % 2].hears("x", ("10.0.0.1", 10_000 + number))
    assert len([line for line in operator.reads() if line.endswith("joined")]) == 10
    room.clock.advance(5)
    port.hears("x", ("10.0.0.1", 19_998))
    assert port.shows(("10.0.0.1", 19_998)) == ["the desk is full, try again later"]
    clients = [room.client() for _ in range(11)]
    assert [client.transport.disconnecting for client in clients] == [*[False] * 10, True]
    operator.types("c1 still here?")
    assert port.shows() == ["still here?"]
    room.clock.advance(601)
    port.hears("again")
    assert operator.reads()[-1] == "c21 127.0.0.1:50000> again"


def test_a_forged_address_is_sent_one_short_line(room: Room) -> None:
    port = Port(room)
    for _ in range(100):
        port.hears("x")
    assert port.shows() == ["nobody is at the desk; your message is kept"]


def test_a_closed_listener_takes_its_clients_along(room: Room) -> None:
    operator, port = room.operator(), Port(room)
    port.hears("hello")
    port.protocol.doStop()
    assert operator.reads()[-1] == "* c1 127.0.0.1:50000 left (disconnected)"
    assert room.clock.getDelayedCalls() == []


def test_when_the_service_drains_everybody_is_told_and_disconnected(room: Room) -> None:
    operator, ann, port = room.operator(), room.client(), Port(room)
    port.hears("hello")
    operator.reads()
    room.desk.drain()
    assert operator.reads() == ["* the server is closing"]
    assert ann.reads() == port.shows() == ["the server is closing"]
    assert ann.transport.disconnecting
    assert operator.transport.disconnecting
    assert room.clock.getDelayedCalls() == []
    for line in (ann, operator):
        line.hangs_up()
    port.hears("hello")
    assert room.client().reads() == port.shows() == ["the server is closing"]
    assert Line(room, "operator", UNIXAddress(None)).transport.disconnecting


def test_a_desk_that_served_nobody_drains() -> None:
    Desk().drain()


def test_a_telnet_programs_negotiation_is_answered_and_shown_to_nobody(room: Room) -> None:
    operator, ann = room.operator(), room.client()
    ann.protocol.dataReceived(b"\xff\xfb\x1fhelp me\r\n")
    assert ann.transport.value() == b"\xff\xfe\x1f"
    ann.transport.clear()
    assert operator.reads()[-1] == "c1 127.0.0.1:40001> help me"
    operator.protocol.dataReceived(b"\xff\xfd\x01c1 how?\r\n")
    assert operator.transport.value() == b"\xff\xfc\x01op1 -> c1> how?\r\n"
    assert ann.transport.value() == b"how?\r\n"
