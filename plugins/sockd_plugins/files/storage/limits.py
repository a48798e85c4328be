"""Bounds of a store, from the options of the service."""

from __future__ import annotations

from dataclasses import dataclass, field

from sockd_plugins.files.storage.ledger import Quota
from sockd_plugins.files.storage.owner import Owner


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a store.

    Attributes:
        max_size: bytes of a file at most.
        reserve: bytes that must stay free on the disk.
        reserve_files: files that other programs must be able to make there.
        mode: the permissions of a file; None leaves them to the umask and the folder's default ACL.
        owner: of the files, and of the folders that are made for them.
        names: patterns of the names that files may have; none for any.
        own: name of a folder that no sender can send to; "" for none.
        unverified: name of the folder for files of which nobody can tell that they are whole; "" for none.
        folders: whether files may have relative names, so that folders are made for them.
        keep_for: seconds for which an upload that can be resumed is kept.
        quota: what the service and each source may take.
    """

    max_size: int
    reserve: int = 0
    reserve_files: int = 0
    mode: int | None = None
    owner: Owner = field(default_factory=Owner)
    names: tuple[str, ...] = ()
    own: str = ""
    unverified: str = ""
    folders: bool = False
    keep_for: float = 86400.0
    quota: Quota = field(default_factory=Quota)
