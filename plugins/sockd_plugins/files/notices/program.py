"""Program that is run for each received file."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from threading import Event

from sockd.text import describe_os_error, printable
from sockd_plugins.files.notices.notice import NotDelivered, Notice

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Folders of programs that are named without one."""

_SHOWN = 300
"""Bytes of the end of what a program complains that are told; the rest is read and dropped."""

_GRACE_SECONDS = 2.0  # between SIGTERM and SIGKILL

_LOOK_SECONDS = 0.2  # between two looks whether to stop

_READ = 65536  # bytes


@dataclass(frozen=True, slots=True)
class Program:
    """Program with its arguments; no shell sees them.

    It gets the notice as a line of JSON on its standard input, and in its environment SOCKD_FILE, the path of
    the file, and SOCKD_NAME, SOCKD_SIZE, SOCKD_DIGEST, SOCKD_ID and SOCKD_SERVICE. `{file}` in an argument
    stands for the path too. Nothing else of the daemon's environment is passed on. Exit code 0 means that
    the program has taken the notice. What it has started ends with it, unless in a session of its own
    (setsid(1)).

    Attributes:
        arguments: the first is the program.
        seconds: it may take; then it is ended, with all that it has started.
        directory: with the received files.
        service: the name of the service.
    """

    arguments: Sequence[str]
    seconds: float
    directory: Path
    service: str

    def deliver(self, notice: Notice, stopping: Event) -> None:
        """Run the program for a file, and wait for its end.

        Args:
            notice: of the file.
            stopping: set when the program has to end at once.

        Raises:
            NotDelivered: it cannot be started, has failed, or has taken too long.
        """
        program, file = self.arguments[0], str(self.directory / notice.path)
        try:
            process = subprocess.Popen(  # noqa: S603  # an argument list of the configuration
                [argument.replace("{file}", file) for argument in self.arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=self._environment(notice, file),
                cwd=self.directory,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise NotDelivered(f"{program} cannot be started: {_reason(error)}") from error
        with process:
            try:
                complaint = self._attend(process, notice, stopping)
            finally:
                _end_session(process)
        if process.returncode:
            raise NotDelivered(f"{program} {_how_ended(process.returncode)}{complaint and ': '}{complaint}")

    def _attend(self, process: subprocess.Popen[bytes], notice: Notice, stopping: Event) -> str:
        """Give the notice to the program, and read complaints until it ends; return the last of them."""
        assert process.stdin is not None and process.stderr is not None  # noqa: PT018, S101  # both are pipes
        with suppress(BrokenPipeError):  # it need not read; a pipe takes the notice whole
            process.stdin.write(notice.as_json(self.service))
            process.stdin.close()
        errors, end, last = process.stderr.fileno(), time.monotonic() + self.seconds, b""
        with DefaultSelector() as selector:
            selector.register(errors, EVENT_READ)
            while not _has_ended(process):
                if time.monotonic() >= end:
                    raise NotDelivered(f"{self.arguments[0]} took more than {self.seconds:g} seconds")
                if stopping.is_set():
                    raise NotDelivered("the service stops")
                for _ in selector.select(_LOOK_SECONDS):
                    if not (data := os.read(errors, _READ)):
                        selector.unregister(errors)
                    last = (last + data)[-_SHOWN:]
        return _one_line(last + _rest(errors))

    def _environment(self, notice: Notice, file: str) -> dict[str, str]:
        return {
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "SOCKD_FILE": file,
            "SOCKD_NAME": notice.path,
            "SOCKD_SIZE": str(notice.size),
            "SOCKD_DIGEST": notice.digest,
            "SOCKD_ID": notice.id,
            "SOCKD_SERVICE": self.service,
        }


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a program has ended, and leave it to be reaped: its number stays its own until then."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End a program with all that it has started, if they still run."""
    if not _has_ended(process):
        _signal(process, signal.SIGTERM)
        end = time.monotonic() + _GRACE_SECONDS
        while not _has_ended(process) and time.monotonic() < end:
            time.sleep(_GRACE_SECONDS / 20)
    _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to a program and what it has started; another user's, as of sudo(8), does not get it."""
    with suppress(PermissionError):
        os.killpg(process.pid, number)


def _reason(error: OSError | ValueError) -> str:
    return describe_os_error(error) if isinstance(error, OSError) else str(error)


def _how_ended(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _rest(file: int) -> bytes:
    """Return what is left in a pipe that others may still write to."""
    os.set_blocking(file, False)
    try:
        return os.read(file, _READ)
    except BlockingIOError:
        return b""


def _one_line(text: bytes) -> str:
    return printable(" ".join(text[-_SHOWN:].decode(errors="replace").split()))
