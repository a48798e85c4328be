"""Digests of the content of one request, which is a part of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sockd_plugins.files.storage.digests import new_digest
from sockd_plugins.files.storage.pieces import Piece


class Checked:
    """Digests that a part must have.

    Args:
        expected: in hexadecimal digits, by algorithm.
    """

    def __init__(self, expected: Mapping[str, str]) -> None:
        self.expected = expected
        self._running = {name: new_digest(name) for name in expected}

    def add(self, pieces: Sequence[Piece]) -> None:
        """Add the next bytes; a thread waits for it."""
        for digest in self._running.values():
            for piece in pieces:
                digest.update(piece)

    def fault(self) -> str | None:
        """Return what is wrong; None if all are as expected."""
        for name, digest in self._running.items():
            if (found := digest.hexdigest()) != self.expected[name]:
                return f"expected {name}={self.expected[name]} of this part, found {name}={found}"
        return None
