"""File that was received."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sockd_plugins.files.storage.sender import Sender


@dataclass(frozen=True, slots=True)
class Stored:
    """File on the disk.

    Attributes:
        name: relative to the sender's folder; it may have a number that the sender did not give.
        size: in bytes.
        sha256: in hexadecimal digits; "" if the running digest was another and nobody asked for this one.
        digest: the running one, as "sha256=HEX" or "blake3=HEX".
        id: of the upload.
        path: relative to the directory.
        duplicate: whether the same file was there already, so that nothing was stored twice.
    """

    name: str
    size: int
    sha256: str
    digest: str = ""
    id: str = ""
    path: str = ""
    duplicate: bool = False


class Witness(Protocol):
    """Witness of what is stored, who writes something beside it."""

    def attest(self, stored: Stored, sender: Sender) -> None:
        """Write what belongs to a file that has got its name; a thread calls this, and nothing is raised."""


class Notices(Protocol):
    """Notices of received files, which others are told of."""

    def write(self, stored: Stored, sender: Sender, inode: int) -> None:
        """Write the notice of a file that is about to get its name, durably; a thread calls this.

        Args:
            stored: the file, under the path that it is to get.
            sender: who has sent it.
            inode: number of the file.

        Raises:
            OSError: the disk fails.
        """

    def withdraw(self, id: str) -> None:  # noqa: A002
        """Remove the notice of a file that did not get a name; a thread calls this."""

    def deliver(self, id: str) -> None:  # noqa: A002
        """Deliver the notice of a file that has got its name."""

    def stop(self) -> None:
        """End the deliveries; a thread calls this."""
