"""Programs that are run for a received file: an argument list without a shell, bounded in time and output."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from sockd.text import decoded

_PASSED_ON = ("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR")
"""Variables of the daemon that a program sees; nothing else of its environment is the program's."""

_KEPT = 2000  # bytes of what a program complains about


class ProgramFailed(Exception):
    """Failure of a program. The text is the reason, in one line."""


def run_program(arguments: Sequence[str], variables: Mapping[str, str], data: bytes, seconds: float) -> None:
    """Run a program, and wait for its end.

    Args:
        arguments: its path and arguments.
        variables: its environment, beside a few variables of the daemon.
        data: its standard input, less than a pipe holds.
        seconds: after which it is killed, with all that it has started.

    Raises:
        ProgramFailed: it cannot be started, is killed, or exits with a code other than 0.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | dict(variables)
    try:
        process = subprocess.Popen(  # noqa: S603  # the operator's own arguments, and no shell
            arguments,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise ProgramFailed(f"it cannot be started: {error}") from error
    with process:
        try:
            assert process.stdin is not None  # noqa: S101  # it is a pipe
            with suppress(BrokenPipeError):
                process.stdin.write(data)
                process.stdin.close()
            complaint, in_time = _complaint(process, seconds)
        except BaseException:
            _kill(process)
            raise
        if not in_time:
            _kill(process)
    if not in_time:
        raise ProgramFailed(f"it was killed after {seconds:g} seconds")
    if process.returncode != 0:
        said = decoded(complaint.strip())
        raise ProgramFailed(f"it exited with {process.returncode}{': ' if said else ''}{said}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program with all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _complaint(process: subprocess.Popen[bytes], seconds: float) -> tuple[bytes, bool]:
    """Return the beginning of what a program writes as an error, and whether it ended in time."""
    assert process.stderr is not None  # noqa: S101  # it is a pipe
    until, kept = time.monotonic() + seconds, b""
    while (left := until - time.monotonic()) > 0:
        if not select.select([process.stderr], [], [], left)[0]:
            break
        piece = os.read(process.stderr.fileno(), 65536)
        kept = (kept + piece)[:_KEPT]
        if not piece:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(until - time.monotonic(), 0))
                return kept, True
            break
    return kept, False
