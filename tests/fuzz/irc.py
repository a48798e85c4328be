"""Fuzzes IRC: whatever clients send, no exception comes out, and every line that goes back is one."""

from __future__ import annotations

import sys
from random import Random
from typing import Any, cast

import fuzzing
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, LogLevel, globalLogPublisher

from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.rules import RoomRules, Rules
from sockd_plugins.chat.irc.commands import COMMANDS
from sockd_plugins.chat.irc.connection import IrcConnection
from sockd_plugins.chat.irc.message import MAX_LINE
from sockd_plugins.chat.irc.server import Server

PEOPLE = 4
WORDS = (
    *(name.encode() + b" " for name in COMMANDS),
    *(
        b"\r\n",
        b"\n",
        b" ",
        b" :",
        b":",
        b",",
        b"*",
        b"@label=1 ",
        b"@a=b;c=\\s ",
        b"\0",
        b"\1ACTION x\1",
        b"\1",
    ),
    *(
        b"#a",
        b"#b",
        b"#lobby",
        b"#quiet",
        b"c0",
        b"c1",
        b"c2",
        b"nobody",
        b"ann",
        b"\x0304,1",
        b"%tcuhnfdlar,152",
    ),
    *(b"+o", b"-v", b"+b", b"+k", b"+l", b"+imst-", b"bob!*@*", b"$a:x", b"LS 302", b"REQ", b"END", b"LIST"),
    *(
        b"in=#a;text=x;limit=3",
        b"a/1",
        b"LATEST",
        b"BEFORE",
        b"AFTER",
        b"AROUND",
        b"BETWEEN",
        b"msgid=a/1",
        b"timestamp=2027-01-15T08:00:00.000Z",
    ),
    *(b"batch", b"server-time", b"message-tags", b"labeled-response", b"echo-message", b"draft/chathistory"),
    *("żółć".encode(), b"\xc3", b"\xff", b"5", b"0", b"PLAIN", b"x" * 500, b"y" * 5000),
)


class Faults:
    """Failures that were written to the log."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __call__(self, event: Any) -> None:
        if event["log_level"] is LogLevel.critical:
            self.found.append(event["log_failure"].getTraceback())


class Room:
    """Server, and some clients that have registered and are in rooms."""

    def __init__(self) -> None:
        self.clock = Clock()
        rules = Rules("lobby", 50, 10, 16, 100, 20, 1e6, 10**6, rooms={"quiet": RoomRules(read_back="none")})
        self.hub = Hub(rules, self.clock, Logger(), now=lambda: 1_800_000_000 + self.clock.seconds())
        self.server = Server(self.hub, rules, self.clock, "irc.example", "example")
        self.clients = [self.client(number) for number in range(PEOPLE)]

    def client(self, number: int) -> tuple[Any, Any]:
        protocol: Any = IrcConnection(self.server, Logger())
        transport: Any = StringTransport()
        transport.peerAddr = IPv4Address("TCP", "192.0.2.7", 40_000 + number)
        protocol.makeConnection(transport)
        if number:
            caps = (b"", b"batch server-time message-tags labeled-response echo-message", b"away-notify")[
                number - 1
            ]
            protocol.dataReceived(b"CAP REQ :" + caps + b"\r\nCAP END\r\n")
            protocol.dataReceived(b"NICK c%d\r\nUSER c 0 * :c\r\nJOIN #a,#b\r\n" % number)
            self.turn()
        return protocol, transport

    def turn(self) -> None:
        for _ in range(4):
            self.clock.advance(0.001)


faults = Faults()


def make(random: Random) -> bytes:
    """Which clients send, how it is cut, and the bytes."""
    line = b"".join(random.choices(WORDS, k=random.randint(1, 12))) + b"\r\n"
    return random.randbytes(2) + fuzzing.mutate(random, line * random.choice((1, 1, 2)), WORDS) + b"\r\n"


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    room, random, stream = Room(), Random(data[0]), data[2:]
    while stream:
        end = random.choice((1, 7, 100, len(stream)))
        protocol, transport = room.clients[data[1] % PEOPLE]
        if not transport.disconnecting:
            protocol.dataReceived(stream[:end])
        room.turn()
        stream = stream[end:]
    for protocol, transport in room.clients:
        sent = transport.value()
        assert sent.endswith(b"\r\n") or not sent, sent[-80:]
        for line in sent.split(b"\r\n"):
            assert not {0, 10, 13}.intersection(line), line
            assert len(line.partition(b" ")[2] if line.startswith(b"@") else line) <= MAX_LINE, line
            line.decode()
        protocol.connectionLost()
    room.turn()
    assert not list(room.hub.people), [person.name for person in room.hub.people]
    assert not room.clock.getDelayedCalls(), [str(call) for call in room.clock.getDelayedCalls()]
    found, faults.found[:] = "\n".join(faults.found), []
    assert not found, found


if __name__ == "__main__":
    globalLogPublisher.addObserver(cast("Any", faults))
    sys.exit(fuzzing.run(make, check))
