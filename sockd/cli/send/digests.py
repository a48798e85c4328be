"""Digests of what is sent."""

from __future__ import annotations

import hashlib
from typing import Protocol

try:
    import blake3
except ImportError:  # there is no wheel for this machine; SHA-256 serves
    _blake3 = None
else:
    _blake3 = blake3.blake3


class Digest(Protocol):
    """Running digest."""

    def update(self, data: bytes | bytearray | memoryview, /) -> object:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far."""

    def copy(self) -> Digest:
        """Return a digest that goes on separately."""


def known(algorithm: str) -> bool:
    """Tell whether `new` has an algorithm."""
    return algorithm == "sha256" or (algorithm == "blake3" and _blake3 is not None)


def new(algorithm: str) -> Digest:
    """Begin a digest; `algorithm` must be known."""
    return hashlib.sha256() if algorithm == "sha256" or _blake3 is None else _blake3()
