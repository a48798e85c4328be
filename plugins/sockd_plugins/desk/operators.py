"""Operator's terminal: any line client, at an endpoint that only the operator can reach.

    c1 TEXT, @c1 TEXT or c1: TEXT   answers that client
    c1                              chooses the client without answering it
    TEXT                            answers the client chosen or answered last, at this terminal
    /list                           clients, since when, how many messages since the last answer
    /all TEXT                       to every client
    /close c1                       ends a dialogue
    /help, /quit

A client's message never changes the client that is chosen. If that client is gone, or a name is wrong,
nothing is sent, and the operator is told; after a wrong name no client is chosen. Every operator reads:

    c1 127.0.0.1:40112> hello       a client's message; with its age if it was kept
    op1 -> c1> good morning         an answer, one's own as well
    * c1 127.0.0.1:40112 left (q)   all other news; no client can begin a line so

The desk does not wait for a terminal that does not read. The last `WAITING` lines wait for it, and as many
as may have been kept; older ones are dropped, and their number is shown.
"""

from __future__ import annotations

import re
from collections import deque

from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from sockd.framing import FrameTooLong, Lines
from sockd.telnet import Telnet
from sockd.text import decoded
from sockd_plugins.desk.dialogues import Client, Dialogues

HELP = (
    "* c1 TEXT answers c1, TEXT the client answered last; c1 alone chooses it",
    "* /list, /all TEXT, /close c1, /help, /quit",
)

LINE_LENGTH = 8192
"""Bytes of a line, more than a person types."""

WAITING = 256
"""Lines that wait for a terminal that does not read."""

_ADDRESSED = re.compile(r"@?(c[0-9]+)(?:[:,]\s*|\s+|$)(.*)", re.IGNORECASE)


@implementer(IPushProducer)
class OperatorLines(Protocol):
    """Connection of one operator.

    Args:
        dialogues: the desk.
        kept_total: messages that may be kept for the operator.
    """

    transport: ITransport
    _telnet: Telnet

    def __init__(self, dialogues: Dialogues, kept_total: int) -> None:
        self._dialogues = dialogues
        self._lines = Lines(LINE_LENGTH)
        self._chosen = ""  # name of the client that a line without a name goes to
        self._waiting: deque[str] = deque(maxlen=kept_total + WAITING)
        self._dropped = 0
        self._paused = False
        self._closing = False

    @override
    def connectionMade(self) -> None:
        IConsumer(self.transport).registerProducer(self, True)
        self._telnet = Telnet(self.transport.write)
        self._dialogues.attach(self)

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            for line in self._lines.feed(self._telnet.feed(data)):
                self._received(decoded(line).strip())
                if self._closing:
                    return
        except FrameTooLong as error:
            self.show(f"* a line has at most {error.limit} bytes")
            self.end()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._dialogues.detach(self)

    def show(self, line: str) -> None:
        """Show one line, now or when the terminal reads again."""
        if not self._paused:
            self.transport.write(line.encode() + self._telnet.line_end)
            return
        if len(self._waiting) == self._waiting.maxlen:
            self._dropped += 1
        self._waiting.append(line)

    def end(self) -> None:
        """Close the terminal."""
        self._closing = True
        self._dialogues.detach(self)
        IConsumer(self.transport).unregisterProducer()
        self.transport.loseConnection()

    def pauseProducing(self) -> None:
        """Keep lines, because the terminal does not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Show the kept lines, because the terminal reads again."""
        self._paused = False
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self.show(f"* {dropped} lines were dropped while you did not read")
        while self._waiting and not self._paused:
            self.show(self._waiting.popleft())

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` follows."""

    def _received(self, line: str) -> None:
        if line.startswith("/"):
            self._command(line)
        elif addressed := _ADDRESSED.fullmatch(line):
            self._chosen = addressed[1].lower()
            self._answer(addressed[2])
        elif line.startswith("@"):
            self._found(line[1:].partition(" ")[0])
        elif line and self._chosen:
            self._answer(line)
        elif line:
            self.show("* to whom? begin with a name, as in c1 TEXT; /list shows who is here")

    def _answer(self, text: str) -> None:
        client = self._found(self._chosen)
        if client is None:
            return
        if text:
            self._dialogues.answer(self, client, text)
        else:
            self.show(f"* lines without a name go to {client}")

    def _found(self, name: str) -> Client | None:
        """Return the client of that name; if there is none, tell the operator and choose no client."""
        client = self._dialogues.find(name)
        if client is None:
            self._chosen = ""
            self.show(f"* {name} is not here; nothing was sent")
        return client

    def _command(self, line: str) -> None:
        command, _, argument = line.partition(" ")
        argument = argument.strip()
        match command.lower():
            case "/list":
                for row in self._dialogues.listing():
                    self.show(row)
            case "/all" if argument:
                self._dialogues.answer_all(self, argument)
            case "/close" if argument:
                if client := self._found(argument.removeprefix("@").lower()):
                    self._dialogues.dismiss(self, client)
            case "/help":
                for row in HELP:
                    self.show(row)
            case "/quit":
                self.end()
            case _:
                self.show("* unknown or incomplete command: /help lists them all")
