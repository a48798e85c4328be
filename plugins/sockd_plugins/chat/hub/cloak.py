"""Cloaks: names for addresses, which tell nobody what the address is."""

from __future__ import annotations

import os
import secrets
from hashlib import blake2b
from ipaddress import ip_network
from pathlib import Path

FILE = "cloak"
"""File of the service's state folder, with the secret of cloaks."""

_SIZE = 16  # bytes of a secret


class Cloaks:
    """Cloaks of one chat.

    An address tells where a person lives, and lets others flood it. The same address has the same cloak while
    the secret is the same, so that it can be banned from a room.

    Attributes:
        secret: of the chat; by default one that ends with the process.
    """

    def __init__(self) -> None:
        self.secret = secrets.token_bytes(_SIZE)

    def of(self, address: str) -> str:
        """Return the host that is shown in place of an address.

        Args:
            address: IPv4 or IPv6; of the latter the first 64 bits count. Anything else has no cloak: "-".
        """
        try:
            place = ip_network((address.partition("%")[0], 64 if ":" in address else 32), strict=False)
        except ValueError:
            return "-"
        return f"u{blake2b(place.network_address.packed, key=self.secret, digest_size=5).hexdigest()}"


def keep_secret(folder: Path) -> bytes:
    """Return the secret of a state folder, which is made with the first one.

    Raises:
        OSError: it can be neither read nor made.
    """
    folder.mkdir(0o700, parents=True, exist_ok=True)
    try:
        file = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        found = (folder / FILE).read_bytes()
        if len(found) == _SIZE:
            return found
        file = os.open(folder / FILE, os.O_WRONLY)  # a crash came before its content
    with os.fdopen(file, "wb") as written:
        secret = secrets.token_bytes(_SIZE)
        written.write(secret)
    return secret
