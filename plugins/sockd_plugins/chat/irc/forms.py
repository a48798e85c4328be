"""Events of a chat as lines of IRC, one form for all clients with the same capabilities.

A room `ops` is the channel `#ops`. The source of a person's lines is `name!name@host`, where the host is the
one that the hub shows of a person, or the server's name for people without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sockd_plugins.chat.hub.events import (
    AccountSet,
    AwaySet,
    Change,
    Ended,
    Entered,
    Event,
    Gone,
    Invited,
    Joined,
    Left,
    Marked,
    ModeSet,
    Parted,
    Present,
    Rank,
    Redacted,
    Removed,
    Renamed,
    Said,
    Told,
    Topic,
    TopicSet,
    Unsaid,
)
from sockd_plugins.chat.irc import capabilities as cap
from sockd_plugins.chat.irc.message import MAX_LINE, escaped
from sockd_plugins.chat.irc.text import action, pieces, spoken_time, timestamp, wrapped

_VERBS = {"said": "PRIVMSG", "action": "PRIVMSG", "notice": "NOTICE"}

PREFIXES: Mapping[Rank, str] = {"": "", "voice": "+", "operator": "@"}
"""Mark before a name, by its rank."""

HISTORY_BATCH = "history"
"""Reference of a batch of past messages. It is closed before anything else is sent."""


class IrcForm:
    """Form of events for clients with the same capabilities.

    Args:
        server: the server's name, the source of its own lines.
        host_of: returns the host that is shown of a person.
        capabilities: of those in `capabilities.IN_FORMS`.
    """

    __slots__ = (
        "_account_notify",
        "_account_tag",
        "_away_notify",
        "_batches",
        "_encoders",
        "_extended_join",
        "_host_of",
        "_ids",
        "_redactions",
        "_replays",
        "_server",
        "_times",
        "_userhosts",
    )

    def __init__(self, server: str, host_of: Callable[[str], str], capabilities: frozenset[str]) -> None:
        self._server = server
        self._host_of = host_of
        self._times = cap.SERVER_TIME in capabilities
        self._ids = cap.MESSAGE_TAGS in capabilities
        self._redactions = cap.REDACTION in capabilities
        self._account_tag = cap.ACCOUNT_TAG in capabilities
        self._account_notify = cap.ACCOUNT_NOTIFY in capabilities
        self._away_notify = cap.AWAY_NOTIFY in capabilities
        self._batches = cap.BATCH in capabilities and self._times
        self._replays = cap.CHAT_HISTORY not in capabilities
        self._extended_join = cap.EXTENDED_JOIN in capabilities
        self._userhosts = cap.USERHOST_IN_NAMES in capabilities
        self._encoders: dict[type, Callable[[Any], list[str]]] = {
            Said: self._said,
            Told: self._told,
            Unsaid: self._unsaid,
            Entered: self._entered,
            Parted: self._left,
            Joined: self._joined,
            Left: self._left,
            Gone: self._gone,
            Renamed: self._renamed,
            AccountSet: self._account_set,
            AwaySet: self._away_set,
            Removed: self._removed,
            TopicSet: self._topic_set,
            ModeSet: self._mode_set,
            Invited: self._invited,
            Redacted: self._redacted,
            Marked: self._marked,
            Ended: self._ended,
        }

    def __call__(self, event: Event) -> bytes:
        """Return an event as it is sent."""
        return encoded(self.lines(event))

    def lines(self, event: Event) -> list[str]:
        """Return the lines of an event."""
        return self._encoders[type(event)](event)

    def source(self, name: str) -> str:
        """Return the source of a person's lines."""
        return f"{name}!{name}@{self._host_of(name)}"

    def message(self, event: Said | Told, tags: Iterable[str] = (), opening: str = "") -> list[str]:
        """Return the lines of a message: more than one if its text is too long for a line.

        Args:
            event: the message.
            tags: further ones, for the first line.
            opening: put before the text.
        """
        target = f"#{event.room}" if isinstance(event, Said) else event.to
        head = f":{self.source(event.name)} {_VERBS[event.kind]} {target} :"
        room = MAX_LINE - len(head.encode()) - len(action(""))
        tagged = self._tagged(event, tags)
        lines = []
        for text in pieces(opening + event.text, room):
            lines.append(tagged + head + (action(text) if event.kind == "action" else text))
            tagged = self._tagged(event, (), first=False)
        return lines

    def past(self, messages: Iterable[Said], kind: str) -> list[str]:
        """Return past messages from their true speakers: as a batch for clients who know what that is, with
        the time in the text for clients who cannot show it otherwise.

        Args:
            messages: the messages.
            kind: of the batch, with its parameters.
        """
        if self._batches:
            lines = [f":{self._server} BATCH +{HISTORY_BATCH} {kind}"]
            for said in messages:
                lines += self.message(said, (f"batch={HISTORY_BATCH}",))
            return [*lines, f":{self._server} BATCH -{HISTORY_BATCH}"]
        lines = []
        for said in messages:
            lines += self.message(said, opening="" if self._times else f"{spoken_time(said.at)} ")
        return lines

    def names(self, me: str, room: str, present: Iterable[Present], mark: str = "=") -> list[str]:
        """Return who is in a room, as after `NAMES`.

        Args:
            me: name of the reader.
            room: the room.
            present: who is there.
            mark: `=` for a public room, `@` for a secret one.
        """
        head = f":{self._server} 353 {me} {mark} #{room} :"
        words = [
            PREFIXES[each.rank] + (self.source(each.name) if self._userhosts else each.name)
            for each in present
        ]
        lines = [head + line for line in wrapped(words, MAX_LINE - len(head))] if words else []
        return [*lines, f":{self._server} 366 {me} #{room} :End of /NAMES list"]

    def topic(self, me: str, room: str, topic: Topic) -> list[str]:
        """Return the topic of a room, as after `TOPIC`."""
        return [
            f":{self._server} 332 {me} #{room} :{topic.text}",
            f":{self._server} 333 {me} #{room} {topic.name or self._server} {int(topic.at)}",
        ]

    def _tagged(self, event: Said | Told, more: Iterable[str], *, first: bool = True) -> str:
        tags = list(more)
        if self._times:
            tags.append(f"time={timestamp(event.at)}")
        if self._ids and first and isinstance(event, Said):
            tags.append(f"msgid={escaped(event.id)}")
        if self._account_tag and event.account:
            tags.append(f"account={escaped(event.account)}")
        return f"@{';'.join(tags)} " if tags else ""

    def _said(self, event: Said) -> list[str]:
        return self.message(event)

    def _told(self, event: Told) -> list[str]:
        return self.message(event)

    def _unsaid(self, event: Unsaid) -> list[str]:
        return [
            f":{self._server} NOTICE #{event.room} :not stored and not sent ({event.reason}): {event.text}"
        ]

    def _entered(self, event: Entered) -> list[str]:
        me, room = event.name, event.room
        lines = [self._join(me, room, event.account)]
        if event.topic is not None:
            lines += self.topic(me, room, event.topic)
        lines += self.names(me, room, (Present(me, event.rank), *event.others))
        if event.recent and self._replays:
            lines += self.past(event.recent, f"chathistory #{room}")
        return lines

    def _joined(self, event: Joined) -> list[str]:
        return [self._join(event.name, event.room, event.account)]

    def _join(self, name: str, room: str, account: str) -> str:
        line = f":{self.source(name)} JOIN #{room}"
        return f"{line} {account or '*'} :{name}" if self._extended_join else line

    def _redacted(self, event: Redacted) -> list[str]:
        if self._redactions:
            source = self.source(event.by) if event.by else self._server
            reason = f" :{event.reason}" if event.reason else ""
            return [f":{source} REDACT #{event.room} {event.id}{reason}"]
        who, why = event.by or "the chat", f" ({event.reason})" if event.reason else ""
        return [f":{self._server} NOTICE #{event.room} :{who} removed message {event.number}{why}"]

    def _left(self, event: Left | Parted) -> list[str]:
        reason = f" :{event.reason}" if event.reason else ""
        return [f":{self.source(event.name)} PART #{event.room}{reason}"]

    def _gone(self, event: Gone) -> list[str]:
        return [f":{self.source(event.name)} QUIT :{event.reason}"]

    def _renamed(self, event: Renamed) -> list[str]:
        source = f"{event.name}!{event.name}@{self._host_of(event.new_name)}"
        return [f":{source} NICK :{event.new_name}"]

    def _account_set(self, event: AccountSet) -> list[str]:
        if not self._account_notify:
            return []
        return [f":{self.source(event.name)} ACCOUNT {event.account or '*'}"]

    def _away_set(self, event: AwaySet) -> list[str]:
        if not self._away_notify:
            return []
        return [f":{self.source(event.name)} AWAY" + (f" :{event.text}" if event.text else "")]

    def _removed(self, event: Removed) -> list[str]:
        return [f":{self.source(event.by)} KICK #{event.room} {event.name} :{event.reason or event.by}"]

    def _topic_set(self, event: TopicSet) -> list[str]:
        return [f":{self.source(event.name)} TOPIC #{event.room} :{event.text}"]

    def _mode_set(self, event: ModeSet) -> list[str]:
        source = self.source(event.by) if event.by else self._server
        return [f":{source} MODE #{event.room} {modes(event.changes)}"]

    def _invited(self, event: Invited) -> list[str]:
        return [f":{self.source(event.by)} INVITE {event.name} :#{event.room}"]

    def _marked(self, event: Marked) -> list[str]:  # noqa: ARG002  # IRC has no marks
        return []

    def _ended(self, event: Ended) -> list[str]:
        return [f"ERROR :{event.reason}"]


