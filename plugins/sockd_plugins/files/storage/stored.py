"""File that was received."""

from __future__ import annotations

from dataclasses import dataclass


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
