"""Pid file: names the daemon's process, and keeps a second one from starting beside it.

A lock on the file (flock(2)) tells whether the daemon lives. The number in it does not: after a crash it may
be that of another program, and in a container it is often one's own.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path

from sockd.text import describe_os_error

MODE = 0o644
"""Mode of the file: monitors of any user may read the number."""

LONGEST = 32
"""Bytes of a number that are read."""

_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

_REASONS = {errno.ELOOP: "is a symbolic link", errno.EISDIR: "is a folder"}


class PidFileError(Exception):
    """The file cannot be used, or its daemon runs already. The text gives the reason in one line."""


class PidFile:
    """A pid file that this process has locked, and removes at its exit if it names no other.

    Args:
        path: absolute.
        descriptor: of the open file, which holds the lock.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        # The process that removes it; what a former daemon has left stays until this one is named in it.
        self._remover = os.getpid() if _number(descriptor) in (None, os.getpid()) else 0
        # Before the log's own, so that it is removed when the last line has been written.
        atexit.register(self.remove)

    @classmethod
    def take(cls, path: Path) -> PidFile:
        """Open and lock the file, whatever number is in it.

        Raises:
            PidFileError: it cannot be opened, or a daemon that lives has locked it.
        """
        while True:
            try:
                descriptor = _open(path)
            except OSError as error:
                reason = _REASONS.get(error.errno or 0, describe_os_error(error))
                raise PidFileError(f"cannot write the pid file {path}: {reason}") from error
            try:
                _lock(path, descriptor)
                if _is_at(path, descriptor):
                    return cls(path, descriptor)
            except BaseException:  # whatever it was, nothing stays open
                os.close(descriptor)
                raise
            os.close(descriptor)  # its daemon has just removed it; the next one is another file

    def write(self) -> None:
        """Name this process.

        Raises:
            PidFileError: there is no room for it.
        """
        try:
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, b"%d" % os.getpid(), 0)
        except OSError as error:
            raise PidFileError(f"cannot write the pid file {self.path}: {error.strerror}") from error
        self._remover = os.getpid()

    def remove(self) -> None:
        """Remove the file that names this process."""
        if self._remover != os.getpid():
            return
        self._remover = 0
        with suppress(OSError):
            os.ftruncate(self.descriptor, 0)  # where it cannot be removed, as after --chroot, it names nobody
        with suppress(OSError):
            if _is_at(self.path, self.descriptor):
                self.path.unlink()


def _open(path: Path) -> int:
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        descriptor = os.open(path, _FLAGS | os.O_CREAT, MODE)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file")
    return descriptor


def _lock(path: Path, descriptor: int) -> None:
    pid = _number(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if pid is None or not Path(f"/proc/{pid}").exists():
            raise PidFileError(f"another process holds the pid file {path}; end it first") from None
        raise PidFileError(f"this daemon already runs, pid {pid} (pid file {path})") from None
    if pid is not None and pid != os.getpid() and _is_twistd_with(path, pid):
        raise PidFileError(
            f"another twistd runs with this pid file, pid {pid} ({path}); name another file with --pidfile"
        )


def _number(descriptor: int) -> int | None:
    text = os.pread(descriptor, LONGEST, 0).strip()
    return int(text) if text.isdigit() else None


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _is_twistd_with(path: Path, pid: int) -> bool:
    """Tell whether a process is a twistd that has written this pid file, and does not lock it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        folder = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return False
    if "twistd" not in (Path(word).name for word in words[:2]) or "sockd" in words:
        return False
    named = "twistd.pid"
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--pidfile":
            named = following
        elif word.startswith("--pidfile="):
            named = word.removeprefix("--pidfile=")
    return folder / named == path
