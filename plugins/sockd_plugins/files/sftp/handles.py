"""Handles of a session: the files and folders that a client has open."""

from __future__ import annotations

from dataclasses import dataclass, field

from sockd_plugins.files.sftp.open_file import OpenFile
from sockd_plugins.files.sftp.packets import MOST_HANDLES, Attributes
from sockd_plugins.files.storage.refused import FileRefused

BYTES = 4
"""Bytes of a handle."""

_MOST_ENTRIES = 100_000  # of open folders; the listing that reaches it may exceed it


@dataclass(slots=True)
class Handle:
    """Open file or folder.

    Attributes:
        path: of it.
        file: None for a folder.
        entries: of a folder, that were not listed yet.
    """

    path: str
    file: OpenFile | None = None
    entries: list[tuple[str, Attributes]] = field(default_factory=list)


class Handles:
    """Open files and folders of one session, by the handles that the client has got for them."""

    def __init__(self) -> None:
        self._open: dict[bytes, Handle] = {}
        self._next = 0

    @property
    def files(self) -> list[OpenFile]:
        """Files that are open."""
        return [handle.file for handle in self._open.values() if handle.file]

    @property
    def by_path(self) -> dict[str, OpenFile]:
        """Files that are open, by their paths."""
        return {handle.path: handle.file for handle in self._open.values() if handle.file}

    def check(self, *, listing: bool = False) -> None:
        """Refuse one more than a session may have.

        Args:
            listing: whether it is a folder, whose names are kept in memory.

        Raises:
            FileRefused: there are too many.
        """
        if len(self._open) >= MOST_HANDLES:
            raise FileRefused("too-many", f"a session may have {MOST_HANDLES} files open")
        if listing and sum(len(handle.entries) for handle in self._open.values()) >= _MOST_ENTRIES:
            raise FileRefused("too-many", f"a session may list {_MOST_ENTRIES} names at once")

    def add(self, handle: Handle) -> bytes:
        """Add one; return the name by which the client knows it."""
        name = self._next.to_bytes(BYTES, "big")
        self._next = (self._next + 1) % (1 << 32)
        self._open[name] = handle
        return name

    def find(self, name: bytes) -> Handle | None:
        """Return the one of a name; None if it is not open."""
        return self._open.get(name)

    def get(self, name: bytes) -> Handle:
        """Return the one of a name.

        Raises:
            FileRefused: it is not open.
        """
        handle = self._open.get(name)
        if handle is None:
            raise FileRefused("bad-request", "the handle is not open")
        return handle

    def close(self, name: bytes) -> Handle | None:
        """Remove the one of a name, and return it; None if it is not open."""
        return self._open.pop(name, None)

    def close_any(self) -> Handle | None:
        """Remove one, and return it; None if none is open."""
        return self._open.popitem()[1] if self._open else None
