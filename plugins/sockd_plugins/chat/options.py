"""Checks of the options of the chat, which the plugin's fields name."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sockd.errors import ValueFault
from sockd.text import printable
from sockd_plugins.chat.hub.charter import LONGEST_KEY, is_key, unknown_flags
from sockd_plugins.chat.hub.names import EXPECTED, Names, fold, is_name
from sockd_plugins.chat.hub.rules import DEFAULT, ReadBack, RoomRules

_LONGEST = 32  # characters of a room's name


class RoomOptions(BaseModel):
    """Room that always exists."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topic: str = Field(default="", max_length=400, description="Topic, until an operator sets another one.")
    owners: tuple[str, ...] = Field(
        default=(), description="Accounts whose people are operators of the room. Without any it has none."
    )
    key: str = Field(default="", description="Word that whoever enters has to know; '' for none.", repr=False)
    modes: str = Field(
        default=DEFAULT,
        description="Modes: 'i' invite-only, 'm' moderated, 's' secret, 't' operators set the topic.",
    )
    read_back: ReadBack = Field(
        default="all",
        description="What a newcomer may read of what was said before: 'all' that is kept, what was said"
        " since the account 'joined' for the first time, or 'none'.",
    )

    @field_validator("topic")
    @classmethod
    def _topic(cls, topic: str) -> str:
        return printable(topic)

    @field_validator("key")
    @classmethod
    def _key(cls, key: str) -> str:
        if key and not is_key(key):
            raise ValueFault(f"at most {LONGEST_KEY} ASCII characters without comma and space", "others")
        return key

    @field_validator("modes")
    @classmethod
    def _modes(cls, modes: str) -> str:
        if unknown := unknown_flags(modes):
            raise ValueFault("letters of i, m, n, s and t", repr(unknown))
        return modes

    @property
    def rules(self) -> RoomRules:
        """Properties of the room for the hub."""
        return RoomRules(self.topic, frozenset(map(fold, self.owners)), self.key, self.modes, self.read_back)


def named_rooms(rooms: dict[str, RoomOptions]) -> dict[str, RoomOptions]:
    """Check the names of rooms."""
    check_apart(*map(room_name, rooms))
    return rooms


def check_apart(*rooms: str) -> None:
    """Check that names of rooms are not confusable; raise `ValueFault` if two are."""
    names: Names[str] = Names()
    for name in dict.fromkeys(rooms):
        if rival := names.rival(name):
            raise ValueFault("names of rooms that do not look alike", f"{rival} and {name}")
        names.give(name, name)


def room_name(name: str) -> str:
    """Check the name of a room."""
    if not is_name(name, _LONGEST):
        raise ValueFault(f"the name of a room, of {EXPECTED}", printable(repr(name)))
    return name
