"""Connections of HTTP to a chat, in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from sockd.plugin import Context
from sockd_plugins.chat.accounts import Accounts
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.register import no_keeper
from sockd_plugins.chat.hub.rules import Rules
from sockd_plugins.chat.web.connection import WebConnection
from sockd_plugins.chat.web.options import Options
from sockd_plugins.chat.web.site import Site
from tests.plugins.chat.turns import ShortTurns

HOST = "chat.example"


class Chat:
    """Chat with a site, and its clock."""

    def __init__(
        self,
        options: Options | None = None,
        archive: Any = None,
        history: int = 5,
        accounts: Accounts | None = None,
    ) -> None:
        self.clock = ShortTurns()
        rules = Rules(
            room="lobby",
            max_members=20,
            max_rooms=10,
            name_length=24,
            message_length=400,
            history=history,
            rate=1e6,
            burst=100_000,
        )
        keeper = accounts.keeper if accounts else no_keeper
        self.hub = Hub(rules, self.clock, Logger("test"), archive, keeper=keeper)
        context = Context("chat", self.clock, Logger("test"), Path("/nowhere"))
        self.site = Site(self.hub, context, options or Options(rate=1e6, burst=1000), accounts)

    def connect(self) -> Web:
        return Web(self)

    def passes(self, seconds: float) -> None:
        """Let time pass, a second at a time."""
        while seconds > 0:
            self.clock.advance(min(seconds, 1))
            seconds -= 1


class Answered:
    """Answer of HTTP."""

    def __init__(self, data: bytes) -> None:
        head, _, self.rest = data.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in fields)}
        length = self.headers.get("content-length")
        self.body = self.rest if length is None else self.rest[: int(length)]
        self.following = b"" if length is None else self.rest[int(length) :]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Web:
    """Connection of a client."""

    def __init__(self, chat: Chat) -> None:
        self.chat = chat
        protocol: type[Any] = WebConnection
        self.protocol = protocol(chat.site, chat.clock, Logger("test"))
        transport: type[Any] = Pausing
        self.transport = transport()
        self.protocol.makeConnection(self.transport)

    def sends(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def reads(self) -> bytes:
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def asks(self, method: str, target: str, body: bytes = b"", /, **headers: str) -> Answered:
        fields = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
        if body or method == "POST":
            fields["content-length"] = str(len(body))
        lines = [
            f"{method} {target} HTTP/1.1",
            *(f"{name}: {value}" for name, value in fields.items()),
            "",
            "",
        ]
        self.sends("\r\n".join(lines).encode() + body)
        return Answered(self.reads())

    def hangs_up(self) -> None:
        self.protocol.connectionLost()


class Pausing(StringTransport):
    """Transport whose producer a test pauses as a full one does."""

    def stops_reading(self) -> None:
        assert self.producer is not None
        self.producer.pauseProducing()

    def reads_again(self) -> None:
        assert self.producer is not None
        self.producer.resumeProducing()


class Socket:
    """Client of a WebSocket."""

    def __init__(self, chat: Chat, **headers: str) -> None:
        self.web = chat.connect()
        self.protocol = ClientProtocol(parse_uri(f"ws://{HOST}/socket"), max_size=None)
        request = self.protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self.protocol.send_request(request)
        self.flush()
        self.events()

    @property
    def transport(self) -> Any:
        return self.web.transport

    @property
    def close_code(self) -> int | None:
        """Code of the close frame that came; None for none."""
        return None if self.protocol.close_rcvd is None else int(self.protocol.close_rcvd.code)

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                self.web.sends(data)

    def events(self) -> list[Any]:
        self.protocol.receive_data(self.web.reads())
        return self.protocol.events_received()

    def sends(self, **fields: Any) -> None:
        self.protocol.send_text(json.dumps(fields).encode())
        self.flush()

    def reads(self) -> list[dict[str, Any]]:
        events = self.events()
        self.flush()
        return [
            json.loads(bytes(each.data))
            for each in events
            if isinstance(each, Frame) and each.opcode is Opcode.TEXT
        ]

    def says_hello(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        self.sends(type="hello", name=name, **{"rooms": {"lobby": None}, **fields})
        return self.reads()


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


__all__ = ["HOST", "Answered", "Chat", "Pausing", "Socket", "Web", "types"]
