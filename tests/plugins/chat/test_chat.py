from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from sockd.plugin import Context, IDatagramPlugin, IStreamPlugin
from sockd_plugins.chat import Chat
from sockd_plugins.chat.history.tables import FILE
from sockd_plugins.chat.terminal.lines import MAX_STALL
from tests.plugins.chat.turns import ShortTurns

ADDRESS = ("127.0.0.1", 40001)


class Port:
    """Datagram listener of the plugin, and its one peer."""

    def __init__(self, chat: Chat, context: Context) -> None:
        self.protocol: Any = chat.datagram_protocol("default", context)
        self.sent = b""
        connect(self.protocol, self)

    def write(self, data: bytes, addr: object) -> None:
        self.sent += data

    def hears(self, text: str) -> None:
        self.protocol.datagramReceived(text.encode(), ADDRESS)

    def shows(self) -> list[str]:
        lines = self.sent.decode().splitlines()
        self.sent = b""
        return lines


class Terminal:
    """Connection to a stream listener of the plugin."""

    def __init__(
        self, chat: Chat, context: Context, name: str, transport: type[Any] = StringTransport
    ) -> None:
        factory: Any = chat.stream_factory("default", context)
        self.protocol = factory.buildProtocol(IPv4Address("TCP", *ADDRESS))
        self.transport = transport()
        connect(self.protocol, self.transport)
        self.types(name)

    def types(self, line: str) -> None:
        self.protocol.dataReceived(f"{line}\n".encode())

    def reads(self) -> list[str]:
        text: str = self.transport.value().decode()
        self.transport.clear()
        return text.splitlines()


def connect(protocol: Any, transport: Any) -> None:
    protocol.makeConnection(transport)


@pytest.fixture
def context() -> Context:
    return Context("chat", ShortTurns(), Logger("test"), Path("nowhere"))


def in_memory(**options: Any) -> Chat:
    return Chat(**{"keep": "0s"} | options)


def test_the_plugin_keeps_the_contract() -> None:
    chat = in_memory()
    assert verifyObject(IStreamPlugin, chat)
    assert verifyObject(IDatagramPlugin, chat)
    assert list(chat.protocols) == ["default", "irc", "web"]


def test_every_option_is_explained_and_bounded() -> None:
    for name, option in Chat.model_fields.items():
        assert option.description, name
        assert option.metadata or name == "accounts", name  # a path has no bound


@pytest.mark.parametrize(
    "option",
    [{"max_members": 0}, {"name_length": 8}, {"rate": 0}, {"history": -1}, {"room": "a b"}, {"rooms": 5}],
)
def test_an_option_out_of_bounds_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Chat(**option)


def test_the_longest_welcome_fits_what_a_newcomer_by_datagram_may_be_sent(context: Context) -> None:
    chat = in_memory(room="r" * 32, name_length=32)
    port = Port(chat, context)
    port.hears("n" * 32)
    (welcome,) = port.shows()
    assert "/here " in welcome


def test_people_over_tcp_and_udp_are_in_the_same_rooms(context: Context) -> None:
    chat = in_memory()
    ann, port = Terminal(chat, context, "ann"), Port(chat, context)
    port.hears("bob")
    port.hears("hello from udp")
    ann.types("hello from tcp")
    assert ann.reads()[2:] == ["* bob joined lobby", "<bob> hello from udp"]
    assert port.shows()[1:] == ["<ann> hello from tcp"]
    port.hears("/msg ann psst")
    ann.types("/msg BOB psst yourself")
    assert ann.reads() == ["[bob -> you] psst"]
    assert port.shows() == ["[ann -> you] psst yourself"]


def test_the_places_for_datagrams_are_shared_by_all_listeners(context: Context) -> None:
    chat = in_memory(max_members=2)
    one, other = Port(chat, context), Port(chat, context)
    one.hears("ann")
    other.hears("bob")
    assert other.shows() == ["* the chat is full, for datagrams"]


def test_a_name_belongs_to_one_person_over_all_transports(context: Context) -> None:
    chat = in_memory()
    ann, port = Terminal(chat, context, "ann"), Port(chat, context)
    port.hears("ANN")
    assert port.shows()[-1] == "* the name ANN is taken"
    ann.types("/nick Guest-1")
    assert ann.reads()[-1] == "* the name Guest-1 is taken"


def test_two_instances_are_two_chats(context: Context) -> None:
    one, other = in_memory(), in_memory()
    Terminal(one, context, "ann")
    stranger = Terminal(other, context, "ann")
    assert stranger.reads()[1:] == ["* you are ann in lobby, alone"]


def test_a_member_that_does_not_read_delays_nobody_over_any_transport(context: Context) -> None:
    chat = in_memory(burst=1000)
    stalled, ann, port = (
        Terminal(chat, context, "stalled"),
        Terminal(chat, context, "ann"),
        Port(chat, context),
    )
    port.hears("bob")
    stalled.transport.producer.pauseProducing()
    stalled.reads()
    ann.reads()
    for _ in range(300):
        port.hears("x" * 100)
    heard = ann.reads()
    assert heard.count("<bob> " + "x" * 100) == 300
    assert not stalled.transport.disconnecting
    assert isinstance(context.clock, Clock)
    context.clock.advance(MAX_STALL)
    assert "* stalled left (too slow)" in ann.reads()
    assert stalled.transport.disconnecting


def test_when_the_service_drains_everybody_is_told_and_disconnected(context: Context) -> None:
    chat = in_memory()
    ann, port = Terminal(chat, context, "ann"), Port(chat, context)
    port.hears("bob")
    ann.reads()
    port.shows()
    chat.drain()
    assert ann.reads() == port.shows() == ["* the server is closing"]
    assert ann.transport.disconnecting
    port.protocol.doStop()
    assert isinstance(context.clock, Clock)
    assert context.clock.getDelayedCalls() == []


def test_a_service_that_served_nobody_drains(context: Context) -> None:
    chat = in_memory()
    chat.drain()
    Port(chat, context).protocol.doStop()


def test_a_start_that_fails_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockd_plugins.chat.deferToThread", execute)
    (tmp_path / FILE).write_bytes(b"no database " * 1000)
    context = Context("chat", ShortTurns(), Logger("test"), tmp_path)
    chat = Chat()
    chat.stream_factory("default", context)
    failed: list[Failure] = []
    Deferred.fromCoroutine(chat.start(context)).addErrback(failed.append)
    assert "move it away" in failed[0].getErrorMessage()
    assert chat._history is not None
    assert chat._history._closed
