"""Data of a file within a connection of the protocol `upload`: so many bytes, or chunks."""

from __future__ import annotations

import re

from sockd_plugins.files.storage.pieces import Piece
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.stream.announcement import MAX_LINE, Put, parse_digest
from sockd_plugins.files.stream.peer import Peer

_CHUNK = re.compile(rb"\d{1,10}")

_MOST_SKIPPED = 1 << 20
"""Bytes of a refused file that are read and dropped, so that the conversation goes on."""


class Body:
    """Data of one file, and the digest behind it.

    Args:
        peer: sends it.
        put: its announcement.
        offset: bytes of it that came before.
    """

    def __init__(self, peer: Peer, put: Put, offset: int = 0) -> None:
        self._peer = peer
        self._put = put
        self._left = 0 if put.size is None else put.size - offset
        self._whole = put.size is not None  # no further chunk follows
        self._digest_follows = put.digest_follows

    async def read(self, most: int, within: float | None = None) -> list[Piece]:
        """Return the next bytes; none at the end, or if the peer has ended its side.

        Args:
            most: bytes.
            within: seconds after which fewer are returned; None to wait for all.

        Raises:
            FileRefused: a chunk is malformed, or not whole.
        """
        if not self._left and not self._whole:
            line = await self._peer.line(MAX_LINE)
            if line is None:
                raise FileRefused("incomplete", "expected a chunk, or an empty one at the end")
            if not _CHUNK.fullmatch(line):
                raise FileRefused("bad-request", f"expected the size of a chunk, found {line!r}")
            self._left = int(line)
            self._whole = not self._left
        if not self._left:
            return []
        pieces = await self._peer.read(min(self._left, most), within)
        if not pieces and self._put.size is None:
            raise FileRefused("incomplete", f"expected {self._left} more bytes of a chunk, found none")
        self._left -= sum(map(len, pieces))
        return pieces

    async def digests(self, algorithm: str) -> dict[str, str]:
        """Return the digests that the peer has told, by their algorithms.

        Args:
            algorithm: of the digest that follows the data, if one does.
        """
        if self._left or not self._digest_follows:
            return self._put.digests
        self._digest_follows = False
        return parse_digest(await self._peer.line(MAX_LINE) or b"", algorithm)

    async def skip(self) -> bool:
        """Drop the rest; return False if that is too much."""
        if not self._whole or self._left > _MOST_SKIPPED:
            return False
        while self._left:
            if not await self.read(self._left):
                return False
        if self._digest_follows:
            self._digest_follows = False
            await self._peer.line(MAX_LINE)
        return True
