"""Comparison of the calls that the preloaded library counts with those that strace(1) sees."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

from benchmarks.crash.sending import Client
from benchmarks.crash.trial import Lab
from benchmarks.processes import START_TIMEOUT, MeasureError

_NAMES = {
    "pwrite64": "pwrite",
    "pwritev2": "pwritev",
    "linkat": "link",
    "renameat": "rename",
    "renameat2": "rename",
    "unlinkat": "unlink",
    "rmdir": "unlink",
    "mkdirat": "mkdir",
    "openat": "open",
    "utimensat": "utimens",
    "copy_file_range": "copy_file",
    "sync_file_range": "sync_range",
}

_CALLS = (
    *("open", "openat", "mkdir", "mkdirat", "write", "writev", "pwrite64", "pwritev", "pwritev2"),
    *("copy_file_range", "splice", "sendfile", "fallocate", "ftruncate", "truncate"),
    *("fsync", "fdatasync", "syncfs", "sync_file_range", "msync", "io_uring_enter"),
    *(
        "link",
        "linkat",
        "symlink",
        "symlinkat",
        "rename",
        "renameat",
        "renameat2",
        "unlink",
        "unlinkat",
        "rmdir",
    ),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "utimensat", "setxattr", "fsetxattr"),
)
"""Calls that strace has to show: all that change files or make changes durable."""

_LINE = re.compile(r"(?:\d+ +)?(\w+)\((.*)")


def missing(lab: Lab, client: Client) -> dict[str, int]:
    """Return the calls of an upload that strace sees more often than the library, with the differences.

    Raises:
        MeasureError: there is no strace here, or it cannot attach.
    """
    if not shutil.which("strace"):
        raise MeasureError("there is no strace here")
    lab.ready()
    output = lab.nursery.folder / "strace"
    command = ["strace", "-f", "-y", "-s0", "-o", str(output), "-p", str(lab.nursery.pid)]
    tracer = subprocess.Popen(  # noqa: S603  # our own
        [*command, "-e", f"trace={','.join(_CALLS)}"], stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_until_traced(lab.nursery.pid, tracer)
        lab.board.arm(lab.disk.folder)
        client.send(lab.port(client), lab.file(client))
        lab.settle()
        lab.board.disarm()
    finally:
        tracer.terminate()
        tracer.communicate()
    seen = _seen(output, lab.disk.folder)
    seen.subtract(lab.board.calls)
    lab.nursery.kill()
    return {name: more for name, more in seen.items() if more}


def _wait_until_traced(pid: int, tracer: subprocess.Popen[str]) -> None:
    """Wait until all threads of a process are traced."""
    until = time.monotonic() + START_TIMEOUT
    while not all(
        "TracerPid:\t0\n" not in task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/status")
    ):
        if tracer.poll() is not None or time.monotonic() > until:
            raise MeasureError(f"strace cannot attach: {tracer.stderr.read() if tracer.stderr else ''}")
        time.sleep(0.01)


def _seen(output: Path, folder: Path) -> Counter[str]:
    """Count the calls on files within a folder."""
    counts: Counter[str] = Counter()
    for line in output.read_text().splitlines():
        match = _LINE.match(line)
        if match is None or f"<{folder}" not in match[2] or "resumed>" in line:
            continue
        if match[1] in ("open", "openat") and "O_CREAT" not in match[2]:
            continue
        counts[_NAMES.get(match[1], match[1])] += 1
    return counts
