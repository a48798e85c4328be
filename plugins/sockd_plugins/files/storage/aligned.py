"""Memory at addresses that writes past the page cache need, in huge pages where the kernel has them.

A huge page costs one look-up where ordinary ones cost 512, so that a large write takes a third of the time.
"""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress

HUGE = 1 << 21
"""Bytes of a huge page, to which the memory is aligned."""


def aligned_memory(size: int) -> ctypes.Array[ctypes.c_char]:
    """Return memory of its own, which is used up as it is written, and freed with its last reference.

    Args:
        size: bytes.
    """
    memory = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError, AttributeError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    return (ctypes.c_char * size).from_buffer(memory, -start % HUGE)


def address(view: memoryview) -> int:
    """Return the address of the first byte of memory that can be written to."""
    return ctypes.addressof(ctypes.c_char.from_buffer(view))
