"""Digests of stored files, for clients that want one (Want-Repr-Digest, RFC 9530, 4)."""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import suppress

from twisted.internet.defer import DeferredLock

from sockd_plugins.files.storage.digests import digests_of
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.received import open_received
from sockd_plugins.files.storage.refused import FileRefused

MOST = 1 << 30
"""Bytes of a file whose digest is computed: a second or two of a processor."""

_REMEMBERED = 1000  # digests


class FileDigests:
    """Digests of the files of one service. One is computed at a time: uploads have the other threads.

    Args:
        engine: has the files and the threads.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._computing = DeferredLock()
        self._known: OrderedDict[tuple[object, ...], str] = OrderedDict()

    async def of_path(self, path: str, algorithm: str) -> str | None:
        """Return the digest of a stored file; None if the file is too large, or not there any more.

        Args:
            path: relative to the directory.
            algorithm: of `storage/digests.py`.
        """
        with suppress(FileRefused):
            file, status = await self._engine.run(open_received, self._engine.store, path)
            try:
                return await self.of(file, status, algorithm)
            finally:
                os.close(file)
        return None

    async def of(self, file: int, status: os.stat_result, algorithm: str) -> str | None:
        """Return the digest of an open file; None if the file is too large, or cannot be read.

        Args:
            file: the descriptor.
            status: of the file.
            algorithm: of `storage/digests.py`.
        """
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, algorithm)
        if status.st_size > MOST:
            return None
        if (digest := self._known.get(key)) is None:
            async with self._computing:
                try:
                    found = await self._engine.run(digests_of, file, status.st_size, (algorithm,))
                except OSError:
                    return None
            digest = self._known[key] = found[algorithm]
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return digest
