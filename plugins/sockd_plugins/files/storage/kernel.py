"""System calls that Python's `os` does not have, or has with an emulation.

`os.posix_fallocate` is not used: where the file system cannot allocate, the C library writes a byte into
every block instead (posix_fallocate(3), NOTES).
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of fallocate(2)
_NO_REPLACE = 1  # RENAME_NOREPLACE of renameat2(2)
_WRITE = 2  # SYNC_FILE_RANGE_WRITE of sync_file_range(2)
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK}
_NOT_THERE = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}

_libc = ctypes.CDLL(None, use_errno=True)
# glibc has its own name for 64-bit offsets; other C libraries have no other offsets.
_fallocate: Any = getattr(_libc, "fallocate64", None) or getattr(_libc, "fallocate", None)
_renameat2: Any = getattr(_libc, "renameat2", None)
_sync_file_range: Any = getattr(_libc, "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
if _fallocate is not None:
    _fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def allocate(file: int, start: int, length: int) -> bool:
    """Take room on the disk for bytes of a file, without changing the file's size.

    Args:
        file: a descriptor that is open for writing.
        start: offset of the first byte.
        length: in bytes.

    Returns:
        True if the room was taken; False if the file system cannot do that.

    Raises:
        OSError: there is no room, or the disk fails (fallocate(2)).
    """
    while _fallocate is not None:
        if _fallocate(file, _KEEP_SIZE, start, length) == 0:
            return True
        number = ctypes.get_errno()
        if number in _NOT_THERE or number == errno.EPERM:  # a sandbox may forbid it
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return False


def start_writing(file: int) -> None:
    """Begin to write a file's data to the disk, without a wait; a kernel that cannot do that does not."""
    if _sync_file_range is not None:
        _sync_file_range(file, 0, 0, _WRITE)


def rename_new(source_folder: int, source: str, folder: int, name: str) -> None:
    """Rename a file, unless the new name exists.

    Args:
        source_folder: the descriptor of the folder that `source` is in.
        source: the old name.
        folder: the descriptor of the folder that `name` is to be in, on the same file system.
        name: the new name.

    Raises:
        FileExistsError: the name is taken.
        OSError: with EOPNOTSUPP where the kernel or the file system cannot, else as renameat2(2).
    """
    if _renameat2 is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    names = os.fsencode(source), os.fsencode(name)
    if _renameat2(source_folder, names[0], folder, names[1], _NO_REPLACE) != 0:
        number = ctypes.get_errno()
        if number in _NOT_THERE:
            number = errno.EOPNOTSUPP
        raise OSError(number, os.strerror(number))


def give_name(source_folder: int, source: str, folder: int, name: str) -> None:
    """Give a file a name in another folder by a hard link, or by a rename where the file system has none.

    Args:
        source_folder: the descriptor of the folder that the file is in.
        source: its name there.
        folder: the descriptor of the other folder.
        name: in it.

    Raises:
        FileExistsError: the name is taken.
        OSError: the disk fails, or the file system has neither.
    """
    try:
        os.link(source, name, src_dir_fd=source_folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        rename_new(source_folder, source, folder, name)
