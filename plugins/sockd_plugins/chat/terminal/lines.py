r"""Chat over TCP and UNIX sockets, one line a message: for `nc`, `telnet`, `socat` and people.

    server  * welcome; your name?
    client  ann
    server  * you are ann in lobby, with bob
    server  <bob> anybody there?            a message from before she came
    client  hello                           bob reads: <ann> hello; she does not read it again
    server  <bob> hi ann
    client  /msg bob psst                   bob reads: [ann -> you] psst
    client  /nick anna                      all read: * ann is now anna
    client  /join garden                    the lobby reads: * anna left lobby
    client  /quit                           closes, as ending the connection does

`commands` describes the commands, `forms` the lines of the server. `/numbers on`, `/echo on`, `/key KEY` and
`/join ROOM` may come before the name too, and `/login NAME PASSWORD` in its place: so a program knows from
the first line on what it reads, and enters a room without a visit to the first one.

Lines end with LF or CR LF; the server's with LF, or with CR LF for peers that speak telnet, whose options are
all refused. Text is UTF-8; other bytes and control characters are written out: `\xff`, `\x1b`. A refusal is
one line:

    * the name ann is taken                 and the name is asked again; after `NAME_TRIES` it closes
    * too long: at most 400 bytes, not 512  as shown to the others
    * too fast: what goes beyond 10 a second is dropped
    * unknown command: /help lists them all
    * a line has at most 8192 bytes         closes

Blank lines are ignored, and so is an unfinished one when the connection ends. A name is free again as soon as
its connection is closed.

The chat does not wait for a member that does not read: up to `MAX_WAITING` messages or `MAX_WAITING_BYTES`
are kept for it, and what comes then is skipped. When it reads again, it reads those and

    * 312 skipped; /since 1834 shows those that are kept

Messages of a room are numbered from 1. Whoever reads nothing for `MAX_STALL` seconds is removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from sockd.framing import FrameTooLong, Lines
from sockd.telnet import Telnet
from sockd.text import decoded
from sockd_plugins.chat.accounts import Accounts
from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.events import Entered, Event, Said
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.terminal.commands import Commands
from sockd_plugins.chat.terminal.entrance import Entrance
from sockd_plugins.chat.terminal.forms import FORMS, Mode, encoded
from sockd_plugins.chat.terminal.queue import Queue, Work

LINE_LENGTH = 8192
"""Bytes of a line: more than the longest message with its command, so that a message that is a little too
long gets the answer for that."""

MAX_WAITING = 256
"""Messages for a member that does not read, besides some 100 KiB in the kernel and the transport."""

MAX_WAITING_BYTES = 65_536

MAX_STALL = 60.0
"""Seconds from the first skipped message until a member that still does not read is removed."""


@implementer(IPushProducer)
class ChatLines(Protocol):
    """Connection of one member, or of a peer that has not sent a name yet."""

    transport: ITransport
    _telnet: Telnet

    _entrance: Entrance

    def __init__(self, hub: Hub, clock: IReactorTime, accounts: Accounts | None = None) -> None:
        self._hub = hub
        self._clock = clock
        self._accounts = accounts
        self._lines = Lines(LINE_LENGTH)
        self._queue = Queue(self._execute, hub.note_failure)
        self.mode = Mode()
        self._person: Person | None = None
        self._commands: Commands | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._waiting_messages = 0
        self._skipped = 0
        self._seen: int | None = None  # number of the message before the first one that was skipped
        self._stall: IDelayedCall | None = None
        self._paused = False
        self._closing = False

    @override
    def connectionMade(self) -> None:
        IConsumer(self.transport).registerProducer(self, True)
        self._telnet = Telnet(self.transport.write)
        host = getattr(self.transport.getPeer(), "host", "-")
        self._entrance = Entrance(
            self._hub, self._accounts, self, self.mode, host, self._write, self._enter, self._close
        )
        self._write("* welcome; your name?")

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        try:
            for line in self._lines.feed(self._telnet.feed(data)):
                if not self._queue.take(decoded(line)):
                    self._write(self.mode.refusal(ChatRefused("busy", "too much at once: dropped")))
                if self._closing:
                    return
        except FrameTooLong as error:
            self._close(f"* a line has at most {error.limit} bytes")

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._entrance.close()
        self._queue.clear()
        self._forget_waiting()
        if self._person is not None:
            self._hub.leave(self._person, "disconnected")

    def deliver(self, batch: Batch) -> None:
        """Show events to the member."""
        if batch.end is not None:
            self._close(*self.mode.lines(batch.end))
        elif not self._closing and (data := batch.encoded(FORMS[self.mode.numbers, self._telnet.line_end])):
            self._send(data, batch.events)

    def hand_over(self) -> None:
        """Close, as the person has gone on over another connection."""
        self._close(self.mode.refusal(ChatRefused("ended", "you are connected again elsewhere")))

    def pauseProducing(self) -> None:
        """Keep output, because the peer does not read."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Send the kept output, because the peer reads again."""
        self._paused = False
        waiting, skipped, seen = b"".join(self._waiting), self._skipped, self._seen
        self._forget_waiting()
        if waiting:
            self.transport.write(waiting)
        if skipped:
            again = "" if seen is None else f"; /since {seen} shows those that are kept"
            self._write(f"* {skipped} skipped{again}")

    def stopProducing(self) -> None:
        """Do nothing: `connectionLost` follows."""

    def _execute(self, line: str) -> Work | None:
        return (self._commands or self._entrance).execute(line)

    def _enter(self, person: Person) -> None:
        self._person = person
        self._commands = Commands(self._hub, self._accounts, person, self.mode, self._write, self._close)

    def _write(self, *lines: str) -> None:
        if lines and not self._closing:
            self._send(self._encoded(lines), lines)

    def _send(self, data: bytes, messages: Sequence[Event | str]) -> None:
        """Send messages in their form, keep them while the peer does not read, or skip them."""
        if not self._paused:
            self.transport.write(data)
            return
        kept = self._waiting_messages + len(messages)
        if self._skipped or kept > MAX_WAITING or self._waiting_bytes + len(data) > MAX_WAITING_BYTES:
            self._skip(messages)
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._waiting_messages = kept

    def _skip(self, messages: Sequence[Event | str]) -> None:
        self._skipped += len(messages)
        if self._seen is None:
            self._seen = next((said.number - 1 for said in _said(messages)), None)
        if self._stall is None:
            self._stall = self._clock.callLater(MAX_STALL, self._remove)

    def _remove(self) -> None:
        self._stall = None
        if self._person is not None:
            self._hub.leave(self._person, "too slow")
        self._close(f"* too slow: you have read nothing for {MAX_STALL:g} seconds")

    def _close(self, *last_words: str) -> None:
        if self._closing:
            return
        self._closing = True
        self._entrance.close()
        self._queue.clear()
        self._forget_waiting()
        IConsumer(self.transport).unregisterProducer()
        self.transport.write(self._encoded(last_words))
        self.transport.loseConnection()

    def _forget_waiting(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = self._waiting_messages = self._skipped = 0
        self._seen = None
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _encoded(self, lines: tuple[str, ...]) -> bytes:
        return encoded(lines, self._telnet.line_end)


def _said(messages: Iterable[Event | str]) -> Iterator[Said]:
    for each in messages:
        if isinstance(each, Said):
            yield each
        elif isinstance(each, Entered):
            yield from each.recent
