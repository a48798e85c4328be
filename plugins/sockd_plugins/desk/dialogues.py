"""Clients, operators and messages of a desk, independent of transport and wire format.

Clients are called `c1`, `c2` … and operators `op1`, `op2` …; each number is used once, so that a name never
changes its meaning. All texts that come in here are printable already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from sockd_plugins.desk.backlog import Backlog, Message


class Wire(Protocol):
    """Output to one client."""

    def send(self, text: str) -> None:
        """Send one message."""

    def end(self) -> None:
        """End the dialogue; the desk has forgotten the client already."""


class Terminal(Protocol):
    """Output to one operator."""

    def show(self, line: str) -> None:
        """Show one line."""

    def end(self) -> None:
        """Close the terminal; the desk has forgotten it already."""


class ClientRefused(Exception):
    """Refusal of a client, because the desk has no place. The text tells the reason."""


@dataclass(slots=True, eq=False)
class Client:
    """Client of the desk."""

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
    """Clients and operators of one desk.

    Args:
        backlog: keeps messages while no operator is connected.
        max_clients: clients at most; half of them by datagram.
        absent: answer to a client whose message is kept; empty for none.
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
        """Add a client, or raise `ClientRefused`. Half of the places are not for datagrams."""
        if self._closed:
            raise ClientRefused(self._closed)
        no_place = by_datagram and self._by_datagram >= self._max_clients // 2
        if no_place or len(self._clients) >= self._max_clients:
            raise ClientRefused("the desk is full, try again later")
        client = Client(next(self._client_names), address, wire, self._seconds(), by_datagram)
        self._clients[client.name] = client
        self._by_datagram += by_datagram
        self._tell_operators(f"* {client} joined")
        return client

    def heard(self, client: Client, text: str) -> None:
        """Show a client's message to the operators, or keep it for the next one."""
        client.unanswered += 1
        if self._operators:
            self._tell_operators(f"{client}> {text}")
            return
        self._backlog.add(Message(client.name, client.address, text, self._seconds()))
        if self._absent and not client.told_absent:
            client.told_absent = True
            client.wire.send(self._absent)

    def leave(self, client: Client, reason: str) -> None:
        """Remove a client. A client that has left before is ignored."""
        if self._clients.pop(client.name, None) is not None:
            self._by_datagram -= client.by_datagram
            self._tell_operators(f"* {client} left ({reason})")

    def attach(self, terminal: Terminal) -> None:
        """Add an operator, and show it the clients and the kept messages."""
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
        """Remove an operator. One that has left before is ignored."""
        if name := self._operators.pop(terminal, ""):
            self._tell_operators(f"* {name} is gone")

    def find(self, name: str) -> Client | None:
        """Return the client of that name; None if it is not connected."""
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
        """Describe the clients, a line each."""
        now = self._seconds()
        return [
            f"* clients here: {len(self._clients)}",
            *(
                f"* {client}, for {_age(now - client.since)}, {client.unanswered} unanswered"
                for client in self._clients.values()
            ),
        ]

    def close(self, reason: str) -> None:
        """End the desk for clients and operators; later ones are refused."""
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
    """Format a duration."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
