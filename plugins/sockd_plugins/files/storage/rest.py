"""Rest of an open part between two requests, in which other processes can have it."""

from __future__ import annotations

import os

from sockd_plugins.files.storage.parts import Part, Parts


class Rest:
    """Rest of a part.

    Args:
        parts: all of them.
        part: open and locked.
    """

    def __init__(self, parts: Parts, part: Part) -> None:
        self._parts = parts
        self._part = part
        self._offsets = b""  # in the state when the rest began

    def begin(self, size: int) -> None:
        """Let other processes have the part.

        Args:
            size: bytes that were written; they survive the end of this process.

        Raises:
            OSError: the disk fails.
        """
        state = self._part.state
        if state is None:
            raise ValueError("it cannot be resumed")
        if size > state.durable:
            state.note(size)
        self._offsets = state.offsets()
        self._part.unlock()

    def end(self, size: int) -> bool:
        """Take the part again.

        Args:
            size: bytes that were written; what a process has added that was killed is cut off.

        Returns:
            False if another process has the part, or had it and went on.

        Raises:
            OSError: the disk fails.
        """
        state = self._part.state
        if not self._parts.lock_again(self._part) or state is None or state.offsets() != self._offsets:
            self._part.unlock()
            return False
        if os.fstat(self._part.file).st_size != size:
            os.ftruncate(self._part.file, size)
        return True
