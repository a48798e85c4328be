"""Faults that the calls of an upload meet."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.crash.board import Action, Deed
from benchmarks.crash.disk import COLD, FLUSHED

_WRITES = frozenset({"write", "writev", "pwrite", "pwritev", "copy_file", "splice"})
_SYNCS = frozenset({"fsync", "fdatasync", "syncfs", "sync_range"})
_TAKES_ROOM = _WRITES | _SYNCS | {"open", "mkdir", "fallocate", "link", "rename"}
"""Calls that fail for want of room; a synchronization does where room is taken late."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Fault of a column of the table.

    Attributes:
        title: of the column.
        deed: at the call.
        at: the calls that can meet it; empty for all.
        ends: whether the daemon ends by it, or its disk.
        cuts: whether the disk must be one whose power can be cut.
    """

    title: str
    deed: Deed
    at: frozenset[str] = frozenset()
    ends: bool = False
    cuts: bool = False


FAULTS: Mapping[str, Fault] = {
    "kill": Fault("kill -9", Deed(Action.KILL), ends=True),
    "cut": Fault("power cut", Deed(Action.CUT, COLD), ends=True, cuts=True),
    "cut-flushed": Fault("power cut, journal written", Deed(Action.CUT, FLUSHED), ends=True, cuts=True),
    "die": Fault("disk dies", Deed(Action.DIE, COLD), ends=True, cuts=True),
    "enospc": Fault("ENOSPC", Deed(Action.ERROR, errno.ENOSPC), _TAKES_ROOM),
    "edquot": Fault("EDQUOT", Deed(Action.ERROR, errno.EDQUOT), _TAKES_ROOM),
    "eio": Fault("EIO", Deed(Action.ERROR, errno.EIO)),
    "eio-lasting": Fault("EIO from then on", Deed(Action.ERROR, errno.EIO, lasting=True)),
    "short": Fault("short write", Deed(Action.SHORT), _WRITES),
}
