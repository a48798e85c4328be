"""Sink of log lines: a descriptor that may be full, stuck or gone, without a wait for the writer of a line.

Lines wait in a bounded queue for a thread that writes many of them at once. Lines that cannot be written are
kept while there is room; further lines are dropped and counted, and an event reports their number when
writing works again. The order is kept. No line is torn, except the last line of a process that ends on a full
disk.
"""

from __future__ import annotations

import atexit
import errno
import math
import os
import select
import stat
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from sockd.telemetry.catalogue import LINES_DROPPED, LOG_NOT_REOPENED, Event
from sockd.text import describe_os_error

FILE_MODE = 0o640
"""Mode of log files: they hold addresses of peers, which other users may not read."""

MAX_LINES = 10_000
"""Lines in the queue: some seconds of a busy daemon, as long as a disk may take for a flush."""

MAX_BYTES = 4 * 1024 * 1024
"""Characters in the queue, and as many again with the thread: MAX_LINES of 400; tracebacks are longer."""

GATHER = 0.02
"""Seconds that the thread waits for more lines after the first: at most 50 wake-ups each second."""

RETRY = 0.25
"""Seconds between a failed write and the next attempt."""

EXIT_TIMEOUT = 1.0
"""Seconds that the end of the process waits for the last lines."""

CHUNK = 64 * 1024
"""Bytes of one write: reopening the file waits for one write, not for megabytes."""

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW | os.O_NONBLOCK
# O_NONBLOCK: a FIFO without a reader is an error instead of a wait.


def open_path(path: Path) -> int:
    """Open a log file for appending; it has its mode from the first moment.

    A symbolic link is refused: the daemon may be root, and the folder may belong to the user that it becomes.

    Raises:
        OSError: the file cannot be opened, is a symbolic link, or is a FIFO without a reader.
    """
    try:
        descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, FILE_MODE)
        os.fchmod(descriptor, FILE_MODE)  # whatever the umask
    except FileExistsError:
        try:
            descriptor = os.open(path, _FLAGS)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OSError(errno.ELOOP, "is a symbolic link", str(path)) from None
            raise
    os.set_blocking(descriptor, True)
    return descriptor


