r"""Chat over UDP and UNIX datagrams, one datagram a message: for the clients of every socket tutorial.

An address that sends something takes part. Its first datagram is its name, if it can be one:

    client  ann                             or: /nick ann
    server  * you are ann in lobby; answer /here 5f3a9c01 to be shown all
    client  hello                           everybody in the lobby reads: <ann> hello
    server  <bob> hi ann                    bob may be here over TCP
    client  /quit

A first datagram that cannot be a name is said by a member `guest-7`; one whose name is taken becomes a
`guest-7` too. Later ones are messages or the commands `/join ROOM`, `/nick NAME`, `/who`, `/msg NAME TEXT`,
`/help` and `/quit`. An empty one says only: still here. White space at both ends does not count. Each
line of the server is a datagram that ends with LF; texts and refusals are those of `lines`. There is no
history. A UNIX socket that is not bound to a path has no address, cannot be answered and is ignored.

Whoever sends nothing for `silence` seconds is out of the chat. At most half of `max_members` are here by
datagram, so that forged addresses leave the other half to connections. When those places are taken, or
more than `NEWCOMERS` come within a second, newcomers are refused; no member has to make room for one. At
most that many refusals are sent; further newcomers get no answer.

The sender's address of a datagram may be forged, to have the chat flood somebody else. So an address is
sent little until it has shown that it receives: for each datagram three times its bytes, as RFC 9000,
8.1 has it, or the `WELCOME` bytes that it takes to tell how. `/here` and the code, which only who receives
can know, make it `CERTAIN_ALLOWANCE` for each datagram, and so does a UNIX socket. What goes beyond is not
sent; the next datagram is answered with how much that was. A forged address can still speak, and quit, in
the name of the one it stands for: that is UDP.
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
from sockd_plugins.chat.events import Entered, Event
from sockd_plugins.chat.hub import Hub, Member, Refused
from sockd_plugins.chat.pace import Pace
from sockd_plugins.chat.plain import act, notice, rendered

NEWCOMERS = 10
"""A second: each is announced to the whole room, and a forged one costs its sender next to nothing."""

NEWCOMERS_AT_ONCE = 50
"""After a quiet time: a class that begins."""

Address = tuple[str, int] | str | bytes
"""Of a UDP peer; or a path or an abstract name of a UNIX socket."""

WELCOME = 128
"""Bytes: the longest line that tells name, room and code."""

FACTOR = 3
"""Bytes for each byte that came from an address which may be forged."""

UNUSED_ALLOWANCE = 1024
"""Bytes that an address which may be forged can save up: it cannot be used for a flood later on."""

CERTAIN_ALLOWANCE = 16 * 1024
"""Bytes for each datagram: some 300 messages, a lively room for as long as `silence` may last. Also what a
member that vanished without a word costs whoever has its address next."""

REPLIES = Replies(factor=FACTOR, floor=CERTAIN_ALLOWANCE, unasked=True)
"""For the guard, which knows no `/here`: what a peer may be sent at most."""


class ChatDatagrams(DatagramProtocol):
    """One listener; its peers are among those of all listeners of the chat."""

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
    """An address that takes part in the chat.

    Args:
        send: sends a datagram to it.
        certain: whether the address is known to be the sender's.
    """

    member: Member
    """Since it was admitted."""

    def __init__(self, send: Callable[[bytes], None], certain: bool) -> None:
        self.heard_at = 0.0
        self._send = send
        self._certain = certain
        self._code = secrets.token_hex(4)
        self._allowance = 0
        self._missed = 0

    def heard(self, size: int, now: float) -> None:
        """A datagram of `size` bytes came from it, so it may be sent more."""
        self.heard_at = now
        if self._certain:
            self._allowance = CERTAIN_ALLOWANCE
        else:
            self._allowance = min(self._allowance + max(WELCOME, FACTOR * size), UNUSED_ALLOWANCE)
        if self._missed:
            missed, self._missed = self._missed, 0
            self.show(f"* {missed} not shown; {self._how_to_be_shown_all()}")

    def answers(self, text: str) -> bool:
        """Whether the text proves that it receives what it is sent."""
        if text != f"/here {self._code}":
            return False
        self._certain = True
        self._allowance = CERTAIN_ALLOWANCE
        return True

    def deliver(self, event: Event) -> None:
        """Show it what happened."""
        if isinstance(event, Entered):
            hint = "" if self._certain else f"; {self._how_to_be_shown_all()}"
            self.show(f"* you are {event.name} in {event.room}{hint}")
        else:
            self.show(*rendered(event))

    def show(self, *lines: str) -> None:
        """Send each line that is not empty, or count it as missed."""
        for line in filter(None, lines):
            data = f"{line}\n".encode()
            if len(data) > self._allowance:
                self._missed += 1
            else:
                self._allowance -= len(data)
                self._send(data)

    def _how_to_be_shown_all(self) -> str:
        return "send more often" if self._certain else f"answer /here {self._code} to be shown all"


class Peers:
    """Who takes part by datagram, over all listeners of the chat.

    Args:
        hub: the chat.
        clock: for the one timer that finds who is silent.
        places: how many there may be.
        silence: seconds without a datagram after which somebody is out.
    """

    def __init__(self, hub: Hub, clock: IReactorTime, places: int, silence: float) -> None:
        self._hub = hub
        self._clock = clock
        self._places = places
        self._silence = silence
        self._peers: dict[tuple[ChatDatagrams, Address], Peer] = {}  # the one heard last comes last
        self._sweep: IDelayedCall | None = None
        self._pace = Pace(NEWCOMERS, NEWCOMERS_AT_ONCE, clock.seconds)
        self._refusals = Pace(NEWCOMERS, NEWCOMERS_AT_ONCE, clock.seconds)
        self._guests = (f"guest-{number}" for number in count(1))

    def received(self, datagram: bytes, addr: Address, listener: ChatDatagrams) -> None:
        """Let a member do what the datagram says, or a newcomer in."""
        key = listener, addr
        text = decoded(datagram.strip())
        peer = self._peers.pop(key, None)
        if peer is not None:
            peer.heard(len(datagram), self._clock.seconds())
            known = peer.answers(text)
            peer.show("* you are shown all now" if known else act(self._hub, peer.member, text))
        elif not text or text == "/quit":
            return
        else:
            peer = Peer(partial(listener.send, addr), certain=not isinstance(addr, tuple))
            peer.heard(len(datagram), self._clock.seconds())
            try:
                peer.show(self._admit(peer, text))
            except Refused as refused:
                if self._refusals.allows_one():
                    peer.show(notice(refused))
                return
        if peer.member.room is not None:
            self._peers[key] = peer
            self._watch()

    def forget(self, listener: ChatDatagrams) -> None:
        """The listener is closed: all its peers are out."""
        for key in [key for key in self._peers if key[0] is listener]:
            self._drop(key, "disconnected")
        if not self._peers and self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _admit(self, peer: Peer, text: str) -> str:
        """Let a newcomer in and say what it is to be answered; `Refused` if there is no place for it."""
        if len(self._peers) >= self._places:
            raise Refused("the chat is full, for datagrams")
        if not self._pace.allows_one():
            raise Refused("too many newcomers, try again")
        name = text.removeprefix("/nick ").strip()
        try:
            peer.member = self._hub.enter(name, peer)
            return ""
        except Refused as refused:
            peer.member = self._hub.enter(self._guest_name(), peer)
            if name != text or self._hub.has(name):
                return notice(refused)
        return act(self._hub, peer.member, text)

    def _guest_name(self) -> str:
        return next(name for name in self._guests if not self._hub.has(name))

    def _watch(self) -> None:
        """Have a timer for whoever has been silent for the longest."""
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

    def _drop(self, key: tuple[ChatDatagrams, Address], reason: str) -> None:
        self._hub.leave(self._peers.pop(key).member, reason)
