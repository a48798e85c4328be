"""Conversation with the plugin itself in memory, over connections and datagrams that can break."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.logger import Logger

from sockd.cli.chat.session import Session
from sockd.cli.chat.view import Wishes
from sockd.cli.chat.wire import Private, Said
from sockd.text import decoded
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.rules import Rules
from sockd_plugins.chat.terminal.datagrams import ChatDatagrams, Peers
from sockd_plugins.chat.terminal.lines import ChatLines
from tests.plugins.chat.turns import ShortTurns

RULES = Rules(
    room="lobby",
    max_members=100,
    max_rooms=10,
    name_length=24,
    message_length=400,
    history=200,
    rate=1e6,
    burst=1000,
)


def a_hub(clock: ShortTurns | None = None, later: float = 0.0, **rules: Any) -> Hub:
    """Return a chat whose messages have times that are so many seconds later than the present one."""
    return Hub(
        replace(RULES, **rules), clock or ShortTurns(), Logger("test"), now=lambda: time.time() + later
    )


def connect(protocol: Any, transport: Any) -> None:
    protocol.makeConnection(transport)


class Client:
    """Client of the chat, and what its person reads."""

    stream = True

    def __init__(
        self, hub: Hub, name: str = "ann", room: str = "", *, asks: bool = True, cut: bool = False
    ) -> None:
        self.hub = hub
        self.now = 0.0
        self.shown: list[str] = []
        self.cut = True
        self.deaf = False  # whether what the server sends gets lost
        self.mute = False  # whether what the client sends gets lost
        self._queue: list[bytes] = []
        self._sending = False
        self.session = Session(Wishes(name, room, asks=asks), self.stream, self.send, self)
        if not cut:
            self.opens()

    def opens(self) -> None:
        """Connect."""
        self.cut = False
        self.connect()
        self.session.opened(self.now)
        self.passes()

    def connect(self) -> None:
        """Build the server's end."""
        self.protocol: Any = ChatLines(self.hub, ShortTurns())
        self.transport: Any = StringTransport()
        connect(self.protocol, self.transport)

    def breaks(self) -> None:
        """Lose the connection; what the server has sent is lost too."""
        self.cut = True
        self.protocol.connectionLost()
        self.session.closed()

    def send(self, line: str) -> None:
        """Take a line of the client."""
        self._queue.append(line.encode())

    def types(self, *lines: str) -> None:
        """Type lines."""
        for line in lines:
            self.session.typed(line, self.now)
            self.passes()

    def waits(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(int(seconds * 2)):
            self.now += 0.5
            self.session.tick(self.now)
            self.passes()
            if self.session.lost and not self.cut:
                self.breaks()

    def passes(self) -> None:
        """Carry bytes in both directions until there are none."""
        while not self.cut and (self._queue or self.answered()):
            for line in self.taken():
                if not self.mute:
                    self.protocol.dataReceived(line + b"\n")
            data = self.transport.value()
            self.transport.clear()
            if not self.deaf:
                for line in data.splitlines():
                    self.session.received(decoded(line), self.now)
        self._queue.clear()

    def answered(self) -> bool:
        """Tell whether the server has sent something."""
        return bool(self.transport.value())

    def taken(self) -> list[bytes]:
        """Return what the client has sent."""
        lines, self._queue = self._queue, []
        return lines

    def reads(self) -> list[str]:
        """Return what the person has read since the last call."""
        self.passes()
        shown, self.shown = self.shown, []
        return shown

    # The view of the session.

    def said(self, said: Said, *, own: bool, old: bool) -> None:
        mark = "^" if old else "+" if own else ""
        self.shown.append(f"{mark}{said.number} <{said.name}> {said.text}")

    def told(self, private: Private) -> None:
        self.shown.append(f"[{private.name} -> {private.to}] {private.text}")

    def note(self, text: str) -> None:
        self.shown.append(f"* {text}")

    def refused(self, code: str, text: str) -> None:
        self.shown.append(f"! {code} {text}")

    def redacted(self, room: str, number: int) -> None:
        self.shown.append(f"- {room} {number}")

    def unknown(self, text: str) -> None:
        self.shown.append(f"? {text}")


class Wire:
    """Datagram port of the server, in memory."""

    def __init__(self, hub: Hub) -> None:
        self.protocol: Any = ChatDatagrams(Peers(hub, ShortTurns(), places=50, silence=120))
        self.sent: list[tuple[bytes, tuple[str, int]]] = []
        connect(self.protocol, self)

    def write(self, data: bytes, addr: tuple[str, int]) -> None:
        self.sent.append((data, addr))


class DatagramClient(Client):
    """Client over datagrams."""

    stream = False

    def __init__(self, wire: Wire, hub: Hub, name: str = "ann", port: int = 40001, **choices: Any) -> None:
        self.wire = wire
        self.before: Callable[[bytes], object] = lambda _: None
        self.address = ("127.0.0.1", port)
        super().__init__(hub, name, **choices)

    def connect(self) -> None:
        pass

    def breaks(self) -> None:
        self.cut = True
        self.session.closed()

    def passes(self) -> None:
        while not self.cut and (self._queue or self.answered()):
            for line in self.taken():
                self.before(line)
                if not self.mute:
                    self.wire.protocol.datagramReceived(line, self.address)
            own = [data for data, addr in self.wire.sent if addr == self.address]
            self.wire.sent = [each for each in self.wire.sent if each[1] != self.address]
            if not self.deaf:
                for data in own:
                    self.session.received(decoded(data.rstrip(b"\n")), self.now)
        self._queue.clear()

    def answered(self) -> bool:
        return any(addr == self.address for _, addr in self.wire.sent)
