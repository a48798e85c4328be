"""Charter of a room: who may enter it, speak in it and change it, in the letters of IRC (RFC 2811, 4)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from sockd.text import printable
from sockd_plugins.chat.hub.events import Change, Rank
from sockd_plugins.chat.hub.masks import Mask, Who
from sockd_plugins.chat.hub.names import fold
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.hub.rules import DEFAULT, ReadBack, RoomRules

FLAGS: Mapping[str, str] = {
    "i": "invite-only: only those enter who are invited",
    "m": "moderated: only operators and those with a voice speak",
    "n": "nobody outside speaks, but for programs: this is so in every room",
    "s": "secret: only those inside see that there is the room",
    "t": "only operators set the topic",
}
RANKS: Mapping[str, Rank] = {"o": "operator", "v": "voice"}
LISTS: Mapping[str, str] = {
    "b": "banned: they do not enter",
    "e": "exempt from bans",
    "I": "invited for good",
}
KEY, LIMIT = "k", "l"

MOST_KNOWN = 10_000
"""Accounts of a room whose first entry is remembered."""

MOST_LISTED = 50
"""Masks in each list of a room: each is compared at each entry."""

LONGEST_KEY = 32
MOST_LIMIT = 100_000


@dataclass(slots=True)
class Charter:
    """Charter of one room.

    Attributes:
        flags: those of `FLAGS` that are set.
        key: word that whoever enters has to know; empty for none.
        limit: people at most; 0 for no limit.
        lists: the masks, by the letter of their list, each with the name of who added it.
        owners: accounts whose people are operators from their entry on.
        read_back: what newcomers may read.
        is_kept: whether the room exists without people.
        known: numbers of the last message before an account's first entry, if `read_back` needs them.
        on_change: called after a change, so that it can be kept.
    """

    flags: set[str] = field(default_factory=lambda: set(DEFAULT))
    key: str = ""
    limit: int = 0
    lists: dict[str, dict[Mask, str]] = field(default_factory=dict)
    owners: frozenset[str] = frozenset()
    read_back: ReadBack = "all"
    is_kept: bool = False
    known: dict[str, int] = field(default_factory=dict)
    on_change: Callable[[], None] = lambda: None

    @classmethod
    def configured(cls, rules: RoomRules) -> Charter:
        """Return the charter of a room that is configured."""
        return cls(
            flags={*rules.modes, "n"},
            key=rules.key,
            owners=frozenset(map(fold, rules.owners)),
            read_back=rules.read_back,
            is_kept=True,
        )

    @property
    def is_closed(self) -> bool:
        """True if not everybody may enter the room, or know of it."""
        return bool(self.key or {"i", "s"} & set(self.flags))

    def copy(self) -> Charter:
        """Return a copy, on which a change can be tried."""
        lists = {letter: dict(masks) for letter, masks in self.lists.items()}
        return replace(self, flags=set(self.flags), lists=lists, on_change=lambda: None)

    def check_entry(self, person: Who, key: str, members: int, invited: bool) -> None:
        """Check whether a person may enter; owners and whoever is invited need no key and find a place.

        Args:
            person: who wants to enter.
            key: the word that it knows.
            members: people in the room.
            invited: whether an operator has invited it.

        Raises:
            ChatRefused: it may not: `banned`, `invite`, `key` or `room_full`.
        """
        if self.is_owner(person):
            return
        if self._lists(person, "b") and not self._lists(person, "e"):
            raise ChatRefused("banned", "you are banned from that room")
        if invited:
            return
        if "i" in self.flags and not self._lists(person, "I"):
            raise ChatRefused("invite", "only those who are invited enter that room")
        if self.key and key != self.key:
            text = "that room has another key" if key else "that room has a key: /join ROOM KEY"
            raise ChatRefused("key", text)
        if self.limit and members >= self.limit:
            raise ChatRefused("room_full", f"that room is full: {self.limit} people")

    def check_speech(self, rank: Rank) -> None:
        """Check whether a member of a rank may speak; raise `ChatRefused` (`moderated`) if it may not."""
        if not rank and "m" in self.flags:
            raise ChatRefused("moderated", "that room is moderated: you have no voice there")

    def check_outside(self, account: str, key: str, *, speaks: bool) -> None:
        """Check whether a program may speak or read in the room without being there; owners may.

        Args:
            account: of the program; empty for none.
            key: the word that it knows.
            speaks: whether it wants to speak, not to read.

        Raises:
            ChatRefused: it may not: `invite`, `key`, `moderated`, or `not_in_room`.
        """
        if account and fold(account) in self.owners:
            return
        if "i" in self.flags:
            raise ChatRefused("invite", "only those who are invited may do that in that room")
        if self.key and key != self.key:
            raise ChatRefused("key", "that room has another key" if key else "that room has a key")
        if speaks:
            self.check_speech("")
        elif self.read_back != "all":
            raise ChatRefused("not_in_room", "only those inside read in that room")

    def unread(self, account: str, said: int) -> int:
        """Return the number of the last message that a newcomer may not read.

        Args:
            account: of the newcomer; empty for none.
            said: number of the last message before the entry.
        """
        if self.read_back == "all":
            return 0
        if self.read_back == "none" or not account:
            return said
        if account not in self.known:
            while len(self.known) >= MOST_KNOWN:
                del self.known[next(iter(self.known))]
            self.known[account] = said
            self.on_change()
        return self.known[account]

    def is_owner(self, person: Who) -> bool:
        """Tell whether a person has proved to be one of the owners."""
        return bool(person.account) and fold(person.account) in self.owners

    def apply(self, change: Change, by: str) -> Change | None:
        """Change a flag, the key, the limit or a list.

        Args:
            change: of a mode that is none of `RANKS`.
            by: name of who changes it.

        Returns:
            The change as others are told; None if nothing has changed.

        Raises:
            ChatRefused: it is none: `bad_mode`, `bad_mask`, or `list_full`.
        """
        mode = change.mode
        if mode in FLAGS:
            return self._apply_flag(change)
        if mode in LISTS:
            return self._apply_list(change, by)
        if mode == KEY:
            return self._apply_key(change)
        if mode == LIMIT:
            return self._apply_limit(change)
        raise ChatRefused("bad_mode", f"there is no mode {printable(mode[:1])}")

    def shown(self, *, to_member: bool) -> tuple[Change, ...]:
        """Return flags, key and limit; without the key to those outside."""
        flags = [Change(True, flag) for flag in sorted(self.flags)]
        if self.key:
            flags.append(Change(True, KEY, self.key if to_member else ""))
        if self.limit:
            flags.append(Change(True, LIMIT, str(self.limit)))
        return tuple(flags)

    def listed(self, letter: str) -> Iterator[tuple[str, str]]:
        """Yield the masks of a list, and who added each."""
        for mask, by in self.lists.get(letter, {}).items():
            yield mask.text, by

    def _lists(self, person: Who, letter: str) -> bool:
        return any(mask.fits(person) for mask in self.lists.get(letter, ()))

    def _apply_flag(self, change: Change) -> Change | None:
        if change.mode == "n" or change.adds == (change.mode in self.flags):
            return None
        (self.flags.add if change.adds else self.flags.discard)(change.mode)
        return Change(change.adds, change.mode)

    def _apply_list(self, change: Change, by: str) -> Change | None:
        mask = Mask.read(change.argument)
        if mask is None:
            text = printable(change.argument)[:LONGEST_KEY]
            raise ChatRefused("bad_mask", f"expected a mask such as eve*, *@HOST or $a:ACCOUNT, found {text}")
        masks = self.lists.setdefault(change.mode, {})
        if change.adds == (mask in masks):
            return None
        if not change.adds:
            del masks[mask]
        elif len(masks) >= MOST_LISTED:
            raise ChatRefused("list_full", f"that list has {MOST_LISTED} masks already")
        else:
            masks[mask] = by
        return Change(change.adds, change.mode, mask.text)

    def _apply_key(self, change: Change) -> Change | None:
        if not change.adds:
            key, self.key = self.key, ""
            return Change(False, KEY, "*") if key else None
        key = change.argument
        if not is_key(key):
            raise ChatRefused("bad_mode", f"a key is 1 to {LONGEST_KEY} of ASCII, without , and spaces")
        if key == self.key:
            return None
        self.key = key
        return Change(True, KEY, key)

    def _apply_limit(self, change: Change) -> Change | None:
        if not change.adds:
            limit, self.limit = self.limit, 0
            return Change(False, LIMIT) if limit else None
        text = change.argument
        if not (text.isascii() and text.isdigit() and len(text) < 9 and 0 < int(text) <= MOST_LIMIT):
            raise ChatRefused("bad_mode", f"a limit is a number from 1 to {MOST_LIMIT}")
        if int(text) == self.limit:
            return None
        self.limit = int(text)
        return Change(True, LIMIT, str(self.limit))


def is_key(text: str) -> bool:
    """Tell whether a text can be the key of a room."""
    return 0 < len(text) <= LONGEST_KEY and text.isascii() and all("!" <= c <= "~" and c != "," for c in text)


def unknown_flags(flags: Collection[str]) -> str:
    """Return the letters that are no flags of a room."""
    return "".join(flag for flag in flags if flag not in FLAGS)
