"""Conversation with a chat: names, rooms, the order of messages, and what happens after a break.

Free of sockets and screens: lines and times go in, lines for the server and things to show come out.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex

from sockd.cli.chat.gaps import Gaps
from sockd.cli.chat.outbox import AGAIN, MOST_TRIES, Item, Outbox, Outcome, typed
from sockd.cli.chat.stage import Stage
from sockd.cli.chat.surroundings import Surroundings
from sockd.cli.chat.view import View, Wishes
from sockd.cli.chat.wire import (
    Entered,
    Notice,
    Outside,
    Pong,
    Private,
    Redacted,
    Refused,
    Said,
    Skipped,
    Switched,
    meaning,
    read,
)

HEARTBEAT = {True: 30.0, False: 10.0}
"""Seconds of silence until the server is asked for its last message; over datagrams sooner."""

DEAD = 20.0
"""Seconds without any answer until a connection counts as lost."""

_ABOUT_NAMES = ("taken", "confusable", "bad_name", "login", "wrong_password", "not_tried")

_OF_CLIENT = ("/numbers", "/echo", "/key", "/ping")


class Session:
    """Conversation of one person with a chat.

    Args:
        wishes: name and room.
        stream: whether it goes over a connection.
        send: sends a line.
        view: shows things.

    Attributes:
        around: name, room and company of the person.
        failure: reason for which the conversation cannot go on; "" while it can.
        lost: whether the connection has to be given up, because it is dead.
    """

    def __init__(self, wishes: Wishes, stream: bool, send: Callable[[str], None], view: View) -> None:
        self.around = Surroundings(wishes.name)
        self.failure = ""
        self.lost = False
        self.stage = Stage.AWAY
        self.outbox = Outbox(send, stream)
        self._wishes = wishes
        self._wanted = wishes.room
        self._stream = stream
        self._send = send
        self._view = view
        self._gaps = Gaps(self.outbox, stream, self)
        self._suspect: Item | None = None  # message of which it is not known whether it has arrived
        self._key = token_hex(16)  # takes the name over from a connection that is dead
        self._been_in = False
        self._heard_at = self._named_at = 0.0
        self._introduced = 0  # datagrams sent with the name
        self._choosing = False  # whether the next line of the person is a name
        self._misnamed = False
        self._leaving = False
        self._now = 0.0

    @property
    def inside(self) -> bool:
        """True while the person is in the chat."""
        return self.stage is Stage.IN

    @property
    def over(self) -> bool:
        """True once the person has left."""
        return self.stage is Stage.OVER

    @property
    def pending(self) -> list[str]:
        """Messages that are not known to be stored, in their order."""
        suspect = [] if self._suspect is None else [self._suspect]
        return [item.text for item in (*suspect, *self.outbox.messages)]

    # The connection.

    def opened(self, now: float) -> None:
        """Begin on a new connection."""
        self._now = self._heard_at = now
        self.lost = False
        self.stage = Stage.GREETING if self._stream else Stage.NAMING
        self._introduced = 0
        if self._stream:  # a TLS server tells a plain client by its first bytes
            self._send("/numbers on")
            self._send("/echo on")
            self._send(f"/key {self._key}")
            if self._wanted:
                self._send(self._join())
        self._introduce()

    def closed(self) -> None:
        """Learn that the connection is away."""
        if self.stage is Stage.OVER:
            return
        self.stage = Stage.AWAY
        self._gaps.interrupt()
        self._doubt(self.outbox.disconnect())
        if self._leaving and self._wishes.asks:
            self.stage = Stage.OVER

    def tick(self, now: float) -> None:
        """Do what is due; called about twice a second."""
        self._now = now
        if self.stage is Stage.NAMING and not self._stream and now - self._named_at >= AGAIN:
            self._introduce()
        if self.stage is Stage.GREETING and now - self._heard_at > DEAD:
            self._fail("no chat answers there")
        if self.stage is not Stage.IN:
            return
        if self.outbox.tick(now):
            self._doubt(self.outbox.doubt())
            self._gaps.look(self._now)
        current = self.outbox.current
        if self._stream and current is not None and now - max(current.sent_at, self._heard_at) > DEAD:
            self.lost = True
        if self.outbox.idle and now - self._heard_at > HEARTBEAT[self._stream]:
            self._heard_at = now
            self._gaps.look(self._now)
        self._leave_if_done()

    # The person.

    def typed(self, line: str, now: float) -> None:
        """Take a line of the person; after `/quit` none."""
        self._now = now
        command = line.split(" ", 1)[0].lower()
        if self._leaving or not line.strip():
            return
        if command == "/quit":
            self.leave(now)
        elif self.stage is Stage.NAMING and self._choosing:
            self._choose(line)
        elif command in _OF_CLIENT:
            self._view.refused("of_client", f"{command} is what this client itself uses")
        else:
            self.outbox.add(typed(line, self._unless_known(line)), now)

    def _choose(self, line: str) -> None:
        """Try another name, or log in to the account that the name belongs to."""
        command, _, words = line.partition(" ")
        if command.lower() == "/login":
            self.around.name = words.split(" ")[0]
            self._send(line)
        else:
            self.around.name = words.strip() if command.lower() == "/nick" else line.strip()
            self._introduce()

    def before(self, number: int, count: int, over: Callable[[], None]) -> bool:
        """Ask for older messages than `number`; return False if there is no way to, or nothing older."""
        return self.stage is Stage.IN and self._gaps.ask_older(number, count, self._now, over)

    def leave(self, now: float) -> None:
        """Leave the chat, once all lines are answered."""
        self._now = now
        self._leaving = True
        done = self._been_in and self.outbox.idle and self._suspect is None
        if self.stage is not Stage.IN and (self._wishes.asks or done):
            self.stage = Stage.OVER
        self._leave_if_done()

    # The server.

    def received(self, line: str, now: float) -> None:
        """Take a line of the server, which is printable already."""
        self._now = self._heard_at = now
        if self.failure or self.over:
            return
        if self.stage is Stage.GREETING:
            self._greeted(line)
            return
        match read(line):
            case Said() as said if said.number:  # others are from before `/numbers on`, and asked for later
                self._said(said)
            case Private() as private:
                if private.name == "you":
                    self.outbox.echoed(now)
                self._view.told(private)
            case Refused(code, text):
                self._refused(code, text)
            case Notice(text):
                self._notice(text)
        self._leave_if_done()

    def _greeted(self, line: str) -> None:
        if not line.startswith("* welcome"):
            self._fail(line.removeprefix("* "))
            return
        self.stage = Stage.NAMING

    def _introduce(self) -> None:
        self._named_at = self._now
        if not self._stream:
            self._introduced += 1
            if self._introduced > MOST_TRIES:
                self.lost = True
                return
        if self._wishes.password and self._stream:
            self._send(f"/login {self.around.name} {self._wishes.password}")
        else:
            self._send(f"/nick {self.around.name}")

    def _said(self, said: Said) -> None:
        older, is_new = self._gaps.is_older(said), self._gaps.is_new(said)
        if older or (not is_new and self.outbox.rereads):
            self._view.said(said, own=self.around.is_own(said.name) and older, old=older)
            return
        if is_new and self.around.is_own(said.name):
            if self._suspect is not None:
                self._suspect.over("done", None)
                self._suspect = None
            else:
                self.outbox.echoed(self._now)
        self.around.people.add(said.name)
        self._gaps.take(said, self._now)

    def _refused(self, code: str, text: str) -> None:
        if code == "ended":
            self._view.note(text)
            self.lost = True
        elif self.stage is Stage.NAMING:
            self._name_refused(code, text)
        elif self.outbox.refused(code, self._now):
            self._view.refused(code, text)

    def _name_refused(self, code: str, text: str) -> None:
        if self._been_in and code in ("taken", "full", "too_fast", "closed"):  # perhaps not for long
            self._view.note(text)
            self.lost = True
        elif self._wishes.asks and code in _ABOUT_NAMES:
            self._choosing = True
            self._view.refused(code, f"{text}; type another name")
        else:
            self._fail(text)

    def _notice(self, text: str) -> None:
        told = meaning(text)
        match told:
            case Entered() as entered:
                self._entered(entered, text)
                return
            case Pong() as pong:
                self.outbox.ponged(pong, self._now)
                return
            case Outside():
                self.lost = True
                return
            case Switched():
                return
            case Skipped(code):
                self._skipped(code)
                return
            case Redacted(room, number):
                self._view.redacted(room, number)
        self.around.learn(told)
        if self.inside and not self.around.room:  # an operator has removed the person
            self._wanted = ""
        if self._misnamed:
            self._fail(text)
        elif self.stage is Stage.IN:
            self._view.note(text)

    def _entered(self, entered: Entered, text: str) -> None:
        returning = self.stage is Stage.NAMING and self._been_in and entered.room == self.around.room
        first = self.stage is not Stage.IN
        wanted = self.around.name
        self.around.enter(entered)
        self.stage = Stage.IN
        self._choosing = False
        self._misnamed = first and not self._been_in and self._is_strange(entered.name)
        was_in, self._been_in = self._been_in, True
        self._view.note("connected again" if returning else text.partition("; answer /here")[0])
        if first:
            self.outbox.connect()
            if not self._stream:
                self._set_up(entered, wanted if was_in else entered.name)
        self._gaps.enter(self.around.room, self._now)

    def _set_up(self, entered: Entered, name: str) -> None:
        """Send what a connection sends before its name."""
        here = [f"/here {entered.code}"] if entered.code else []
        login = [f"/login {self._wishes.name} {self._wishes.password}"] if self._wishes.password else []
        join = self._wanted and self._wanted.lower() != entered.room.lower()
        room = [self._join()] if join else []
        nick = [f"/nick {name}"] if name.lower() != entered.name.lower() else []
        key = f"/key {self._key}"
        for line in (*here, "/numbers on", "/echo on", key, *login, *nick, *room):
            self.outbox.add(Item(line, quiet=True), self._now)

    def _join(self) -> str:
        key = self._wishes.key if self._wanted == self._wishes.room else ""
        return f"/join {self._wanted} {key}".rstrip()

    def _skipped(self, code: str) -> None:
        if code:
            self.outbox.add(Item(f"/here {code}", quiet=True), self._now)
        self._gaps.look(self._now)

    # The messages.

    def show(self, messages: list[Said]) -> None:
        """Show messages, which are in order."""
        for said in messages:
            self._view.said(said, own=self.around.is_own(said.name), old=False)

    def lack(self, count: int) -> None:
        """Tell that messages cannot be had."""
        self._view.note(f"{count} messages are not shown")

    def count_anew(self) -> None:
        """Tell that the numbers of messages begin anew."""
        self._view.note("the server counts its messages anew")

    def despair(self) -> None:
        """Give the connection up, because there is no answer."""
        self.lost = self.lost or self.stage is Stage.IN

    def settle(self) -> None:
        """Go on with the person's lines, as it is known now what has arrived."""
        self._wanted = self.around.room
        if self._suspect is not None:
            self.outbox.put_back(self._suspect)
            self._suspect = None
        self.outbox.open(self._now)

    def _doubt(self, item: Item | None) -> None:
        if item is None:
            return
        if item.private or item.tries >= MOST_TRIES:
            item.over("unknown", None)
        else:
            self._suspect = item

    def _unless_known(self, line: str) -> Callable[[Outcome, Pong | None], None]:
        def over(outcome: Outcome, _pong: Pong | None) -> None:
            if outcome == "unknown":
                self._view.unknown(line)

        return over

    # The end.

    def _leave_if_done(self) -> None:
        if self._leaving and self.stage is Stage.IN and self.outbox.idle and self._suspect is None:
            self._send("/quit")
            self.stage = Stage.OVER

    def _fail(self, why: str) -> None:
        """End, because the conversation cannot go on."""
        if not self.failure:
            self.failure = why
            self.outbox.disconnect()
            if not self._stream:
                self._send("/quit")

    def _is_strange(self, name: str) -> bool:
        """Tell whether a script has got a name that it did not ask for."""
        return not (self._wishes.asks or self._wishes.password) and name.lower() != self._wishes.name.lower()
