"""The serving role of a daemon's process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sockd.config import Config, Source, report
from sockd.config.document import MAX_FAULTS
from sockd.config.plan import Plan
from sockd.control.words import UPGRADE_NEEDS_WORKERS
from sockd.errors import ConfigError, reasons
from sockd.process.end import HURRY, PLUGIN_STOP_TIMEOUT
from sockd.process.memory import settle_memory
from sockd.process.role import NotChanged, Process, describe_serving, read_files
from sockd.serving.server import Server
from sockd.serving.status import Moved, snapshot
from sockd.telemetry.events import DaemonEvents
from sockd.telemetry.logs import Log
from sockd.telemetry.snapshot import ProcessSnapshot
from sockd.telemetry.watchdog import Watchdog


class ServingRole:
    """Process that serves all of the configuration.

    Args:
        server: serves.
        reactor: the one that will run.
        log: whose level can be changed; None where twistd's own options say how events are written.
        source: the configuration's file; None where there is none.
    """

    resumed = False
    hurry_within = HURRY

    def __init__(self, server: Server, reactor: Any, log: Log | None, source: Source | None) -> None:
        self.server = server
        self._reactor = reactor
        self._log = log
        self._source = source
        self.stop_within = server.config.daemon.drain_timeout + PLUGIN_STOP_TIMEOUT + HURRY
        self._events = DaemonEvents()
        self._watchdog: Watchdog | None = None

    @property
    def config(self) -> Config:
        """The configuration that is served."""
        return self.server.config

    @property
    def state(self) -> str:
        """`starting`, `ready` or `stopping`."""
        return self.server.state

    # The start.

    def bind(self) -> None:
        """Open the sockets of all services; raises an ExceptionGroup of every BindError."""
        self.server.bind()

    def release(self) -> None:
        """Close the sockets."""
        self.server.release()

    async def prepare(self) -> None:
        """Start the plugins.

        Raises:
            PluginError: one cannot start; the others are stopped.
        """
        await self.server.start()

    async def start(self) -> None:
        """Serve peers."""
        self.server.open()

    async def settle(self, process: Process) -> None:  # noqa: ARG002  # as Role has it
        """Start the watchdog, and set the garbage collector."""
        if (limit := self.config.daemon.watchdog) is not None:
            self._watchdog = Watchdog(limit, self._events.blocked, self._reactor)
            self._watchdog.start()
        settle_memory()

    def describe(self, *, ending: bool, config_ok: bool) -> str:
        """Return one line for the service manager."""
        if ending:
            return f"stopping, with {self.server.connections} connections"
        services = self.server.services
        listeners = sum(len(each.listeners) for each in services)
        return describe_serving(len(services), listeners, config_ok=config_ok)

    # What an operator may ask.

    def snapshot(self, moved: Moved | None = None) -> ProcessSnapshot:
        """Return the status of the server.

        Args:
            moved: bytes of connections, as far as they have been asked already.
        """
        delay = self._watchdog.delay().worst if self._watchdog is not None else 0.0
        return snapshot(self.server, moved, reactor_delay=delay)

    def set_log_level(self, level: str) -> None:
        """Write events of this level and above from now on.

        Raises:
            ValueError: the log is not sockd's own.
        """
        if self._log is None:
            raise ValueError("the log is not sockd's own, as twistd was given --logger or --syslog")
        self._log.set_level(level)
        self.server.tell_each_connection(level == "debug")

    # Changes.

    async def plan(self) -> Plan:
        """Return what a reload would change; raises NotChanged."""
        return self.server.plan(await self._read())

    async def reload(self) -> Plan:
        """Serve what the configuration's file says now; raises NotChanged."""
        config = await self._read()
        try:
            plan = await self.server.reload(config)
        except ExceptionGroup as error:
            raise NotChanged(reasons(error)) from error
        if self._log is not None:
            self.set_log_level(config.log.level)
        return plan

    def give_up_reload(self, reason: str) -> None:
        """Refuse a reload that waits for the start of a plugin."""
        self.server.give_up_starts(reason)

    async def _read(self) -> Config:
        """Return the configuration as the file has it now.

        Every file is read once in a thread, as a read may hang. Plugins are then imported on the reactor's
        thread, which some of them need.
        """
        source = self._source
        if source is None:
            raise NotChanged("there is no configuration file")

        def read() -> None:
            try:
                replace(source, find_plugin=None).load()
            except ConfigError as error:  # raised again below, unless it takes long to find so many faults
                if len(error.faults) > MAX_FAULTS:
                    raise

        await read_files(read, self._reactor)
        try:
            return source.load()
        except ConfigError as error:
            raise NotChanged(report(error.faults)) from error

    async def upgrade(self, process: Process) -> None:  # noqa: ARG002  # as Role has it
        """Refuse; only workers can hand their sockets to other code.

        Raises:
            NotChanged: always.
        """
        self._events.not_upgraded(UPGRADE_NEEDS_WORKERS)
        raise NotChanged(UPGRADE_NEEDS_WORKERS)

    # The end.

    def reopen_logs(self) -> None:
        """Do nothing; there are no other processes."""

    def hurry(self) -> None:
        """Wait for connections no longer."""
        self.server.hurry()

    async def stop(self) -> None:
        """Accept no more, and wait for connections and plugins."""
        await self.server.stop()
