"""The desk itself: who writes, who answers, and who is told what. Knows no transport and no wire format.

Clients are called `c1`, `c2` … and operators `op1`, `op2` …, each number once, so that no name ever means
somebody else. All texts that come in here are printable already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from sockd_plugins.desk.backlog import Backlog, Message


class Wire(Protocol):
    """The way to one client."""

    def send(self, text: str) -> None:
        """Send one message."""

    def end(self) -> None:
        """End the dialogue; the desk has forgotten the client already."""


class Terminal(Protocol):
    """The way to one operator."""

    def show(self, line: str) -> None:
        """Show one line."""

    def end(self) -> None:
        """Close it; the desk has forgotten it already."""


class Refused(Exception):
    """There is no place at the desk. The text tells why."""


@dataclass(slots=True, eq=False)
class Client:
    """Somebody who writes to the desk."""

    name: str
    address: str
    wire: Wire
    since: float
    by_datagram: bool
    unanswered: int = 0
    told_absent: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.address}"


class Dialogues:
    """The clients and operators of one desk.

    Args:
        backlog: keeps what clients write while no operator is there.
        max_clients: how many there may be; half of them by datagram.
        absent: what a client is told whose message is kept; empty for nothing.
        seconds: a monotonic clock.
    """

    def __init__(self, backlog: Backlog, max_clients: int, absent: str, seconds: Callable[[], float]) -> None:
        self._backlog = backlog
        self._max_clients = max_clients
        self._absent = absent
        self._seconds = seconds
        self._clients: dict[str, Client] = {}
        self._by_datagram = 0
        self._operators: dict[Terminal, str] = {}
        self._client_names = (f"c{number}" for number in count(1))
        self._operator_names = (f"op{number}" for number in count(1))
        self._closed = ""

    def open(self, address: str, wire: Wire, *, by_datagram: bool = False) -> Client:
        """A new client, or `Refused`. Those whose address may be forged leave half of the places free."""
        if self._closed:
            raise Refused(self._closed)
        no_place = by_datagram and self._by_datagram >= self._max_clients // 2
        if no_place or len(self._clients) >= self._max_clients:
            raise Refused("the desk is full, try again later")
        client = Client(next(self._client_names), address, wire, self._seconds(), by_datagram)
        self._clients[client.name] = client
        self._by_datagram += by_datagram
        self._tell_operators(f"* {client} joined")
        return client

    def heard(self, client: Client, text: str) -> None:
        """A client wrote: the operators read it, the first that comes if there is none."""
        client.unanswered += 1
        if self._operators:
            self._tell_operators(f"{client}> {text}")
            return
        self._backlog.add(Message(client.name, client.address, text, self._seconds()))
        if self._absent and not client.told_absent:
            client.told_absent = True
            client.wire.send(self._absent)

    def leave(self, client: Client, reason: str) -> None:
        """A client is gone. Nothing happens if it was gone before."""
        if self._clients.pop(client.name, None) is not None:
            self._by_datagram -= client.by_datagram
            self._tell_operators(f"* {client} left ({reason})")

    def attach(self, terminal: Terminal) -> None:
        """A new operator, who is shown who is there and what was written meanwhile."""
        if self._closed:
            terminal.end()
            return
        name = next(self._operator_names)
        self._tell_operators(f"* {name} is here too")
        self._operators[terminal] = name
        terminal.show(f"* you are {name}; /help tells what you can type")
        for line in self.listing():
            terminal.show(line)
        messages, dropped = self._backlog.take()
        if dropped:
            terminal.show(f"* {dropped} older messages were dropped")
        now = self._seconds()
        for it in messages:
            gone = "" if it.client in self._clients else ", gone"
            terminal.show(f"{it.client} {it.address} ({_age(now - it.at)} ago{gone})> {it.text}")
        for client in self._clients.values():
            client.told_absent = False

    def detach(self, terminal: Terminal) -> None:
        """An operator is gone. Nothing happens if it was gone before."""
        if name := self._operators.pop(terminal, ""):
            self._tell_operators(f"* {name} is gone")

    def find(self, name: str) -> Client | None:
        """The client of that name, if it is here."""
        return self._clients.get(name)

    def answer(self, terminal: Terminal, client: Client, text: str) -> None:
        """Send an operator's text to one client, and show it to all operators."""
        client.unanswered = 0
        self._tell_operators(f"{self._operators[terminal]} -> {client.name}> {text}")
        client.wire.send(text)

    def answer_all(self, terminal: Terminal, text: str) -> None:
        """Send an operator's text to every client."""
        self._tell_operators(f"{self._operators[terminal]} -> all {len(self._clients)}> {text}")
        for client in tuple(self._clients.values()):
            client.wire.send(text)

    def dismiss(self, terminal: Terminal, client: Client) -> None:
        """End a dialogue from the operator's side."""
        self.leave(client, f"closed by {self._operators[terminal]}")
        client.wire.end()

    def listing(self) -> list[str]:
        """Who is here, a line each."""
        now = self._seconds()
        return [
            f"* clients here: {len(self._clients)}",
            *(
                f"* {client}, for {_age(now - client.since)}, {client.unanswered} unanswered"
                for client in self._clients.values()
            ),
        ]

    def close(self, reason: str) -> None:
        """The end of the desk, for clients and operators; nobody comes any more."""
        self._closed = reason
        clients, terminals = tuple(self._clients.values()), tuple(self._operators)
        self._clients.clear()
        self._operators.clear()
        for terminal in terminals:
            terminal.show(f"* {reason}")
            terminal.end()
        for client in clients:
            client.wire.send(reason)
            client.wire.end()

    def _tell_operators(self, line: str) -> None:
        for terminal in tuple(self._operators):
            terminal.show(line)


def _age(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
