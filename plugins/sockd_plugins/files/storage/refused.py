"""Refusals of files, with the codes and texts of the protocols."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from sockd_plugins.database import DatabaseError

Code = Literal[
    "bad-request",
    "bad-name",
    "too-large",
    "too-slow",
    "disk-full",
    "quota",
    "too-many",
    "exists",
    "unknown",
    "busy",
    "taken",
    "denied",
    "expired",
    "incomplete",
    "overrun",
    "digest-mismatch",
    "io",
]

_CODES: dict[int | None, Code] = {
    errno.ENOSPC: "disk-full",
    errno.EDQUOT: "disk-full",
    errno.EFBIG: "too-large",
}


class FileRefused(Exception):
    """Refusal of a file. The code is for programs, the text for people."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn an error of the disk into a refusal that does not show the paths of this machine.

    Raises:
        FileRefused: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        told = isinstance(error, DatabaseError)
        reason = str(error.strerror) if told else os.strerror(error.errno or errno.EIO).lower()
        raise FileRefused(_CODES.get(error.errno, "io"), reason) from error
