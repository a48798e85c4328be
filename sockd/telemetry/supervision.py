"""What happens to the supervisor and its workers, as events of the log."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.logger import Logger


class SupervisorEvents:
    """Every event of the supervisor, with its name and its fields."""

    def __init__(self) -> None:
        self._log = Logger(namespace="sockd")

    def listening(self, service: str, address: str, protocol: str) -> None:
        """A listener is open at its real address."""
        Logger(namespace=f"sockd.{service}").info("listening", address=address, protocol=protocol)

    def alone(self, service: str) -> None:
        """The plugin keeps in memory what its peers share."""
        self._log.info("service runs in one worker", name=service)

    def ready(self, services: int, listeners: int, reactor: str, workers: int) -> None:
        """Every worker serves."""
        self._log.info("ready", services=services, listeners=listeners, reactor=reactor, workers=workers)

    def started(self, worker: int, pid: int, generation: int) -> None:
        """A worker serves in the place of another one."""
        self._log.info("worker started", worker=worker, worker_pid=pid, generation=generation)

    def ended(self, worker: int, pid: int, how: str) -> None:
        """A worker has ended although nobody told it to."""
        self._log.error("worker ended", worker=worker, worker_pid=pid, how=how)

    def left(self, worker: int, pid: int, how: str) -> None:
        """A worker has finished that was told to."""
        self._log.info("worker left", worker=worker, worker_pid=pid, how=how)

    def hung(self, worker: int, pid: int) -> None:
        """A worker does not answer; it is ended."""
        self._log.error("worker hangs", worker=worker, worker_pid=pid)

    def not_started(self, worker: int, reason: str, again_in: float) -> None:
        """A worker could not be started; it is tried again."""
        self._log.error("worker not started", worker=worker, reason=reason, again_in=again_in)

    def no_spare(self, reason: str, again_in: float) -> None:
        """There is no worker in reserve, as one could not load everything; it is tried again."""
        self._log.warn("no spare worker", reason=reason, again_in=again_in)

    def reloaded(self, plan: Mapping[str, list[str]]) -> None:
        """Another configuration is served by every worker."""
        self._log.info("reloaded", **{key: names for key, names in plan.items() if names})

    def not_reloaded(self, reason: str) -> None:
        """A configuration cannot be served; nothing has changed."""
        self._log.error("not reloaded", reason=reason)

    def replaced(self, version: str) -> None:
        """The process of the supervisor runs other code."""
        self._log.info("supervisor replaced", version=version)

    def upgraded(self, generation: int) -> None:
        """New workers serve."""
        self._log.info("upgraded", generation=generation)

    def not_upgraded(self, reason: str) -> None:
        """New workers cannot serve; the old ones do."""
        self._log.error("not upgraded", reason=reason)

    def stopping(self, workers: int, drain_timeout: float) -> None:
        """Accepting has ended everywhere."""
        self._log.info("stopping", workers=workers, drain_timeout=drain_timeout)

    def stopped(self, cut: int) -> None:
        """The last worker is gone; `cut` connections had to be aborted."""
        self._log.info("stopped", cut=cut)
