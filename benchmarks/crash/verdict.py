"""Judgement of what a crash has left in the folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.crash.sending import Sending

PARTS = ".sockd-part"

NOTES = frozenset({".stored", ".finished"})
"""Names among the parts that are no uploads: the figures of the ledger, and notes of finished uploads."""


def faults(received: Path, sendings: Iterable[Sending]) -> Iterator[str]:
    """Describe what is lost, wrong or not whole.

    Args:
        received: the folder of the received files.
        sendings: all that was sent to it.
    """
    whole = {sending.sha256: sending for sending in sendings}
    found = dict(_files(received))
    for name, digest in found.items():
        if digest not in whole:
            yield f"{name} ({(received / name).stat().st_size} bytes) is not whole"
    for digest, sending in whole.items():
        if sending.stored and found.get(sending.stored) != digest:
            yield f"{sending.stored} was acknowledged and is {'wrong' if sending.stored in found else 'lost'}"


def parts(received: Path) -> list[str]:
    """Return the names of what unfinished uploads have left."""
    folder = received / PARTS
    return sorted(set(os.listdir(folder)) - NOTES) if folder.exists() else []


def _files(received: Path) -> Iterator[tuple[str, str]]:
    """Yield the files with final names, and their digests."""
    for path in received.rglob("*"):
        name = str(path.relative_to(received))
        if not name.startswith(".") and path.is_file():
            with path.open("rb") as file:
                yield name, hashlib.file_digest(file, "sha256").hexdigest()
