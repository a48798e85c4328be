"""The supervising role of a daemon's process."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sockd import __version__
from sockd.config import Config
from sockd.config.plan import Plan
from sockd.control.dialog import command_of, line_of, refusal
from sockd.control.listener import ControlListener
from sockd.control.words import Code
from sockd.process.end import HURRY, PLUGIN_STOP_TIMEOUT
from sockd.process.role import NotChanged, Process, describe_serving
from sockd.sockets.store import Store
from sockd.supervisor.crew import CannotServe
from sockd.supervisor.handover import Handover, socket_to_json
from sockd.supervisor.operator import not_upgraded
from sockd.supervisor.succession import NotReplaced, execute, try_out
from sockd.supervisor.supervisor import Supervisor
from sockd.telemetry.logs import Log

GRACE = 2.0
"""Seconds beyond what a worker may take to end, before it is ended."""

REPLACED = refusal(
    "the supervisor has been replaced by other code meanwhile; ask again", code=Code.INTERRUPTED
)
"""The answer to any other command that was being carried out when the supervisor was replaced."""


class SupervisingRole:
    """Parent process that lets workers serve.

    Args:
        supervisor: of the workers.
        reactor: the one that will run.
        log: whose level can be changed; None where twistd's own options say how events are written.
        store: tells which sockets belong to units of the service manager.
        twistd: returns the words of twistd's command line for another image of this process.
        manager: the service manager's variables of the environment.
        handed: the state that a former image of this process has left; None if there was none.
    """

    stop_within = None
    hurry_within = HURRY + GRACE

    def __init__(
        self,
        supervisor: Supervisor,
        reactor: Any,
        log: Log | None,
        store: Store,
        twistd: Callable[[], Sequence[str]],
        manager: Mapping[str, str],
        handed: Mapping[str, Any] | None,
    ) -> None:
        self.supervisor = supervisor
        self._reactor = reactor
        self._log = log
        self._store = store
        self._twistd = twistd
        self._manager = dict(manager)
        self.resumed = handed is not None
        self._unanswered: Sequence[tuple[int, str]] = handed["owed"] if handed is not None else ()

    @property
    def config(self) -> Config:
        """The configuration that is served."""
        return self.supervisor.config

    @property
    def state(self) -> str:
        """`starting`, `ready` or `stopping`."""
        return self.supervisor.state

    # The start.

    def bind(self) -> None:
        """Open the sockets of all services; raises as `Supervisor.bind` does."""
        self.supervisor.bind()

    def release(self) -> None:
        """Close the sockets."""
        self.supervisor.release()

    async def prepare(self) -> None:
        """Do nothing; workers are started once the reactor runs."""

    async def start(self) -> None:
        """Bring all workers to serve; those of a former image do already.

        Raises:
            CannotServe: there is none that does.
        """
        if self.resumed:
            return
        try:
            await self.supervisor.start()
        except CannotServe:
            raise
        except Exception as error:  # whatever it was, its kind is told too
            raise CannotServe(f"{type(error).__name__}: {error}") from error

    async def settle(self, process: Process) -> None:
        """Finish the upgrade that has brought this image, if one has, and answer whoever asked for it."""
        if not self.resumed:
            return
        self.supervisor.events.replaced(__version__)
        self.supervisor.crew.go_on()
        line = await line_of(self._renew(process))
        for descriptor, request in self._unanswered:
            with socket.socket(fileno=descriptor) as peer, suppress(OSError):
                peer.setblocking(False)
                peer.sendall((line if command_of(request) == "upgrade" else REPLACED) + b"\n")

    async def _renew(self, process: Process) -> dict[str, int]:
        try:
            with process.change("upgrade"):
                return {"generation": await self.supervisor.renew()}
        except NotChanged as error:
            raise not_upgraded(error) from error

    def describe(self, *, ending: bool, config_ok: bool) -> str:
        """Return one line for the service manager."""
        if ending or self.state != "ready":
            return "stopping"
        services, crew = self.config.services, self.supervisor.crew
        listeners = sum(len(each.listen) for each in services.values())
        serving = describe_serving(len(services), listeners, config_ok=config_ok)
        return f"{serving}; workers: {len(crew.serving)} of {len(crew.workers)}"

    def set_log_level(self, level: str) -> None:
        """Write events of this level and above from now on.

        Raises:
            ValueError: the log is not sockd's own.
        """
        if self._log is None:
            raise ValueError("the log is not sockd's own, as twistd was given --logger or --syslog")
        self._log.set_level(level)

    # Changes.

    async def plan(self) -> Plan:
        """Return what a reload would change; raises NotChanged."""
        return await self.supervisor.plan()

    async def reload(self) -> Plan:
        """Let every worker serve what the configuration's file says now; raises NotChanged."""
        plan = await self.supervisor.reload()
        if self._log is not None:
            self._log.set_level(self.config.log.level)
        self.supervisor.events.reloaded(plan.as_dict())
        return plan

    def give_up_reload(self, reason: str) -> None:
        """Refuse a reload that waits for the start of a plugin, as long as it is on trial."""
        self.supervisor.crew.spare.give_up_trials(reason)

    async def upgrade(self, process: Process) -> None:
        """Execute the code that is installed now, in this process. Returns only if that fails.

        The new image then replaces the workers, in `settle`.

        Raises:
            NotChanged: the code is the same as before; the log has the reason.
        """
        try:
            with process.change("upgrade"):
                process.notifier.reloading()
                await self._replace(process)
        except (NotChanged, NotReplaced) as error:
            self.supervisor.events.not_upgraded(str(error))
            raise NotChanged(str(error)) from error

    async def _replace(self, process: Process) -> None:
        await try_out(self._hand_over(process), self._reactor)
        await self.supervisor.crew.hold()
        try:
            if self._log is not None:
                self._log.flush()
            execute(self._hand_over(process))
        finally:
            self.supervisor.crew.go_on()

    def _hand_over(self, process: Process) -> Handover:
        """Return everything that the next image has to know."""
        keep = self._store.of_units
        pid_file, sweeper = process.launch.pid_file, process.launch.sweeper
        ports = process.own_ports
        unanswered = [
            each for port in ports if isinstance(port, ControlListener) for each in port.unanswered()
        ]
        state = {
            "path": sys.path,
            "twistd": self._twistd(),
            "doors": {port.name: socket_to_json(port.bound) for port in ports},
            "owed": unanswered,
            "past": self.supervisor.past,
            "stamp": process.stamp,
            "pid_file": pid_file and [str(pid_file.path), pid_file.descriptor],
            "sweeper": sweeper,
            "manager": self._manager,
            "reload_due": process.reload_due,
            "supervisor": {**self.supervisor.hand_over(keep), "config_ok": process.config_ok},
        }
        keep += [port.bound.socket.fileno() for port in ports]
        keep += [descriptor for descriptor, _ in unanswered]
        keep += [pid_file.descriptor] if pid_file is not None else []
        keep += [sweeper] if sweeper is not None else []
        return Handover(state, keep)

    # The end.

    def reopen_logs(self) -> None:
        """Let the workers open their log files anew."""
        for worker in self.supervisor.crew.all_workers:
            if worker.state == "open":  # one that begins has no handler yet, and opens it soon anyway
                worker.signal(signal.SIGUSR1)

    def hurry(self) -> None:
        """Wait for connections no longer."""
        self.supervisor.crew.hurry()
        self._reactor.callLater(HURRY, self.supervisor.crew.kill)

    async def stop(self) -> None:
        """Let the workers finish, and end those that take too long."""
        await self.supervisor.stop(self.config.daemon.drain_timeout + PLUGIN_STOP_TIMEOUT + HURRY + GRACE)
