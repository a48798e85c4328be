from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError
from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger

from sockd.config.load import load
from sockd.discovery import find
from sockd.errors import ConfigError
from sockd.plugin import Context
from sockd_plugins.chat import Chat
from sockd_plugins.chat.hub.events import Event
from sockd_plugins.chat.irc.forms import IrcForm
from sockd_plugins.chat.irc.message import repeated
from sockd_plugins.chat.irc.server import MAX_NAME, default_name


def test_this_machines_name_is_one_that_a_server_can_have() -> None:
    assert Chat(server_name=default_name()).server_name == default_name() == repeated(default_name())


@pytest.mark.parametrize("name", ["a b", "-a", "a:b", "irc.", "ä", "x" * (MAX_NAME + 1)])
def test_a_name_that_is_none_of_a_host_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Chat(server_name=name)


def test_the_listeners_of_a_service_share_one_server_and_one_chat(tmp_path: Path) -> None:
    clock: Any = Clock()
    chat = Chat(network="net", server_name="irc.example", motd="be\nkind")
    context = Context("chat", clock, Logger(), tmp_path)
    transports = []
    for name in ("ann", "bob"):
        factory: Any = chat.stream_factory("irc", context)
        protocol = factory.buildProtocol(UNIXAddress(None))
        transports.append(StringTransport())
        protocol.makeConnection(transports[-1])
        protocol.dataReceived(f"NICK {name}\r\nUSER {name} 0 * :x\r\nJOIN #lobby\r\n".encode())
        clock.advance(0)
        clock.advance(0)
    ann, bob = (transport.value().decode() for transport in transports)
    assert ":irc.example 001 ann :Welcome to the net chat, ann!ann@" in ann
    assert ":irc.example 372 ann :- kind" in ann
    assert ":bob!bob@" in ann
    assert " 353 bob = #lobby :bob ann" in bob


def test_irc_goes_over_connections_only(tmp_path: Path) -> None:
    file = tmp_path / "sockd.toml"
    listen = '[{ endpoint = "udp:0", protocol = "irc" }]'
    file.write_text(f'[service.chat]\nplugin = "chat"\nlisten = {listen}\n')
    with pytest.raises(ConfigError) as caught:
        load(file, find)
    assert "protocol" in str(caught.value.faults[0])


def test_every_event_of_the_chat_has_its_lines() -> None:
    form = IrcForm("irc.example", lambda _: "host", frozenset())
    assert set(form._encoders) == set(get_args(Event))
