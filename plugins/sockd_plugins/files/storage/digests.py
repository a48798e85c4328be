"""Digests: the running one of an upload, and others that a sender may tell."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, Self

from sockd_plugins.files.storage.refused import FileRefused

RUNNING = ("sha256", "blake3")
"""Algorithms that an upload can be begun with."""

KNOWN = (*RUNNING, "sha512", "sha1", "md5")
"""Algorithms in which a sender may tell a digest; another than the running one costs a second reading."""

_REREAD = 1 << 20  # bytes to hash at once of a file


_MOST_HASHES = 1000  # of about a kilobyte each


class Digest(Protocol):
    """Running digest."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object:
        """Add the next bytes."""

    def hexdigest(self) -> str:
        """Return the digest of the bytes so far."""

    def copy(self) -> Self:
        """Return another digest of the same bytes."""


class Hashes:
    """Running digests of uploads that are interrupted: an upload in many requests is not read for each.

    What is durable of an upload never changes, so its id and the offset tell the bytes.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], Digest] = {}

    def keep(self, id: str, durable: int, digest: Digest) -> None:  # noqa: A002
        """Keep the digest of the first bytes of an upload; the oldest one is dropped for it."""
        if len(self._kept) >= _MOST_HASHES:
            with suppress(StopIteration, KeyError, RuntimeError):  # another thread has been here
                del self._kept[next(iter(self._kept))]
        self._kept[id, durable] = digest

    def take(self, id: str, durable: int) -> Digest | None:  # noqa: A002
        """Take the digest of the first bytes of an upload, if it was kept."""
        return self._kept.pop((id, durable), None)


@cache
def has_blake3() -> bool:
    """Tell whether BLAKE3 can be computed here."""
    return find_spec("blake3") is not None


@dataclass(slots=True)
class Mark:
    """Place in the data to go back to: its offset, and the digest up to there."""

    size: int
    hash: Digest


def new_digest(algorithm: str) -> Digest:
    """Begin a digest.

    Raises:
        FileRefused: the algorithm is not known here.
    """
    if algorithm not in KNOWN:
        raise FileRefused(
            "bad-request", f"expected a digest by one of {', '.join(KNOWN)}, found {algorithm!r}"
        )
    if algorithm == "blake3":
        digest: Digest = import_module("blake3").blake3()
        return digest
    return hashlib.new(algorithm, usedforsecurity=False)


def add_file(digests: Iterable[Digest], file: int, size: int) -> int:
    """Add the first bytes of a file to digests.

    Args:
        digests: to add to.
        file: the descriptor; its position is kept.
        size: bytes.

    Returns:
        The bytes that were there, `size` or fewer.
    """
    position = 0
    while piece := os.pread(file, min(_REREAD, size - position), position):
        for digest in digests:
            digest.update(piece)
        position += len(piece)
    return position


def digests_of(file: int, size: int, algorithms: Iterable[str]) -> dict[str, str]:
    """Return the digests of a file, in hexadecimal digits, after reading it once."""
    digests = {algorithm: new_digest(algorithm) for algorithm in algorithms}
    if digests:
        add_file(digests.values(), file, size)
    return {algorithm: digest.hexdigest() for algorithm, digest in digests.items()}


def check_digests(expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Compare digests.

    Raises:
        FileRefused: one is not as expected.
    """
    for algorithm, digest in expected.items():
        if found[algorithm] != digest.lower():
            raise FileRefused(
                "digest-mismatch", f"expected {algorithm}={digest}, found {algorithm}={found[algorithm]}"
            )
