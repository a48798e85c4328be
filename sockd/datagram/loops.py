"""Guard against endless exchanges with other services (CVE-1999-0103, CVE-2024-2169).

One forged datagram can make two services answer each other for ever. Services of sockd never answer an
answer: `unicast` and `local` recognize it. A service of another program looks like a client that waits for
each answer before it asks again, with one difference: a service sends nothing unless it has received
something. So a peer that may be a service gets no answer until it has sent a datagram that answers nothing.
`docs/datagrams.md` has the rule with its proof.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from sockd.datagram.wire import Address

PLAIN, WATCHED, OWN, PRIVILEGED = range(4)
"""Kinds of source ports: of a client; possibly of a service; of this daemon; well-known."""

FIRST_UNPRIVILEGED_PORT, FIRST_DYNAMIC_PORT, PORTS = 1024, 32_768, 65_536
"""Limits of port ranges. Clients get dynamic ports (Linux: 32768 to 60999, RFC 6335: from 49152 on)."""

FIRST_BUDGET = 64.0
"""Datagrams in a row that each followed an answer and had no new content; then a watched peer is on trial."""

NEW = 2.0**-14
"""Budget that a datagram with new content uses; a million of them use up the first budget."""

REMEMBERED = 64
"""Contents of datagrams, in both directions, kept for each peer to recognize new ones."""

SILENCE = 2.0
"""Seconds after the last answer; a later datagram was not caused by it, because no service is so slow."""

MOST_IN_FLIGHT = 16
"""Datagrams that a loop may have in flight in the first trial; twice as many in each further one."""

NEXT_BUDGET, GROWTH, LARGEST_BUDGET = 1000.0, 16, 1e9
"""Budget of a peer that has passed a trial; a peer that passes by more datagrams than can be in flight gets
`GROWTH` times more with each trial."""

LOOK_EVERY = 61
"""Datagrams of a port of which one is checked. A prime, so that peers that take turns do not escape."""

MOST_REPEATS = 2**20 // LOOK_EVERY
"""Checks in a row that found the same content, in a million datagrams; after them the peer is watched."""

SOON = 5.0
"""Seconds until the next check at most. A peer that sends less often is never watched."""

MOST_PEERS = 4096
"""Peers that are kept at once, in each table."""


class _Watched:
    """State of one watched peer."""

    __slots__ = ("answered", "answered_at", "left", "muted", "recent", "trials", "unanswered")

    def __init__(self) -> None:
        self.left = FIRST_BUDGET
        self.answered = 0  # answers since its last datagrams
        self.answered_at = 0.0
        self.muted = False
        self.trials = self.unanswered = 0
        self.recent: deque[int] = deque(maxlen=REMEMBERED)


class Loops:
    """Peers that may be services, for all datagram ports of a process.

    Args:
        seconds: a monotonic clock.

    Attributes:
        kinds: the kind of each source port.
        local: addresses of UNIX sockets that are watched.
    """

    __slots__ = ("_own", "_peers", "_seconds", "_seen", "kinds", "local")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._own: set[int] = set()
        self._peers: dict[Address, _Watched] = {}
        self._seen: dict[Address, tuple[int, float, int]] = {}  # content, time and repeats of the last check
        self.local: set[Address] = set()
        self.kinds = bytearray(PORTS)
        for port in range(FIRST_DYNAMIC_PORT):
            self.kinds[port] = _kind(port)

    def know_own(self, ports: Iterable[int]) -> None:
        """Set the ports on which the daemon itself receives datagrams, in any of its processes."""
        for port in self._own:
            self.kinds[port] = _kind(port)
        self._own = set(ports)
        for port in self._own:
            self.kinds[port] = OWN

    def look(self, peer: Address, datagram: bytes) -> None:
        """Check one datagram of many; a peer that repeats itself for too long is watched from now on."""
        now, content = self._seconds(), hash(datagram)
        before, at, repeats = self._seen.get(peer, (0, 0.0, 0))
        repeats = repeats + 1 if content == before and now - at < SOON else 0
        if repeats >= MOST_REPEATS:
            del self._seen[peer]
            self._watch(peer)
            return
        if len(self._seen) >= MOST_PEERS and peer not in self._seen:
            self._seen.clear()  # a peer that sends without end is soon in the table again
        self._seen[peer] = content, now, repeats

    def watches(self, peer: Address) -> bool:
        """Tell whether a peer may be a service."""
        return self.kinds[peer[1]] == WATCHED if type(peer) is tuple else peer in self.local

    def heard(self, peer: Address, datagram: bytes) -> None:
        """Note a datagram from a watched peer."""
        known = self._peers.get(peer)
        if known is None:
            if len(self._peers) >= MOST_PEERS:
                del self._peers[next(iter(self._peers))]
            known = self._peers[peer] = _Watched()
        content = hash(datagram)
        new = content not in known.recent
        known.recent.append(content)
        if known.muted:
            known.unanswered += 1
            self._try(known)
        elif known.answered:
            known.answered -= 1
            if known.answered >= MOST_IN_FLIGHT or self._seconds() - known.answered_at >= SILENCE:
                # A service would have answered all of them, and at once.
                known.answered, known.left = 0, max(known.left, FIRST_BUDGET)
                return
            known.left -= NEW if new else 1
            if known.left <= 0:
                known.muted, known.unanswered = True, 1
                known.trials += 1

    def may_answer(self, peer: Address, answer: bytes) -> bool:
        """Tell whether a watched peer may be sent an answer, and count it as sent."""
        known = self._peers.get(peer)
        if known is None:  # dropped for other peers; it is heard again before it is answered again
            return True
        if known.muted:
            return False
        known.answered += 1
        known.answered_at = self._seconds()
        known.recent.append(hash(bytes(answer)))
        return True

    def _try(self, known: _Watched) -> None:
        """Give a muted peer a new budget, if it has sent a datagram that no answer can have caused."""
        budget = NEXT_BUDGET
        if known.unanswered > MOST_IN_FLIGHT << (known.trials - 1):
            budget *= GROWTH ** (known.trials - 1)
        elif self._seconds() - known.answered_at < SILENCE:
            return
        known.muted = False
        known.left = min(budget, LARGEST_BUDGET)

    def _watch(self, peer: Address) -> None:
        if type(peer) is not tuple:
            if len(self.local) >= MOST_PEERS:
                self.local.clear()
            self.local.add(peer)
        elif self.kinds[peer[1]] == PLAIN:
            self.kinds[peer[1]] = WATCHED


def _kind(port: int) -> int:
    if port < FIRST_UNPRIVILEGED_PORT:
        return PRIVILEGED
    return WATCHED if port < FIRST_DYNAMIC_PORT else PLAIN
