"""Connection of one IRC client: its commands in, the answers and the events of its person out.

Commands are answered one after the other, at the pace that the chat allows: a client that is too fast waits,
and is not read from meanwhile. An answer that begins with an event, such as the entry into a room, is
complete once that event is delivered; only then the next command is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override

from sockd.framing import FrameTooLong, Lines
from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.events import Entered, Event, Said, Unsaid
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.irc import capabilities as cap
from sockd_plugins.chat.irc import numerics
from sockd_plugins.chat.irc.answers import labelled
from sockd_plugins.chat.irc.client import Client, Ending, Spoken
from sockd_plugins.chat.irc.commands import execute
from sockd_plugins.chat.irc.forms import encoded
from sockd_plugins.chat.irc.message import MAX_INPUT, MAX_LINE, InputTooLong, NotUtf8, parse
from sockd_plugins.chat.irc.output import Output, Skipped
from sockd_plugins.chat.irc.rounds import ROUND
from sockd_plugins.chat.irc.server import MAX_HISTORY, Server

REGISTRATION_TIME = 60.0
"""Seconds until a client has to have registered: some programs never do (`ii`, after 433)."""

QUIET_TIME = 90.0
"""Seconds without a line until a client is asked for a sign of life: some never notice a lost server."""

ANSWER_TIME = 60.0
"""Seconds for that sign; any line is one."""

_FOR_REGISTRATION = round(REGISTRATION_TIME / ROUND)
_UNTIL_ASKED = round(QUIET_TIME / ROUND)
_UNTIL_ENDED = round((QUIET_TIME + ANSWER_TIME) / ROUND)


class IrcConnection(Protocol):
    """Connection of one client.

    Args:
        server: the server.
        log: gets the failures of commands.
    """

    transport: ITransport

    def __init__(self, server: Server, log: Logger) -> None:
        self._server = server
        self._log = log
        self._lines = Lines(MAX_INPUT)
        self._answers: list[bytes] = []
        self._held: list[bytes] = []  # events that come before the answer to a labelled command is complete
        self._is_running = False  # whether a command is being carried out
        self._is_reading = False
        self._is_paused = False
        self._is_closed = False
        self._quiet = 0  # rounds since something came, or since the connection for a client without a name
        self._rest: IDelayedCall | None = None

    @override
    def connectionMade(self) -> None:
        clock = self._server.clock
        host = getattr(self.transport.getPeer(), "host", "-")
        self._client = Client(self._server, host, self)
        self._output = Output(self.transport, clock, self)
        self._server.rounds.add(self)

    @override
    def dataReceived(self, data: bytes) -> None:
        if self._client.is_present:
            self._quiet = 0
        self._read(data)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._release()
        self._client.leave("Connection closed")

    def deliver(self, batch: Batch) -> None:
        """Send events to the client."""
        if self._is_closed:
            return
        client = self._client
        if client.label or client.spoken or (client.expected and client.can(cap.READ_MARKER)):
            self._deliver_each(batch)
        else:
            if self._answers:
                self._flush()
            self._output.send_events(batch, client.form)
            if client.expected:
                for event in batch.events:
                    client.meets(event)
                self._finish()
        if batch.end is not None:
            self._close()

    def end(self, reason: str) -> None:
        """End the connection, and tell the client the reason."""
        if not self._is_closed:
            self._client.leave(reason)
            self._answers.append(encoded([*self._client.answer(), f"ERROR :Closing link: {reason}"]))
            self._close()

    def look(self) -> None:
        """End a client that does not register, or is gone without a word."""
        self._quiet += 1
        if not self._client.is_present:
            if self._quiet >= _FOR_REGISTRATION:
                self.end(f"you have not registered within {REGISTRATION_TIME:g} seconds")
        elif self._quiet == _UNTIL_ASKED:
            self._output.send(encoded([f"PING :{self._server.name}"]))
        elif self._quiet >= _UNTIL_ENDED:
            self.end(f"no sign of life for {QUIET_TIME + ANSWER_TIME:g} seconds")

    def tell(self, lines: list[str]) -> None:
        """Send lines that belong to no answer."""
        if not self._is_closed:
            self._answers.append(encoded(lines))
            if not self._is_reading:
                self._flush()

    def tell_skipped(self, room: str, skipped: Skipped) -> None:
        """Tell the client, which reads again, how much of a room it has missed."""
        after = f"CHATHISTORY AFTER #{room} msgid={room}/{skipped.first - 1} {MAX_HISTORY}"
        text = f"{skipped.count} skipped, because you did not read; {after} shows them"
        self.tell([f":{self._server.name} NOTICE #{room} :{text}"])

    def _read(self, data: bytes = b"") -> None:
        """Answer the commands that have come, until one has to be waited for."""
        if self._is_closed:
            return
        lines = self._lines.feed(data)
        if self._is_busy:
            return
        self._is_reading = True
        try:
            for line in lines:
                self._answer(line)
                if self._is_closed or self._is_busy or self._rests():
                    break
        except FrameTooLong as error:
            self.end(f"a line has at most {error.limit} bytes")
        finally:
            self._is_reading = False
        if not self._is_closed:
            self._flush()
            self._let_come()

    def _go_on(self) -> None:
        if not self._is_reading:
            self._read()

    @property
    def _is_busy(self) -> bool:
        return self._is_running or self._rest is not None or bool(self._client.expected)

    def _rests(self) -> bool:
        """Tell whether the client has to wait for its next command, and go on when it may."""
        delay = self._client.pace.wait()
        if delay:
            self._rest = self._server.clock.callLater(delay, self._rested)
        return delay > 0

    def _rested(self) -> None:
        self._rest = None
        self._go_on()

    def _let_come(self) -> None:
        """Read from the client only while its commands are answered."""
        if self._is_busy != self._is_paused:
            self._is_paused = self._is_busy
            producer = IPushProducer(self.transport)
            if self._is_paused:
                producer.pauseProducing()
            else:
                producer.resumeProducing()

    def _answer(self, line: bytes) -> None:
        client = self._client
        task: Awaitable[None] | None = None
        try:
            message = parse(line)
            if message is None:
                return
            task = execute(client, message)
        except InputTooLong:
            client.numeric(numerics.INPUT_TOO_LONG, text=f"Input line was too long: at most {MAX_LINE} bytes")
        except NotUtf8 as error:
            client.fail(error.command, "INVALID_UTF8", text="not sent: text has to be UTF-8 here")
        except Ending as ending:
            self.end(str(ending))
            return
        if task is not None:
            self._is_running = True
            ensureDeferred(self._carry_out(task))
        else:
            self._finish()

    async def _carry_out(self, task: Awaitable[None]) -> None:
        try:
            await task
        except Ending as ending:
            self.end(str(ending))
        except ChatRefused as refused:
            self._client.refuse(refused)
        except Exception:  # a fault of one command is no reason to end the others
            if not self._is_closed:
                self._log.failure("irc command failed")
                self._client.numeric(numerics.UNKNOWN_ERROR, text="the server has failed to do that")
        self._is_running = False
        self._finish()

    def _finish(self) -> None:
        """Send the answer to a command if it is complete, and let the next one come."""
        client = self._client
        if self._is_closed or self._is_running or client.expected:
            return
        lines = client.answer()
        data = encoded(lines) if lines else b""
        client.pace.count(len(data))
        if data:
            client.hub.settle()  # events that came before the answer
            self._answers.append(data)
        if self._held:
            self._answers += self._held
            self._held = []
        if not self._is_reading:
            self._flush()
            self._server.clock.callLater(0, self._go_on)  # not inside a delivery

    def _deliver_each(self, batch: Batch) -> None:
        """Send events one by one: some belong to answers, which have a label or more lines than others."""
        client = self._client
        for event in batch.events:
            if client.meets(event):
                lines = client.entry(event) if isinstance(event, Entered) else client.form.lines(event)
                if client.label:
                    client.lines += lines
                else:
                    self._answers.append(encoded(lines))
                self._finish()
            elif (spoken := self._spoken(event)) is not None:
                lines = labelled(self._server.name, spoken.label, client.form.lines(event))
                self._answers.append(encoded(lines))
            elif client.label and (client.expected or self._is_running):
                self._held.append(client.form(event))
            else:
                self._answers.append(client.form(event))
        self._flush()

    def _spoken(self, event: Event) -> Spoken | None:
        """Return what the client said if this is it."""
        if not isinstance(event, Said | Unsaid) or (
            isinstance(event, Said) and event.name != self._client.me
        ):
            return None
        for spoken in self._client.spoken:
            if (spoken.room, spoken.text) == (fold(event.room), event.text):
                self._client.spoken.remove(spoken)
                return spoken
        return None

    def _flush(self) -> None:
        if self._answers:
            answers, self._answers = self._answers, []
            self._output.send(b"".join(answers))

    def _close(self) -> None:
        self._is_closed = True
        self._release()
        self.transport.write(b"".join(self._answers))
        self._output.close()

    def _release(self) -> None:
        self._is_closed = True
        self._output.forget()
        self._server.rounds.remove(self)
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
