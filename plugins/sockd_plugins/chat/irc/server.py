"""Server as IRC clients see it: its name, its bounds, and what its listeners share."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.interfaces import IReactorTime

from sockd.errors import ValueFault
from sockd.text import printable
from sockd_plugins.chat.accounts import Accounts
from sockd_plugins.chat.hub.charter import FLAGS, KEY, LIMIT, LISTS, MOST_LISTED, RANKS
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.moderation import MOST_CHANGES
from sockd_plugins.chat.hub.rules import Rules
from sockd_plugins.chat.irc.forms import Forms
from sockd_plugins.chat.irc.markers import Markers
from sockd_plugins.chat.irc.monitors import MAX_MONITORED, Monitors
from sockd_plugins.chat.irc.rounds import Rounds

PROGRAM = "sockd"
"""Name of the program. Its version helps those who look for an old one, and nobody else."""

MAX_NAME = 63
"""Characters of the server's name (RFC 2812, 2.3.1)."""

MAX_HISTORY = 200
"""Past messages that one request returns at most."""

MAX_ASKED = 10
"""People about whom one command may ask."""

MAX_TARGETS = 4
"""Rooms or people that one command may name, but for `JOIN` and `PART`, where they are as many as fit."""


_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(eq=False)
class Server:
    """Server of one chat.

    Attributes:
        name: source of its lines, and host of all people; the same on every machine and after each start.
        network: name of the network, in one word.
        motd: lines of the message of the day.
        accounts: those of the chat; None if there are none.
    """

    hub: Hub
    rules: Rules
    clock: IReactorTime
    name: str
    network: str
    motd: Sequence[str] = ()
    accounts: Accounts | None = None
    created: float = field(default_factory=time.time)
    forms: Forms = field(init=False)

    markers: Markers[Any] = field(init=False, default_factory=Markers)
    monitors: Monitors = field(init=False, default_factory=Monitors)
    rounds: Rounds = field(init=False)

    def __post_init__(self) -> None:
        self.forms = Forms(self.name, self.host_of)
        self.rounds = Rounds(self.clock)
        self.hub.people.watch(self.monitors.tell)

    def host_of(self, name: str) -> str:
        """Return the host that is shown of a person: the server's name for those who have none."""
        person = self.hub.find(name)
        return self.name if person is None or person.host == "-" else person.host

    @property
    def room_modes(self) -> str:
        """Letters of the modes of a room."""
        return "".join(sorted((*FLAGS, *LISTS, *RANKS, KEY, LIMIT)))

    @property
    def supported(self) -> list[str]:
        """Tokens of numeric 005."""
        rules = self.rules
        return [
            f"NETWORK={self.network}",
            "CASEMAPPING=ascii",
            "CHANTYPES=#",
            "PREFIX=(ov)@+",
            f"CHANMODES={''.join(LISTS)},{KEY},{LIMIT},{''.join(FLAGS)}",
            "EXCEPTS=e",
            "INVEX=I",
            f"MAXLIST={''.join(LISTS)}:{MOST_LISTED}",
            f"MODES={MOST_CHANGES}",
            f"NICKLEN={rules.name_length}",
            f"CHANNELLEN={rules.name_length + 1}",
            f"TOPICLEN={rules.message_length}",
            f"AWAYLEN={rules.message_length}",
            f"KICKLEN={rules.message_length}",
            f"TARGMAX=PRIVMSG:{MAX_TARGETS},NOTICE:{MAX_TARGETS},WHOIS:{MAX_ASKED},JOIN:,PART:,NAMES:,LIST:,KICK:1",
            f"MONITOR={MAX_MONITORED}",
            "UTF8ONLY",
            "SAFELIST",
            "CLIENTTAGDENY=*",
            "WHOX",
            f"CHATHISTORY={MAX_HISTORY}",
            "MSGREFTYPES=msgid,timestamp",
        ]


def default_name() -> str:
    """Return this machine's name, made fit for the source of a line."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname()).strip("-.")[:MAX_NAME] or "sockd"


def checked_name(name: str) -> str:
    """Return the name of a server, or "" as it is."""
    if name and (len(name) > MAX_NAME or not _NAME.fullmatch(name)):
        raise ValueFault(f"a host's name of at most {MAX_NAME} characters", printable(repr(name)))
    return name
