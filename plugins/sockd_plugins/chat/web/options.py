"""Options of the chat that concern the web."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field, SecretStr

MOST_ROOMS = 16
"""Rooms that a client enters at once when it comes: fewer requests than a person has at once."""

_STANDARD_PREFIX = "whsec_"


class Hook(BaseModel):
    """Program that may speak in a room.

    Attributes:
        room: in which it speaks.
        secret: shared with the program: text, or with `whsec_` base64 of the key.
        name: under which it speaks; the name of the hook if it is empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    room: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$", description="The room in which it speaks.")
    secret: SecretStr = Field(min_length=16, max_length=512, description="Secret that it signs with.")
    name: str = Field(
        default="", pattern=r"^[A-Za-z0-9_.-]{0,32}$", description="Its name; that of the hook if left out."
    )

    @property
    def key(self) -> bytes:
        """Key of the signatures."""
        secret = self.secret.get_secret_value()
        if secret.startswith(_STANDARD_PREFIX):
            try:
                return base64.b64decode(secret.removeprefix(_STANDARD_PREFIX), validate=True)
            except binascii.Error:
                pass
        return secret.encode()


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the plugin that concern the web.

    Attributes:
        origins: pages on other hosts that may use the chat, as browsers write them; "*" for all.
        hooks: programs that may speak in rooms, by their names.
        hosts: names and addresses under which the chat answers; all if there is none.
        rate: requests of an address a second.
        burst: requests of an address at once.
        limits: numbers that clients are told.
    """

    origins: Sequence[str] = ()
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    rate: float = 10.0
    burst: int = 20
    limits: Mapping[str, int] = field(default_factory=dict)
    hosts: Sequence[str] = ()
