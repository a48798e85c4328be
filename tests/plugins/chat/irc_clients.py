"""IRC clients in memory, for tests."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger

from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.rules import RoomRules, Rules
from sockd_plugins.chat.irc.connection import IrcConnection
from sockd_plugins.chat.irc.rounds import ROUND
from sockd_plugins.chat.irc.server import Server

NOON = 1_800_000_000.0
"""2027-01-15 08:00 UTC."""

SERVER = "irc.example"


class Network:
    """Chat with an IRC server."""

    def __init__(
        self,
        *,
        rate: float = 1e6,
        burst: int = 10**6,
        length: int = 400,
        people: int = 100,
        history: int = 20,
        motd: tuple[str, ...] = (),
        accounts: Any = None,
        **rooms: RoomRules,
    ) -> None:
        self.clock = Clock()
        self.time = NOON
        rules = Rules("lobby", people, 20, 24, length, history, rate, burst, rooms=rooms)
        self.hub = Hub(rules, self.clock, Logger("test"), now=lambda: self.time)
        self.server = Server(self.hub, rules, self.clock, SERVER, "example", motd, accounts)

    def turn(self) -> None:
        """End the turn of the reactor, and the next one, which answers what waited for the first."""
        self.clock.advance(0)
        self.clock.advance(0)

    def passes(self, seconds: float) -> None:
        """Let time pass, round by round."""
        for _ in range(round(seconds / ROUND)):
            self.clock.advance(ROUND)

    def connect(self, transport: type[Any] = StringTransport) -> IrcClient:
        return IrcClient(self, transport)

    def client(
        self, nick: str, *rooms: str, caps: str = "", transport: type[Any] = StringTransport
    ) -> IrcClient:
        """Return a client that has registered, and has joined rooms."""
        client = IrcClient(self, transport)
        client.says(f"CAP REQ :{caps}", "CAP END", f"NICK {nick}", f"USER {nick} 0 * :{nick}")
        client.says(*(f"JOIN {room}" for room in rooms))
        self.turn()
        client.reads()
        return client


class IrcClient:
    """Program at the other end of a connection."""

    def __init__(self, network: Network, transport: type[Any]) -> None:
        self.network = network
        self.protocol: Any = IrcConnection(network.server, Logger("test"))
        self.transport: Any = transport(IPv4Address("TCP", "192.0.2.7", 40001))
        self.transport.peerAddr = IPv4Address("TCP", "192.0.2.7", 40001)
        connect(self.protocol, self.transport)

    def says(self, *lines: str) -> None:
        for line in lines:
            self.protocol.dataReceived(line.encode() + b"\r\n")
            self.network.turn()

    def sends(self, data: bytes) -> None:
        self.protocol.dataReceived(data)
        self.network.turn()

    def reads(self) -> list[str]:
        """Return the lines that have come, without the digits of cloaks."""
        self.network.turn()
        text: str = self.transport.value().decode()
        self.transport.clear()
        assert text.endswith("\r\n") or not text
        return [re.sub(r"\bu[0-9a-f]{10}\b", "cloak", line) for line in text.split("\r\n")[:-1]]

    def numerics(self, *lines: str) -> list[str]:
        """Say lines; return the numerics that come back."""
        self.says(*lines)
        return [line.split(" ")[1] for line in self.reads()]

    def hangs_up(self) -> None:
        self.protocol.connectionLost()
        self.network.turn()

    @property
    def is_closed(self) -> bool:
        return bool(self.transport.disconnecting)


def connect(protocol: Any, transport: Any) -> None:
    protocol.makeConnection(transport)
