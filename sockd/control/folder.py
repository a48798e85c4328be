"""Safety of a folder: no other user can put another file in the place of one in it.

Its owner and that of every folder above it is root or a trusted user, and nobody else can write there, as
OpenSSH asks for authorized_keys (StrictModes). In a folder with the sticky bit others cannot replace a file.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Container, Iterator
from pathlib import Path

from sockd.sockets.holder import user_name

MOST_LINKS = 40
"""On the way to a file, as the kernel has it (path_resolution(7))."""


def danger(folder: Path, trusted: Container[int]) -> str | None:
    """Return why a folder is not safe; None if it is.

    Args:
        folder: exists; symbolic links on the way to it are followed.
        trusted: users whose folders are safe, besides root's.

    Raises:
        OSError: a folder cannot be looked at.
    """
    folder, unmapped = folder.absolute(), _unmapped()
    for each in _on_the_way(folder):
        status = each.stat()
        if not (status.st_uid == 0 or status.st_uid in trusted or status.st_uid in unmapped):
            return f"{each} belongs to {user_name(status.st_uid)}, who could put another socket in its place"
        if status.st_mode & stat.S_ISVTX:
            continue
        if each != folder and os.path.ismount(each):
            continue  # a volume of a container: everybody may write to it, and nobody else is there
        by_group = status.st_mode & stat.S_IWGRP and (each == folder or not _private(status))
        if status.st_mode & stat.S_IWOTH or by_group:
            where, mode = ("its folder", "700") if each == folder else (str(each), "go-w")
            return f"others can write to {where}; chmod {mode} {each}"
    return None


def _on_the_way(folder: Path, links: int = MOST_LINKS) -> Iterator[Path]:
    """Yield the folder and all above it, and those that hold the links on the way."""
    for each in (folder, *folder.parents):
        yield each
        if links and each.is_symlink():
            yield from _on_the_way(Path(os.path.abspath(each.parent / each.readlink())), links - 1)


def _private(status: os.stat_result) -> bool:
    """Tell whether the group has only its owner as a member; many systems make one for each user."""
    try:
        user, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return user.pw_gid == group.gr_gid and set(group.gr_mem) <= {user.pw_name}


def _unmapped() -> frozenset[int]:
    """Return the user that stands for all that do not exist in this namespace (user_namespaces(7))."""
    try:
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
        ranges = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except (OSError, ValueError):  # hidden, as by ProcSubset=pid of systemd
        return frozenset()
    mapped = any(int(first) <= overflow < int(first) + int(count) for first, _, count in ranges)
    return frozenset() if mapped else frozenset({overflow})
