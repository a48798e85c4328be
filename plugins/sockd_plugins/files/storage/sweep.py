"""Removal of what crashes have left among the parts, and of what has expired."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from contextlib import suppress

from sockd_plugins.files.storage.finished import NOTES, sweep_finished
from sockd_plugins.files.storage.parts import PART_NAME, TALLY, Parts, listed, refers
from sockd_plugins.files.storage.state import SUFFIX

_STATE_NAME = re.compile(r"([0-9a-f]{16})" + re.escape(SUFFIX), re.ASCII)


def sweep(parts: Parts) -> list[str]:
    """Remove the parts that no process holds and no sender can resume any more.

    Args:
        parts: all of them.

    Returns:
        The names that are no parts or cannot be removed.
    """
    sweep_finished(parts.folder, parts.keep_for)
    left_alone = []
    names = sorted(listed(parts.folder))
    ids = {entry.id for entry in parts.entries()}  # listed later, as a part is there before its state
    for name in names:
        if name in (TALLY, NOTES) or ((state := _STATE_NAME.fullmatch(name)) and state[1] in ids):
            continue
        try:
            with suppress(FileNotFoundError, BlockingIOError):
                if not _sweep(parts, name):
                    left_alone.append(name)
        except OSError:
            left_alone.append(name)
    return left_alone


def _sweep(parts: Parts, name: str) -> bool:
    """Remove a file that no process needs; return False if it is no plain file."""
    # Opening a device may have effects, so the kind is checked before; a link is not followed.
    status = os.lstat(name, dir_fd=parts.folder)
    if not stat.S_ISREG(status.st_mode):
        return False
    match = PART_NAME.fullmatch(name)
    state = match[1] + SUFFIX if match else None
    if state is not None and status.st_nlink == 1 and _waits(parts, state):
        return True  # without a lock, which its sender may want in this moment
    file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parts.folder)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if state is not None and os.fstat(file).st_nlink == 1 and _waits(parts, state):
            return True
        if state is not None:
            with suppress(FileNotFoundError):
                os.unlink(state, dir_fd=parts.folder)
        if refers(parts.folder, name, file):
            os.unlink(name, dir_fd=parts.folder)
    finally:
        os.close(file)
    return True


def _waits(parts: Parts, state: str) -> bool:
    """Tell whether an upload has a state that has not expired."""
    try:
        age = time.time() - os.lstat(state, dir_fd=parts.folder).st_mtime
    except FileNotFoundError:
        return False
    return age < parts.keep_for
