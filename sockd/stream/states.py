"""States of a connection's life, and the events that lead from one to the next.

Two rules hold here. The table is all that there is: `connection.py` changes its state by a look-up in
`AFTER` and in no other way, and an event that a state does not list has no effect in it. And the table holds
only what lasts for the life of a connection; whether data passes at the moment (a paused plugin, a limit, a
slow peer) is not part of it.

Each side of a stream ends by itself (half-close, RFC 9293, 3.6), so there are more states than open and
closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

State = Literal[
    "new",  # the reactor's side is not open yet
    "open",
    "peer ended",  # the peer has ended its side; the plugin may still write
    "ending",  # our side ends once everything is sent; the peer may go on
    "ended",  # our side has ended; the peer may go on
    "both ending",  # as "ending", and the peer has ended its side
    "both ended",
    "closing",  # our side ends once everything is sent; what the peer still sends is dropped
    "leaving",  # as "closing", and the peer has ended its side: the transport closes by itself
    "closed",  # our side has ended, and nobody wants to hear the peer: the socket lingers
    "aborted",  # everything is dropped
    "over",
]

Event = Literal[
    "made",  # the reactor's side is open
    "peer ends",  # its side: no more comes
    "end",  # our side is to end once everything is sent
    "sent",  # everything, and the end of our side with it
    "close",  # both sides are to end once everything is sent
    "abort",
    "lost",  # the transport is gone, or is not the connection's any more
]

AFTER: Final[Mapping[State, Mapping[Event, State]]] = {
    "new": {"made": "open"},
    "open": {
        "peer ends": "peer ended",
        "end": "ending",
        "close": "closing",
        "abort": "aborted",
        "lost": "over",
    },
    "peer ended": {"end": "both ending", "close": "leaving", "abort": "aborted", "lost": "over"},
    "ending": {
        "peer ends": "both ending",
        "end": "ending",
        "sent": "ended",
        "close": "closing",
        "abort": "aborted",
        "lost": "over",
    },
    "ended": {"peer ends": "both ended", "close": "closed", "abort": "aborted", "lost": "over"},
    "both ending": {
        "end": "both ending",
        "sent": "both ended",
        "close": "leaving",
        "abort": "aborted",
        "lost": "over",
    },
    "both ended": {"close": "leaving", "abort": "aborted", "lost": "over"},
    "closing": {"peer ends": "leaving", "sent": "closed", "abort": "aborted", "lost": "over"},
    "leaving": {"sent": "leaving", "abort": "aborted", "lost": "over"},
    "closed": {"abort": "aborted", "lost": "over"},
    "aborted": {"abort": "aborted", "lost": "over"},
    "over": {},
}
"""The state that follows each event, for each state."""

READS: Final = frozenset[State]({"new", "open", "ending", "ended"})
"""States in which the plugin is handed what the peer sends."""

WRITES: Final = frozenset[State]({"open", "peer ended"})
"""States in which the end of our side was not asked for."""

CLOSES: Final = frozenset[State]({"closing", "leaving", "closed", "aborted", "over"})
"""States in which the end of both sides was asked for, or is there."""

SILENT: Final = frozenset[State]({"aborted", "over"})
"""States in which nothing passes in either direction."""
