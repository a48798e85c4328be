"""Privileges of a worker that runs as the user whom twistd was given."""

from __future__ import annotations

import os

from sockd.control.words import Refused
from sockd.ipc.child import die_with_parent


def give_up_root() -> None:
    """Give up root for good, where twistd was given a user.

    Raises:
        Refused: the process can still become root.
    """
    user, group = os.geteuid(), os.getegid()
    if user:
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    try:
        os.setuid(0)
    except PermissionError:
        pass
    else:
        raise Refused("a worker can still become root, although twistd was given a user")
    if 0 in os.getgroups():
        raise Refused("a worker is still in the group of root, although twistd was given a user")
    die_with_parent()  # a change of user has undone it