class Sink:
    """Queue of lines from any thread, and the thread that writes them to a descriptor.

    Args:
        opener: opens the destination and returns its descriptor; `reopen` calls it again.
        max_lines: lines that may wait.
        max_bytes: characters that may wait.

    Attributes:
        announce: returns the line of an event of the sink itself.
        dropped: lines that were dropped since the start.

    Raises:
        OSError: the destination cannot be opened.
    """

    def __init__(
        self, opener: Callable[[], int], *, max_lines: int = MAX_LINES, max_bytes: int = MAX_BYTES
    ) -> None:
        self.announce = _announced
        self.dropped = 0
        self._open = opener
        self._descriptor = opener()
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._deadline = math.inf  # once closed: end of all attempts
        self._complained = False
        self._begin()
        # A daemon forks after its log is opened, and threads do not come along.
        os.register_at_fork(after_in_child=partial(_begin_in_child, weakref.ref(self)))
        atexit.register(self.close)

    def _begin(self) -> None:
        """Start with an empty queue and no thread; lines that wait at a fork belong to the parent."""
        self._lock = threading.RLock()  # garbage collection may write a line at any point
        self._bell: SimpleQueue[None] = SimpleQueue()  # the queue of the standard library that is reentrant
        self._thread: threading.Thread | None = None
        self._asleep = False
        self._stale = False
        self._lines: list[str] = []
        self._size = 0
        self._lost = 0
        self._flushing: list[SimpleQueue[None]] = []
        self._stuck = False

    def write(self, line: str) -> None:
        """Queue a line that ends with its newline. Never wait, never raise."""
        with self._lock:
            full = len(self._lines) >= self._max_lines or self._size + len(line) > self._max_bytes
            if full or self._closed():
                self._lost += 1
                self.dropped += 1
            else:
                self._lines.append(line)
                self._size += len(line)
        if full:
            self._complain("it takes nothing more")
        if self._asleep or self._thread is None:
            self._ring()

    def flush(self, timeout: float) -> None:
        """Wait until all lines are written; return at once if nothing was written since a wait failed."""
        if self._stuck or self._closed():
            return
        flushed: SimpleQueue[None] = SimpleQueue()
        with self._lock:
            self._flushing.append(flushed)
        self._ring()
        try:
            flushed.get(timeout=timeout)
        except Empty:
            self._stuck = True

    def reopen(self) -> None:
        """Open the destination again after a rename; the old descriptor stays if that fails."""
        self._stale = True
        self._ring()

    def close(self, timeout: float = EXIT_TIMEOUT) -> None:
        """Write the waiting lines within this many seconds, and take no further lines."""
        if self._closed():
            return
        atexit.unregister(self.close)
        self._deadline = time.monotonic() + timeout
        self._ring()
        if self._thread is not None:
            self._thread.join(timeout)

    def isatty(self) -> bool:
        """Return whether the destination is a terminal."""
        return os.isatty(self._descriptor)

    def _closed(self) -> bool:
        return self._deadline < math.inf

    def _ring(self) -> None:
        """Wake the thread, or start a thread."""
        with self._lock:
            self._asleep = False
            if begun := self._thread is None:
                self._thread = thread = threading.Thread(target=self._run, name="log", daemon=True)
        if begun:
            try:
                thread.start()
            except RuntimeError:  # the limit of threads is reached; the next line tries again
                self._thread = None
        elif self._bell.empty():
            self._bell.put(None)

    # The thread runs the methods below.

    def _run(self) -> None:
        while True:
            if self._stale:
                self._open_anew()
            with self._lock:
                flushing, self._flushing = self._flushing, []
            text = self._take()
            self._put(text.encode("utf-8", "backslashreplace"))
            for flushed in flushing:
                flushed.put(None)
            if text:
                continue
            if self._closed():
                break
            self._bell.get()
            self._rest(GATHER)
        _close(self._descriptor)

    def _take(self) -> str:
        """Return the waiting lines, and the event of the lines dropped since the last call."""
        with self._lock:
            lines, self._lines, self._size = self._lines, [], 0
            lost, self._lost = self._lost, 0
            self._asleep = not lines and not lost
        if lost:
            lines.append(self.announce(LINES_DROPPED, {"count": lost}))
        return "".join(lines)

    def _put(self, data: bytes) -> None:
        """Write all bytes, with as many attempts as that takes."""
        at = 0
        while at < len(data):
            if self._stale and self._open_anew():
                at = data.rfind(b"\n", 0, at) + 1  # the new file begins with a whole line
            try:
                at += os.write(self._descriptor, data[at : self._end_of_write(data, at)])
                self._stuck = False
            except OSError as error:
                if time.monotonic() >= self._deadline:
                    self.dropped += data.count(b"\n", at)
                    return
                self._complain(describe_os_error(error))
                self._wait_until_better(error)

    def _end_of_write(self, data: bytes, at: int) -> int:
        """Return the end of the next write: whole lines if possible, and one atomic write for a pipe."""
        size = select.PIPE_BUF if stat.S_ISFIFO(os.fstat(self._descriptor).st_mode) else CHUNK
        if at + size >= len(data):
            return len(data)
        return data.rfind(b"\n", at, at + size) + 1 or data.find(b"\n", at + size) + 1 or len(data)

    def _wait_until_better(self, error: OSError) -> None:
        if isinstance(error, BlockingIOError):  # another process that shares it has set O_NONBLOCK
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll(RETRY * 1000)
        else:
            self._rest(RETRY)

    def _rest(self, seconds: float) -> None:
        """Pause until the time is over or the bell rings."""
        with suppress(Empty):
            self._bell.get(timeout=seconds)

    def _open_anew(self) -> bool:
        self._stale = False
        try:
            descriptor = self._open()
        except OSError as error:
            with self._lock:
                self._lines.append(self.announce(LOG_NOT_REOPENED, {"reason": describe_os_error(error)}))
            return False
        _close(self._descriptor)
        self._descriptor = descriptor
        return True

    def _complain(self, why: str) -> None:
        """Report the first fault on standard error, as the log itself is lost."""
        if self._complained:
            return
        self._complained = True
        text = f"sockd: the log cannot be written ({why}); lines are kept while there is room, then dropped\n"
        # In another thread: standard error may be as stuck as the log is.
        with suppress(RuntimeError):
            threading.Thread(target=_to_standard_error, args=(text,), daemon=True).start()


def _begin_in_child(this: weakref.ref[Sink]) -> None:
    if sink := this():
        sink._begin()


def _close(descriptor: int) -> None:
    with suppress(OSError):  # write errors have been reported already
        os.close(descriptor)


def _announced(event: Event, fields: Mapping[str, object]) -> str:
    return " ".join([event.name, *(f"{key}={value}" for key, value in fields.items())]) + "\n"


def _to_standard_error(text: str) -> None:
    with suppress(OSError):
        os.write(2, text.encode())
