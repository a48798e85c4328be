"""Sender of a file, and what it may still send."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Protocol


class Grant(Protocol):
    """Bound of what a token or a user may send. Its calls may wait for the disk; a thread makes them."""

    def admit(self, name: str, size: int, coming: Sequence[int]) -> None:
        """Check an upload before its first byte, and while it grows if its size is unknown.

        A file that was sent before may come again: its sender may have lost the answer.

        Args:
            name: of the file, as it was announced.
            size: bytes that it has or will have, as far as that is known.
            coming: sizes of the sender's other unfinished uploads.

        Raises:
            FileRefused: there is no such right any more, or it does not reach.
        """

    def go_on(self) -> None:
        """Check that an unfinished upload may go on. No disk is waited for.

        Raises:
            FileRefused: the right is at its end.
        """

    def has_sent(self, name: str, size: int, digest: str) -> bool:
        """Tell whether this file was noted before, whatever has become of it since."""

    def spend(self, upload: str, name: str, size: int, digest: str) -> AbstractContextManager[object]:
        """Note durably that a file is published while the context is open; undone if that fails.

        Args:
            upload: the id of the upload; after a crash it is not noted twice.
            name: of the file, as it was announced.
            size: bytes of the file.
            digest: of the file, as in `Stored`.

        Raises:
            FileRefused: the right does not reach.
        """


@dataclass(frozen=True, slots=True)
class Share:
    """Bound of what a sender's own folder may hold, with what is being received for it; 0 is no bound.

    Attributes:
        size: bytes of the files.
        files: their number.
    """

    size: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True)
class Sender:
    """Sender of files, as the ledger and the folder know it.

    Attributes:
        host: address; "-" if unknown.
        key: whom the ledger counts, such as "token:ID" or "user:NAME"; "" for the host.
        folder: folder of its own within the directory, as `safe_path` returned it; "" for none.
        grant: what a token or a user may still send; None for no bound of its own.
        share: bound of that folder; None if it has none.
    """

    host: str = "-"
    key: str = ""
    folder: str = ""
    grant: Grant | None = None
    share: Share | None = None

    @property
    def source(self) -> str:
        """Key of the source in the ledger, as 16 hexadecimal digits.

        Without a key, an IPv4 address is a source, the /64 of an IPv6 address is, and so is another text.
        """
        return _hash(b"key " + self.key.encode()) if self.key else _hash(_network(self.host))


def _network(host: str) -> bytes:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.encode()
    return address.packed[:8] if isinstance(address, IPv6Address) else address.packed


def _hash(source: bytes) -> str:
    return hashlib.blake2b(source, digest_size=8).hexdigest()
