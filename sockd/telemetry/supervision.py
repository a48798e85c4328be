"""Reports of a supervisor about itself and its workers."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.logger import Logger

from sockd.telemetry import catalogue


class SupervisorEvents:
    """Reports to the log; the catalogue declares the events."""

    def __init__(self) -> None:
        self._log = Logger(namespace="sockd")

    def listening(self, service: str, address: str, protocol: str) -> None:
        """Report an open listener with its real address."""
        catalogue.LISTENING.write(Logger(namespace=f"sockd.{service}"), address=address, protocol=protocol)

    def alone(self, service: str) -> None:
        """Report a service that a single worker serves, as its plugin keeps shared state in memory."""
        catalogue.RUNS_ALONE.write(self._log, name=service)

    def ready(self, services: int, listeners: int, reactor: str, workers: int) -> None:
        """Report that every worker serves."""
        catalogue.READY.write(
            self._log, services=services, listeners=listeners, reactor=reactor, workers=workers
        )

    def started(self, worker: int, pid: int, generation: int) -> None:
        """Report a worker that serves in the place of another one."""
        catalogue.WORKER_STARTED.write(self._log, worker=worker, worker_pid=pid, generation=generation)

    def ended(self, worker: int, pid: int, how: str) -> None:
        """Report a worker that has ended and was not told to."""
        catalogue.WORKER_ENDED.write(self._log, worker=worker, worker_pid=pid, how=how)

    def left(self, worker: int, pid: int, how: str) -> None:
        """Report a worker that has ended and was told to."""
        catalogue.WORKER_LEFT.write(self._log, worker=worker, worker_pid=pid, how=how)

    def hung(self, worker: int, pid: int) -> None:
        """Report a worker that does not answer and is killed."""
        catalogue.WORKER_HANGS.write(self._log, worker=worker, worker_pid=pid)

    def not_started(self, worker: int, reason: str, again_in: float) -> None:
        """Report a worker that could not start, and the seconds until the next attempt."""
        catalogue.WORKER_NOT_STARTED.write(self._log, worker=worker, reason=reason, again_in=again_in)

    def no_spare(self, reason: str, again_in: float) -> None:
        """Report a spare worker that could not load, and the seconds until the next attempt."""
        catalogue.NO_SPARE.write(self._log, reason=reason, again_in=again_in)

    def reloaded(self, plan: Mapping[str, list[str]]) -> None:
        """Report the services that a reload has changed, by the kind of change."""
        catalogue.RELOADED.write(self._log, **{key: names for key, names in plan.items() if names})

    def not_reloaded(self, reason: str) -> None:
        """Report why a configuration was refused; nothing has changed."""
        catalogue.NOT_RELOADED.write(self._log, reason=reason)

    def replaced(self, version: str) -> None:
        """Report that the process of the supervisor runs new code."""
        catalogue.SUPERVISOR_REPLACED.write(self._log, version=version)

    def upgraded(self, generation: int) -> None:
        """Report that workers with new code serve."""
        catalogue.UPGRADED.write(self._log, generation=generation)

    def not_upgraded(self, reason: str) -> None:
        """Report why an upgrade failed; the earlier workers serve."""
        catalogue.NOT_UPGRADED.write(self._log, reason=reason)

    def stopping(self, workers: int, drain_timeout: float) -> None:
        """Report the begin of the drain."""
        catalogue.STOPPING.write(self._log, workers=workers, drain_timeout=drain_timeout)

    def stopped(self, cut: int) -> None:
        """Report the end of the drain, with the number of aborted connections."""
        catalogue.STOPPED.write(self._log, cut=cut)
