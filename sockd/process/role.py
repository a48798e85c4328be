"""The two roles of a daemon's process, serving and supervising, as the process sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import TimeoutError as TimedOut

from sockd.config import Config, report
from sockd.config.plan import Plan
from sockd.control.own_ports import OwnPort
from sockd.control.words import Code, Refused
from sockd.errors import ConfigError
from sockd.process.aside import aside
from sockd.process.launch import Launch
from sockd.sockets.notify import Notifier

READ_TIMEOUT = 30.0
"""Seconds in which the files of the configuration are read."""

TOO_SLOW = f"the files of the configuration could not be read within {READ_TIMEOUT:g} s: does a mount hang?"

T = TypeVar("T")


class NotChanged(Exception):
    """A reload or an upgrade has failed, and nothing has changed. The text gives the reason to a person."""


class Process(Protocol):
    """A daemon's process, as its role sees it.

    Attributes:
        notifier: the way to the service manager.
        launch: holds what was opened before the daemon detached.
        own_ports: the control socket and the metrics port, as far as they are configured.
        stamp: state of the configuration's files when they were read last.
        config_ok: whether the configuration that was read last is the one that is served.
    """

    notifier: Notifier
    launch: Launch
    own_ports: Sequence[OwnPort]
    stamp: str
    config_ok: bool

    @property
    def reload_due(self) -> bool:
        """Tell whether a reload has been requested that has not begun."""
        ...

    def change(self, what: str) -> AbstractContextManager[None]:
        """Let no other reload or upgrade begin during this one; raises NotChanged."""
        ...


class Role(Protocol):
    """Work of a daemon's process: it serves, or it supervises the workers that serve.

    `process.daemon.DaemonProcess` calls these methods in the order in which they stand here.
    """

    @property
    def resumed(self) -> bool:
        """Tell whether a former image of this process has served before this one."""
        ...

    @property
    def stop_within(self) -> float | None:
        """Seconds from the first signal to the end by the kernel; None where `stop` sets its own limit."""
        ...

    @property
    def hurry_within(self) -> float:
        """Seconds from a further signal to the end by the kernel."""
        ...

    @property
    def config(self) -> Config:
        """The configuration that is served."""
        ...

    @property
    def state(self) -> str:
        """`starting`, `ready` or `stopping`."""
        ...

    def bind(self) -> None:
        """Open the sockets of all services.

        Raises:
            ConfigError: the files have changed since they were read.
            ExceptionGroup: of every BindError; nothing is left open.
        """

    def release(self) -> None:
        """Close the sockets of a daemon that cannot start."""

    async def prepare(self) -> None:
        """Do what has to be done before peers are served; the first steps run before the reactor does."""

    async def start(self) -> None:
        """Serve peers. The reactor runs and the own ports are open."""

    async def settle(self, process: Process) -> None:
        """Do the rest of the start, after the daemon has been reported as ready."""

    def describe(self, *, ending: bool, config_ok: bool) -> str:
        """Return one line for the service manager.

        Args:
            ending: whether the daemon stops.
            config_ok: whether the configuration that was read last is the one that is served.
        """
        ...

    async def plan(self) -> Plan:
        """Return what a reload would change.

        Raises:
            NotChanged: the configuration cannot be served.
        """
        ...

    async def reload(self) -> Plan:
        """Serve what the configuration's file says now, and return what has changed.

        Raises:
            NotChanged: the configuration cannot be served.
        """
        ...

    def give_up_reload(self, reason: str) -> None:
        """Refuse a reload that waits for the start of a plugin; it raises NotChanged with the reason."""

    async def upgrade(self, process: Process) -> None:
        """Execute the code that is installed now.

        Raises:
            NotChanged: the code is the same as before; the log has the reason.
        """

    def reopen_logs(self) -> None:
        """Open the log files of other processes anew."""

    def hurry(self) -> None:
        """Wait for connections no longer."""

    async def stop(self) -> None:
        """Accept no more, and wait for connections and plugins."""


async def read_files(read: Callable[[], T], reactor: Any) -> T:
    """Read files of the configuration in a thread, and return the result.

    Args:
        read: reads them; runs in the thread.
        reactor: keeps the time.

    Raises:
        NotChanged: a file cannot be read in time, or is faulty.
    """
    try:
        return await aside(read, READ_TIMEOUT, reactor)
    except ConfigError as error:
        raise NotChanged(report(error.faults)) from error
    except TimedOut as error:
        raise NotChanged(TOO_SLOW) from error


async def answer_reload(reload: Awaitable[Plan]) -> dict[str, list[str]]:
    """Return the plan of a reload as JSON has it.

    Raises:
        Refused: nothing has changed; the report is in its result.
    """
    try:
        return (await reload).as_dict()
    except NotChanged as error:
        raise Refused("nothing has changed", {"report": str(error)}, code=Code.NOT_CHANGED) from error


def describe_serving(services: int, listeners: int, *, config_ok: bool) -> str:
    """Return one line for the service manager about a daemon that serves."""
    fault = "" if config_ok else "; the configuration read last is not served: see the log"
    return f"services: {services}, listeners: {listeners}{fault}"
