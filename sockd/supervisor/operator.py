"""Control commands, carried out in all workers."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred, DeferredList

from sockd import __version__
from sockd.config.plan import Plan
from sockd.control.limits import limit_of
from sockd.control.words import Code, Refused, unknown_connection, unknown_service
from sockd.ipc.calls import NoAnswer
from sockd.process.role import NotChanged, answer_reload
from sockd.supervisor.merge import merge_services
from sockd.supervisor.supervisor import Supervisor
from sockd.supervisor.worker_process import WorkerProcess
from sockd.telemetry.snapshot import About, ConnectionRow, Snapshot, WorkerRow

ANSWER_TIMEOUT = 2.0
"""Seconds in which workers tell their status; one that is stuck is left out."""


class Daemon(Protocol):
    """The supervisor's process, as its operator needs it."""

    def about(self) -> About:
        """Return what the status tells of the process."""
        ...

    async def reload(self, *, dry_run: bool = False) -> Plan:
        """Serve what the configuration's file says now; raises NotChanged."""
        ...

    async def upgrade(self) -> None:
        """Execute the code that is installed now; returns only by NotChanged."""

    def stop(self) -> None:
        """End in order."""


class CrewOperator:
    """Operator of all workers.

    Args:
        supervisor: of the workers.
        daemon: the supervisor's process.
        set_level: changes the level of the supervisor's own log; raises ValueError where it cannot.
        reactor: of the supervisor.
    """

    def __init__(
        self, supervisor: Supervisor, daemon: Daemon, set_level: Callable[[str], None], reactor: Any
    ) -> None:
        self._supervisor = supervisor
        self._crew = supervisor.crew
        self._daemon = daemon
        self._set_level = set_level
        self._reactor = reactor

    async def status(self) -> Snapshot:
        """Return the sum, and the snapshot of each worker."""
        supervisor = self._supervisor
        workers: list[WorkerRow] = []
        for worker, snapshot in await self._each(self._answering(), "status"):
            worker.last = snapshot
            state = "leaving" if worker in self._crew.leaving else snapshot["state"]
            row = {"worker": self._name(worker), "generation": worker.generation, "state": state}
            workers.append(cast("WorkerRow", {**snapshot, **row}))
        known = supervisor.config.services
        services = merge_services(
            [*(each for worker in workers for each in worker["services"]), *supervisor.past]
        )
        for service in services:
            if service["name"] in known:  # the limits of a worker are its part
                limits = known[service["name"]].limits
                for key, value in supervisor.overrides.sets(service["name"]):
                    limits = limit_of(key, value).under(limits)
                service["limits"] = limits.model_dump(mode="json")
        about = self._daemon.about()
        status: Snapshot = {
            "pid": os.getpid(),
            "version": __version__,
            "reactor": supervisor.reactor_name,
            "started": supervisor.started,
            "time": time.time(),
            "state": self._state(workers),
            "generation": self._crew.generation,
            "reactor_delay": max((worker["reactor_delay"] for worker in workers), default=0.0),
            "descriptors": {
                "used": len(os.listdir("/proc/self/fd")),
                "limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            },
            "timers": len(self._reactor.getDelayedCalls()),
            "config_ok": about["config_ok"],
            "own_ports": about["own_ports"],
            "log_dropped": about["log_dropped"],
            "services": [service for service in services if service["name"] in known or service["listeners"]],
            "workers": workers,
        }
        brokers = [worker["broker"] for worker in workers if "broker" in worker]
        if brokers:  # away if it is for one of them
            status["broker"] = min(brokers, key=lambda row: row["state"])
        return status

    def _state(self, workers: Iterable[WorkerRow]) -> str:
        """Return the state of the supervisor, or `not serving` where no worker serves."""
        state = self._supervisor.state
        serving = any(worker["state"] != "leaving" for worker in workers)
        return state if serving or state != "ready" else "not serving"

    async def ps(self) -> list[ConnectionRow]:
        """Return a row for each connection."""
        rows: list[ConnectionRow] = []
        for worker, peers in await self._each(self._answering(), "ps"):
            rows += [
                cast("ConnectionRow", {**row, "id": f"{self._name(worker)}/{row['id']}"}) for row in peers
            ]
        return rows

    async def kick(self, id: str) -> None:  # noqa: A002  # the argument's name in the protocol
        """Abort one connection."""
        name, _, connection = id.partition("/")
        for worker in self._answering():
            if self._name(worker) == name:
                try:
                    await worker.ask("kick", within=ANSWER_TIMEOUT, id=connection)
                except Refused as error:
                    raise unknown_connection(id) from error
                except NoAnswer as error:
                    raise Refused(f"worker {name}: {error}", code=Code.NO_ANSWER) from error
                return
        raise unknown_connection(id)

    async def drain(self, service: str | None) -> None:
        """Accept no more, and return when the last connection is gone."""
        self._supervisor.overrides.pause(self._named(service))
        await self._all("drain", service, within=None)

    async def pause(self, service: str | None) -> None:
        """Accept no more."""
        self._supervisor.overrides.pause(self._named(service))
        await self._all("pause", service)

    async def resume(self, service: str | None) -> None:
        """Accept again."""
        self._supervisor.overrides.resume(self._named(service))
        await self._all("resume", service)

    async def set(self, service: str | None, key: str, value: str) -> None:
        """Change one limit."""
        self._named(service)
        limit_of(key, value)
        self._supervisor.overrides.set(service, key, value)
        await self._all("set", service, key=key, value=value)

    async def log(self, level: str) -> None:
        """Change the level of the log."""
        try:
            self._set_level(level)
        except ValueError as error:
            raise Refused(str(error), code=Code.NOT_SUPPORTED) from error
        self._supervisor.overrides.log(level)
        await self._each(self._crew.serving, "log", level=level)

    async def reload(self, dry_run: bool) -> dict[str, list[str]]:
        """Serve what the configuration's file says now, and return the plan."""
        return await answer_reload(self._daemon.reload(dry_run=dry_run))

    async def upgrade(self) -> None:
        """Execute the code that is installed now; the new image answers whoever has asked."""
        try:
            await self._daemon.upgrade()
        except NotChanged as error:
            raise not_upgraded(error) from error

    async def stop(self) -> None:
        """End in order, and do not wait for the end."""
        self._daemon.stop()

    def _answering(self) -> list[WorkerProcess]:
        return [*self._crew.serving, *self._crew.leaving]

    def _name(self, worker: WorkerProcess) -> str:
        """Return the name of a worker: its slot, or its process if another worker serves in that slot."""
        return f"{worker.slot}" if self._crew.workers[worker.slot] is worker else f"{worker.pid}"

    def _named(self, service: str | None) -> list[str]:
        """Return the name of the service, or of all."""
        known = self._supervisor.config.services
        if service is not None and service not in known:
            raise unknown_service(service, known)
        return list(known) if service is None else [service]

    async def _all(
        self, command: str, service: str | None, within: float | None = ANSWER_TIMEOUT, **arguments: Any
    ) -> None:
        """Carry out a command in every worker with the service; later workers get it from the overrides."""
        answers = await self._gathered(self._crew.serving, command, within, service=service, **arguments)
        errors = [error for _, error in answers if isinstance(error, Exception)]
        if service is not None:
            errors = [error for error in errors if not _has_no_part(error)]
        if errors:
            error = errors[0]
            raise Refused(str(error), code=error.code if isinstance(error, Refused) else Code.NO_ANSWER)

    async def _each(
        self, workers: Iterable[WorkerProcess], command: str, **arguments: Any
    ) -> list[tuple[WorkerProcess, Any]]:
        """Return the answers of the workers that answer."""
        answers = await self._gathered(workers, command, ANSWER_TIMEOUT, **arguments)
        return [(worker, answer) for worker, answer in answers if not isinstance(answer, Exception)]

    async def _gathered(
        self, workers: Iterable[WorkerProcess], command: str, within: float | None, **arguments: Any
    ) -> list[tuple[WorkerProcess, Any]]:
        asked = [(worker, self._outcome(worker, command, within, arguments)) for worker in workers]
        results = await DeferredList([Deferred.fromCoroutine(outcome) for _, outcome in asked])
        return [(worker, result) for (worker, _), (_, result) in zip(asked, results, strict=True)]

    async def _outcome(
        self, worker: WorkerProcess, command: str, within: float | None, arguments: dict[str, Any]
    ) -> Any:
        try:
            return await worker.ask(command, within=within, **arguments)
        except (Refused, NoAnswer) as error:
            return error


def _has_no_part(error: Exception) -> bool:
    """Tell whether a worker refuses as it does not serve the service; the supervisor knows that there is one.

    A worker of an earlier version sends no code. The supervisor has checked the whole command before, so
    there is no other reason for it to refuse.
    """
    return isinstance(error, Refused) and error.code in (Code.UNKNOWN_SERVICE, "")


def not_upgraded(error: NotChanged) -> Refused:
    """Return the answer to an upgrade that has failed."""
    text = f"the workers that serve go on: {error}"
    return Refused(text, {"report": str(error)}, code=Code.NOT_CHANGED)
