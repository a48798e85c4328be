"""Owner of the received files: a user and a group of this machine."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from contextlib import suppress
from dataclasses import dataclass

FORM = re.compile(r"([^:\s]+)(?::([^:\s]+))?|:([^:\s]+)")
"""Owner as text: "user:group", "user" or ":group"."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Owner of files, as chown(2) takes it; -1 leaves what the kernel gives.

    Attributes:
        user: number of the user.
        group: number of the group.
    """

    user: int = -1
    group: int = -1

    @classmethod
    def find(cls, text: str) -> Owner:
        """Find an owner.

        Args:
            text: of the form `FORM`, with names or numbers as chown(1) takes them; "" for none.

        Raises:
            ValueError: this machine has no such user or group; the text tells which.
        """
        match = FORM.fullmatch(text)
        return cls(_user(match[1]), _group(match[2] or match[3])) if match else cls()

    def obstacle(self) -> str | None:
        """Return why this process may not give files to the owner; None if it may."""
        if os.geteuid() == 0:
            return None
        if self.user not in (-1, os.geteuid()):
            return "only root may give files to another user; name a group alone, such as ':staff'"
        if self.group not in (-1, os.getegid(), *os.getgroups()):
            return "files can only be given to a group of the daemon's user, unless that is root"
        return None

    def own(self, file: int, folder: int) -> None:
        """Give a file to the owner; without a group of his, to that of a set-group-ID folder.

        Args:
            file: the descriptor of a file, or of a folder.
            folder: the descriptor of the folder that it belongs to.

        Raises:
            OSError: it may not be given.
        """
        if (self.user, self.group) != (-1, -1):
            os.fchown(file, self.user, self.group)
        around = os.fstat(folder)
        if self.group == -1 and around.st_mode & stat.S_ISGID and around.st_gid != os.fstat(file).st_gid:
            with suppress(PermissionError):  # the daemon's user is not in that group
                os.fchown(file, -1, around.st_gid)


def _user(name: str) -> int:
    if not name:
        return -1
    if name.isdecimal():
        return _number(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ValueError(f"there is no user {name!r} on this machine") from None


def _group(name: str) -> int:
    if not name:
        return -1
    if name.isdecimal():
        return _number(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(f"there is no group {name!r} on this machine") from None


def _number(text: str) -> int:
    if (number := int(text)) >= 2**32 - 1:
        raise ValueError(f"expected the number of a user or group, found {text!r}")
    return number
