r"""Chat over UDP and UNIX datagrams, one datagram a message: for the clients of every socket tutorial.

An address that sends something takes part. Its first datagram is its name, if it can be one:

    client  ann                             or: /nick ann
    server  * you are ann in lobby; answer /here 5f3a9c01 to be shown all
    client  hello                           everybody in the lobby reads: <ann> hello
    server  <bob> hi ann                    bob may be connected over TCP
    client  /quit

A first datagram that cannot be a name is said by a member `guest-7`; one whose name is taken becomes a
`guest-7` too. Later ones are messages or the commands `/join ROOM`, `/nick NAME`, `/who`, `/msg NAME TEXT`,
`/since NUMBER`, `/help` and `/quit`. An empty datagram only keeps the member in the chat. White space at both
ends is ignored. Each line of the server is a datagram that ends with LF; texts and refusals are those of
`lines`. What was said before is shown to those who ask for it with `/since 0`. A UNIX socket that is not
bound to a path has no address, cannot be answered and is ignored.

A member that sends nothing for `silence` seconds is removed. At most half of `max_members` take part by
datagram, so that forged addresses leave the other half to connections. When those places are taken, or more
than `NEWCOMERS` come within a second, newcomers are refused; no member is removed for a newcomer. At most as
many refusals are sent per second; further newcomers get no answer.

The sender's address of a datagram may be forged, to have the chat flood another host. So an address is sent
little until it has shown that it receives: for each datagram three times its bytes (RFC 9000, 8.1), or the
`WELCOME` bytes of the line that tells how. Only the receiver knows the code of `/here`; with it each datagram
allows `CERTAIN_ALLOWANCE` bytes, as for every UNIX socket. Output beyond that is not sent; the answer to the
next datagram tells how much. A forged address can still speak and quit as the member of that address: UDP
has no protection against it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from itertools import count

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from typing_extensions import override

from sockd.plugin import Replies
from sockd.text import decoded
from sockd_plugins.chat.accounts import Accounts
from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.events import Entered
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Person
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.terminal.commands import Commands
from sockd_plugins.chat.terminal.forms import FORMS, Mode
from sockd_plugins.chat.terminal.queue import Queue
from sockd_plugins.token_bucket import TokenBucket

NEWCOMERS = 10
"""Newcomers per second: each is announced to the whole room, and a forged one costs its sender little."""

NEWCOMERS_AT_ONCE = 50
"""Newcomers at once after a quiet time, such as a school class."""

Address = tuple[str, int] | str | bytes
"""Address of a UDP peer; or a path or an abstract name of a UNIX socket."""

WELCOME = 128
"""Bytes of the longest line that tells name, room and code."""

FACTOR = 3
"""Bytes for each byte from an address that may be forged."""

UNUSED_ALLOWANCE = 1024
"""Bytes that an unverified address can save up at most, so that it cannot be used for a flood later."""

CERTAIN_ALLOWANCE = 16 * 1024
"""Bytes for each datagram: some 300 messages, enough for a lively room during `silence`. The next owner of
an address gets at most as many of a member that has vanished."""

ONLY_FOR_MEMBERS = ("/say", "/me", "/msg", "/ping", "/here", "/again")
"""Commands that make no newcomer: they come from a member that the chat does not know any more."""

OUTSIDE = b"* you are not in the chat; your name lets you in\n"
"""Answer to them, so that the member comes again."""

REPLIES = Replies(factor=FACTOR, floor=CERTAIN_ALLOWANCE, unasked=True)
"""Bound for the guard of datagrams, which does not know `/here`."""


class ChatDatagrams(DatagramProtocol):
    """Listener of the chat; its peers belong to the peers of all listeners of the chat."""

    noisy = False

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    @override
    def datagramReceived(self, datagram: bytes, addr: Address | None) -> None:
        if addr is not None:
            self._peers.received(datagram, addr, self)

    @override
    def stopProtocol(self) -> None:
        self._peers.forget(self)

    def send(self, addr: Address, data: bytes) -> None:
        """Send a datagram, unless the listener is closed."""
        if self.transport is not None:
            self.transport.write(data, addr)  # type: ignore[arg-type]  # a path, over UNIX sockets


class Peer:
    """Address that takes part in the chat.

    Args:
        send: sends a datagram to it.
        certain: whether the address is known to be the sender's.
    """

    person: Person
    """Person in the hub; set when it is admitted."""

    queue: Queue
    """What it writes; set when it is admitted."""

    misnamed: str = ""
    """Refusal of the name that it wanted, shown once it is in the chat with another."""

    def __init__(self, send: Callable[[bytes], None], certain: bool) -> None:
        self.heard_at = 0.0
        self.mode = Mode()
        self._send = send
        self._certain = certain
        self._code = secrets.token_hex(4)
        self._allowance = 0
        self._missed = 0

    def heard(self, size: int, now: float) -> None:
        """Allow more output, because a datagram of `size` bytes has come."""
        self.heard_at = now
        if self._certain:
            self._allowance = CERTAIN_ALLOWANCE
        else:
            self._allowance = min(self._allowance + max(WELCOME, FACTOR * size), UNUSED_ALLOWANCE)
        if self._missed:
            missed, self._missed = self._missed, 0
            self.show(f"* {missed} not shown; {self._how_to_be_shown_all()}")

    def take(self, text: str) -> None:
        """Execute what the member writes."""
        if not self.queue.take(text):
            self.show(self.mode.refusal(ChatRefused("busy", "too much at once: dropped")))

    def hand_over(self) -> None:
        """Tell that the person has gone on from another address."""
        self.show(self.mode.refusal(ChatRefused("ended", "you are connected again elsewhere")))

    def answers(self, text: str) -> bool:
        """Tell whether the text proves that the address receives what it is sent."""
        if text != f"/here {self._code}":
            return False
        self._certain = True
        self._allowance = CERTAIN_ALLOWANCE
        return True

    def deliver(self, batch: Batch) -> None:
        """Show events to the member; what was said before is shown to those who ask for it."""
        parts = batch.parts(FORMS[self.mode.numbers, b"\n"])
        for event, data in zip(batch.events, parts, strict=True):
            if isinstance(event, Entered):
                hint = "" if self._certain else f"; {self._how_to_be_shown_all()}"
                self.show(f"* you are {event.name} in {event.room}{hint}", self.misnamed)
                self.misnamed = ""
            elif data:
                self._show(data)

    def show(self, *lines: str) -> None:
        """Send each line that is not empty, or count it as missed."""
        for line in filter(None, lines):
            self._show(f"{line}\n".encode())

    def _show(self, data: bytes) -> None:
        if len(data) > self._allowance:
            self._missed += 1
        else:
            self._allowance -= len(data)
            self._send(data)

    def _how_to_be_shown_all(self) -> str:
        return "send more often" if self._certain else f"answer /here {self._code} to be shown all"


Key = tuple[ChatDatagrams, Address]
"""Listener, and the address of a member there."""


class Peers:
    """Members by datagram, over all listeners of the chat.

    Args:
        hub: the chat.
        clock: for the one timer that finds silent members.
        places: members at most.
        silence: seconds without a datagram after which a member is removed.
        accounts: those of the chat; None if there are none.
    """

    def __init__(
        self,
        hub: Hub,
        clock: IReactorTime,
        places: int,
        silence: float,
        accounts: Accounts | None = None,
    ) -> None:
        self._hub = hub
        self._accounts = accounts
        self._clock = clock
        self._places = places
        self._silence = silence
        self._peers: dict[Key, Peer] = {}  # the one heard last comes last
        self._sweep: IDelayedCall | None = None
        self._newcomers = TokenBucket(NEWCOMERS, NEWCOMERS_AT_ONCE, clock.seconds)
        self._refusals = TokenBucket(NEWCOMERS, NEWCOMERS_AT_ONCE, clock.seconds)
        self._guests = (f"guest-{number}" for number in count(1))

    def received(self, datagram: bytes, addr: Address, listener: ChatDatagrams) -> None:
        """Act on a datagram of a member, or admit a newcomer."""
        key = listener, addr
        text = decoded(datagram.strip())
        peer = self._peers.pop(key, None)
        if peer is not None:
            peer.heard(len(datagram), self._clock.seconds())
            if peer.answers(text):
                peer.show("* you are shown all now")
            else:
                peer.take(text)
        elif not text or text == "/quit":
            return
        elif text.split()[0].lower() in ONLY_FOR_MEMBERS:
            if self._refusals.take():
                listener.send(addr, OUTSIDE)
            return
        else:
            peer = Peer(partial(listener.send, addr), certain=not isinstance(addr, tuple))
            peer.heard(len(datagram), self._clock.seconds())
            try:
                self._admit(peer, text, key)
            except ChatRefused as refused:
                if self._refusals.take():
                    peer.show(peer.mode.refusal(refused))
                return
        if not peer.person.gone:
            self._peers[key] = peer
            self._watch()

    def forget(self, listener: ChatDatagrams) -> None:
        """Remove all peers of a closed listener."""
        for key in [key for key in self._peers if key[0] is listener]:
            self._drop(key, "disconnected")
        if not self._peers and self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _admit(self, peer: Peer, text: str, key: Key) -> None:
        """Admit a newcomer and show it the answer; raise `ChatRefused` if there is no place."""
        if len(self._peers) >= self._places:
            raise ChatRefused("full", "the chat is full, for datagrams")
        if not self._newcomers.take():
            raise ChatRefused("too_fast", "too many newcomers, try again")
        name = text.removeprefix("/nick ").strip()
        try:
            self._enter(peer, name, key)
        except ChatRefused as refused:
            is_said = name == text and self._hub.find(name) is None
            peer.misnamed = "" if is_said else peer.mode.refusal(refused)
            self._enter(peer, self._guest_name(), key)
            if is_said:
                peer.take(text)

    def _enter(self, peer: Peer, name: str, key: Key) -> None:
        host = str(key[1][0]) if isinstance(key[1], tuple) else "-"
        person = peer.person = self._hub.enter(name, peer, room=self._hub.first_room, host=host)

        def left() -> None:
            peer.queue.clear()
            self._peers.pop(key, None)

        commands = Commands(self._hub, self._accounts, person, peer.mode, peer.show, left)
        peer.queue = Queue(commands.execute, self._hub.note_failure)

    def _guest_name(self) -> str:
        return next(name for name in self._guests if self._hub.find(name) is None)

    def _watch(self) -> None:
        """Set the timer for the member that has been silent for the longest."""
        if self._peers and self._sweep is None:
            oldest = next(iter(self._peers.values()))
            due = oldest.heard_at + self._silence - self._clock.seconds()
            self._sweep = self._clock.callLater(max(0.0, due), self._drop_silent)

    def _drop_silent(self) -> None:
        self._sweep = None
        limit = self._clock.seconds() - self._silence
        for key, peer in list(self._peers.items()):
            if peer.heard_at > limit:
                break
            peer.show("* you were silent for too long and are out of the chat")
            self._drop(key, "silent")
        self._watch()

    def _drop(self, key: Key, reason: str) -> None:
        self._hub.leave(self._peers.pop(key).person, reason)
