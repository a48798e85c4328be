"""Digest in a file beside another: `a.txt.sha256`, as `sha256sum a.txt` writes it, checks `a.txt`."""

from __future__ import annotations

import os
import re
import stat
from itertools import islice

from sockd_plugins.files.storage.digests import digests_of
from sockd_plugins.files.storage.names import candidates
from sockd_plugins.files.storage.refused import FileRefused

SUFFIX = ".sha256"

_MOST = 4096  # bytes of such a file: a line with a path
_LINE = re.compile(rb"([0-9A-Fa-f]{64})(?: [ *][^\n]*)?\r?\n?")

_MOST_READ = 3
"""Files of one name that are read at most: the checked one may have got a number."""


def check_beside(folder: int, name: str, file: int, size: int) -> None:
    """Check the stored file to which a received file with a digest belongs, if both are there.

    Args:
        folder: the descriptor of the folder.
        name: of the received file.
        file: its descriptor.
        size: its bytes.

    Raises:
        FileRefused: the stored file has another digest.
        OSError: the disk fails.
    """
    if not name.endswith(SUFFIX) or size > _MOST:
        return
    line = _LINE.fullmatch(os.pread(file, _MOST, 0))
    if line is None:
        return
    checked = name.removesuffix(SUFFIX)
    found = ""
    for candidate in islice(candidates(checked), _MOST_READ):
        digest = _digest(folder, candidate)
        if digest == line[1].decode().lower():
            return
        found = found or digest
    if found:
        raise FileRefused(
            "digest-mismatch", f"expected {checked} with sha256={line[1].decode()}, found sha256={found}"
        )


def _digest(folder: int, name: str) -> str:
    """Return the digest of a file; "" if there is no plain one."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return ""
    try:
        status = os.fstat(file)
        return digests_of(file, status.st_size, ["sha256"])["sha256"] if stat.S_ISREG(status.st_mode) else ""
    finally:
        os.close(file)
