"""Notifications to systemd (sd_notify(3)). Sending never fails; without a service manager it does nothing."""

from __future__ import annotations

import os
import select
import socket
import time
from array import array
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress

from sockd.text import printable

VARIABLES = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "FDSTORE",
)
"""Environment variables that are only for the process that the manager has started (sd_notify(3),
sd_listen_fds(3))."""

MOST_DESCRIPTORS = 253
"""Descriptors that one message carries (SCM_MAX_FD of Linux)."""


def taken_from(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Take `VARIABLES` out of the environment, so that programs that are started do not see them."""
    return {name: environ.pop(name) for name in VARIABLES if name in environ}


class Notifier:
    """Connection to the service manager that has started this process.

    Args:
        address: of its socket: a path, or an abstract name after `@`; empty without a manager.
        watchdog_interval: seconds between two calls of `watchdog`; None if the manager expects none.

    Attributes:
        describe: returns one line for `systemctl status`, sent with each change.
    """

    def __init__(self, address: str = "", watchdog_interval: float | None = None) -> None:
        self.watchdog_interval = watchdog_interval
        self.describe: Callable[[], str] = str
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address:
            # Opened at once: a daemon that is short of descriptors must still send signs of life.
            with suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Notifier:
        """Use the manager that NOTIFY_SOCKET names; WATCHDOG_USEC says whether it expects signs of life."""
        address = environ.get("NOTIFY_SOCKET", "")
        return cls(address if address[:1] in ("/", "@") else "", _interval(environ))

    def ready(self) -> None:
        """Report that peers are served: the start, or a reload, is over."""
        self._send("READY=1", *self._status())

    def changed(self) -> None:
        """Send the present text of `describe`."""
        if status := self._status():
            self._send(*status)

    def reloading(self) -> None:
        """Report that a reload begins; `ready` ends it, with or without success."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the daemon stops."""
        self._send("STOPPING=1", *self._status())

    def _status(self) -> list[str]:
        text = self.describe()
        return [f"STATUS={printable(text)}"] if text else []

    def watchdog(self) -> None:
        """Send a sign of life."""
        self._send("WATCHDOG=1")

    def store(self, descriptors: Sequence[int], name: str) -> None:
        """Let systemd keep copies until the next start, which inherits them under `name`."""
        for start in range(0, len(descriptors), MOST_DESCRIPTORS):
            some = descriptors[start : start + MOST_DESCRIPTORS]
            self._send("FDSTORE=1", f"FDNAME={name}", descriptors=some)

    def forget(self, name: str) -> None:
        """Let systemd close what it keeps under `name`."""
        self._send("FDSTOREREMOVE=1", f"FDNAME={name}")

    def barrier(self, seconds: float) -> None:
        """Wait until systemd has handled all earlier messages, at most for `seconds`."""
        reading, writing = os.pipe()
        try:
            self._send("BARRIER=1", descriptors=[writing])
        finally:
            os.close(writing)
        poll = select.poll()
        poll.register(reading, 0)  # poll always reports that the other end is closed
        poll.poll(seconds * 1000)
        os.close(reading)

    def close(self) -> None:
        """Close the socket; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str, descriptors: Sequence[int] = ()) -> None:
        if self._socket is None:
            return
        # OSError: no manager, or its queue is full; ValueError: the address is invalid.
        with suppress(OSError, ValueError):
            data = "\n".join(lines).encode()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
            self._socket.sendmsg([data], rights, 0, self._address)


def _interval(environ: Mapping[str, str]) -> float | None:
    """Return half of the watchdog's time in seconds, as systemd advises (sd_watchdog_enabled(3))."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdigit() and len(microseconds) < 20):
        return None
    return int(microseconds) / 2_000_000 or None