class Forms:
    """Forms of one server, each made once, so that clients with the same capabilities share their lines.

    Args:
        server: the server's name.
        host_of: returns the host that is shown of a person.
    """

    def __init__(self, server: str, host_of: Callable[[str], str]) -> None:
        self._server = server
        self._host_of = host_of
        self._forms: dict[frozenset[str], IrcForm] = {}

    def of(self, capabilities: Iterable[str]) -> IrcForm:
        """Return the form for clients with these capabilities."""
        key = cap.IN_FORMS.intersection(capabilities)
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = IrcForm(self._server, self._host_of, key)
        return form


def modes(changes: Iterable[Change]) -> str:
    """Return changes of modes in the words of `MODE`: `+ov-k ann bob *`."""
    letters, arguments, sign = "", [], ""
    for change in changes:
        if (wanted := "+" if change.adds else "-") != sign:
            sign = wanted
            letters += sign
        letters += change.mode
        if change.argument:
            arguments.append(change.argument)
    return " ".join((letters or "+", *arguments))


def encoded(lines: Iterable[str]) -> bytes:
    """Return lines with their ends, cut to what a line may have."""
    return b"".join(map(_encoded, lines))


def _encoded(line: str) -> bytes:
    data = line.encode()
    if len(data) > MAX_LINE:
        data = _cut(data)
    return data + b"\r\n"


def _cut(data: bytes) -> bytes:
    """Return a line without what goes beyond its length, tags not counted."""
    most = MAX_LINE + (data.find(b" ") + 1 if data.startswith(b"@") else 0)
    while most < len(data) and data[most] & 0xC0 == 0x80:  # the middle of a character
        most -= 1
    return data[:most]
