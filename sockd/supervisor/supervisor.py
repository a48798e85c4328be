"""The parent of the workers: holds the sockets, and lets all serve another configuration or other code."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sockd.config import Config, Source
from sockd.config.plan import Plan, plan
from sockd.config.texts import Texts, read_texts
from sockd.control.words import Refused
from sockd.errors import reasons
from sockd.ipc.calls import NoAnswer
from sockd.process.end import PLUGIN_STOP_TIMEOUT
from sockd.process.role import NotChanged, read_files
from sockd.sockets.store import Store
from sockd.supervisor.crew import CannotServe, Crew
from sockd.supervisor.holdings import Holdings
from sockd.supervisor.merge import merge_services, what_remains
from sockd.supervisor.overrides import Overrides
from sockd.supervisor.worker_process import START_TIMEOUT, Order, WorkerProcess
from sockd.telemetry.snapshot import ProcessSnapshot, ServiceRow
from sockd.telemetry.supervision import SupervisorEvents

SEATS_PER_WORKER = 8
"""Seats per worker: one that serves, the others for former generations that have not finished yet."""


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of the daemon for every worker.

    Attributes:
        log: where it writes events: a path, or `-` for standard output; None where twistd's options say how.
        shed: whether it must not be able to become root.
        options: for its command line.
    """

    log: str | None
    shed: bool
    options: Sequence[str]


class Supervisor:
    """Parent of the workers: `bind`, `start`, `stop`; between them `reload` and `renew`, one at a time.

    Args:
        config: the configuration without what only plugins know.
        source: its file, without plugins.
        reactor: watches the workers and keeps the time.
        store: opens sockets.
        settings: of the daemon, for every worker.
        handed: what a former image of this process has left; it is gone on with.
    """

    def __init__(
        self,
        config: Config,
        source: Source,
        reactor: Any,
        store: Store,
        settings: WorkerSettings,
        handed: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config
        self.source = source
        self.state = "starting"
        self.started = time.time()
        self.reactor_name = ""
        self.events = SupervisorEvents()
        self.overrides = Overrides()
        self.past: list[ServiceRow] = []  # what workers have counted that are gone
        self._reactor = reactor
        self._store = store
        self._settings = settings
        self._texts: Texts = ()
        self._holdings = Holdings()
        self._listening: list[tuple[str, ...]] = []
        workers = config.daemon.workers if handed is None else handed["crew"]["size"]
        # One is the supervisor's own, and one the spare worker's.
        self._seats = 2 + SEATS_PER_WORKER * workers if handed is None else handed["seats"]
        self.crew = Crew(
            reactor,
            workers,
            self._seats,
            self._order,
            self._load,
            settings.options,
            self.events,
            lambda seat: self._holdings.forget(seat),
        )
        self.crew.final_snapshot = self._remember
        if handed is not None:
            self._take_over(handed)

    def _remember(self, worker: WorkerProcess, snapshot: ProcessSnapshot) -> None:  # noqa: ARG002
        """Keep the counts of a worker that is gone."""
        self.past = merge_services([*self.past, *what_remains(snapshot)])

    def _order(self, slot: int, seat: int) -> Order:
        message = {
            "worker": slot,
            "workers": len(self.crew.workers),
            "seat": seat,
            "log": self._settings.log,
            "path": sys.path,
            "shed": self._settings.shed,
            "standing": self.overrides.orders(),
        }
        return self._content(self.config, self._texts, self._holdings, **message)

    def _load(self) -> Order:
        return Order({"texts": self._texts, "path": sys.path, "shed": self._settings.shed}, ())

    def _content(self, config: Config, texts: Texts, holdings: Holdings, **message: Any) -> Order:
        message |= {"texts": texts, **holdings.message()}
        return Order(message, holdings.descriptors(), *_patience(config, len(config.services)))

    def _trial(self, config: Config, texts: Texts) -> Order:
        """Return the order to load another configuration and start what is new in it."""
        todo = plan(self.config, config)
        names = [*todo.restart, *todo.add]
        return Order(
            {"texts": texts, "path": sys.path, "services": names}, (), *_patience(config, len(names))
        )

    # The start and the end.

    def bind(self) -> None:
        """Open every socket.

        Raises:
            ConfigError: the files have changed since they were read.
            ExceptionGroup: of every BindError; nothing is left open.
        """
        self._texts = self._read(self.config)
        self._holdings = self._holdings.for_config(self.config, self._store.open_socket, self._seats)

    def _read(self, config: Config) -> Texts:
        return read_texts(self.source.path, config.daemon.include)

    def release(self) -> None:
        """Close everything that is held."""
        self._holdings.close()

    async def start(self) -> None:
        """Bring all workers to serve.

        Raises:
            CannotServe: there is none that does.
        """
        opened = await self.crew.start()
        self.state = "ready"
        self.reactor_name = opened[0]["reactor"]
        alone = dict.fromkeys(name for each in opened for name in each["alone"])
        for name in alone:
            self.events.alone(name)
        self._report_listening([each["listening"] for each in opened])
        listeners = sum(len(service.listen) for service in self.config.services.values())
        self.events.ready(len(self.config.services), listeners, self.reactor_name, len(opened))

    def _report_listening(self, answers: Sequence[Sequence[Sequence[str]]]) -> None:
        """Report each new listener once, in the order of the configuration."""
        before, self._listening = (
            self._listening,
            [*dict.fromkeys(tuple(listener) for listeners in answers for listener in listeners)],
        )
        for service in self.config.services:
            for listener in self._listening:
                if listener[0] == service and listener not in before:
                    self.events.listening(*listener)

    async def stop(self, patience: float) -> None:
        """Let every worker finish, and kill those that have not after `patience` seconds."""
        self.state = "stopping"
        # The workers take in who waits; with the last of them the sockets are closed.
        self.release()
        self.events.stopping(len(self.crew.all_workers), self.config.daemon.drain_timeout)
        await self.crew.stop(patience)
        self.events.stopped(self.crew.cut)

    # Another configuration.

    async def plan(self) -> Plan:
        """Return what a reload would change; raises NotChanged."""
        config, _ = await self._read_and_try()
        return plan(self.config, config, self._holdings.lost)

    async def reload(self) -> Plan:
        """Let every worker serve what the file says now, and return what has changed.

        Raises:
            NotChanged: the workers serve what they served before.
        """
        config, texts = await self._read_and_try()
        todo = plan(self.config, config, self._holdings.lost)
        await self._change(config, texts)
        self.overrides.reloaded(self.config.services)
        return todo

    async def _read_and_try(self) -> tuple[Config, Texts]:
        """Return the configuration of the file, once a process that serves nobody has loaded it."""
        config, texts = await read_files(self._load_source, self._reactor)
        try:
            await self.crew.try_out(self._trial(config, texts))
        except OSError as error:
            raise NotChanged(f"no process can be started to check it: {error.strerror or error}") from error
        except Refused as error:
            raise NotChanged(str(error)) from error
        except NoAnswer as error:
            raise NotChanged(str(error)) from error
        return config, texts

    def _load_source(self) -> tuple[Config, Texts]:
        config = self.source.load()
        return config, self._read(config)

    async def _change(self, config: Config, texts: Texts) -> None:
        """Serve another configuration in all workers, or in none."""
        if self.state != "ready":
            raise NotChanged(f"the daemon is {self.state}")
        try:
            holdings = self._holdings.for_config(config, self._store.open_socket, self._seats)
        except ExceptionGroup as group:
            raise NotChanged(reasons(group)) from group
        changed: list[WorkerProcess] = []
        answers = []
        for worker in self.crew.serving:
            if not worker.alive:  # another one will come
                continue
            try:
                answers.append((await self._ask_to_reload(worker, config, texts, holdings))["listening"])
            except (Refused, NoAnswer) as error:
                reason = await _refusal(worker, error)
                await self._change_back(changed, holdings)
                raise NotChanged(f"worker {worker.slot}: {reason}") from error
            changed.append(worker)
        old, self._holdings = self._holdings, holdings
        self.config, self._texts = config, texts
        # Those that have begun meanwhile serve what was before.
        for worker in self.crew.all_workers:
            if worker not in changed and worker not in self.crew.leaving:
                worker.kill()
        old.close_beside(holdings)
        self._report_listening(answers)

    async def _ask_to_reload(
        self, worker: WorkerProcess, config: Config, texts: Texts, holdings: Holdings
    ) -> dict[str, Any]:
        order = self._content(config, texts, holdings)
        answer: dict[str, Any] = await worker.ask("reload", within=order.within, order=order)
        return answer

    async def _change_back(self, changed: Sequence[WorkerProcess], holdings: Holdings) -> None:
        """Serve the former configuration again, on new sockets where paths were lost."""
        former, self._holdings = self._holdings, self._holdings.mended(holdings)
        mended = self._holdings.sockets != former.sockets
        for worker in self.crew.all_workers if mended else changed:
            if not worker.alive or worker in self.crew.leaving:
                continue
            if worker not in self.crew.serving:  # it begins with the sockets of before
                worker.kill()
                continue
            try:
                await self._ask_to_reload(worker, self.config, self._texts, self._holdings)
            except (Refused, NoAnswer):
                worker.kill()  # it is replaced by one that serves what was before
        holdings.close_beside(self._holdings)
        former.close_beside(self._holdings)

    # Other code.

    async def renew(self) -> int:
        """Replace the workers by new ones, and return the generation.

        Raises:
            NotChanged: the workers that serve go on.
        """
        try:
            await self.crew.upgrade()
        except CannotServe as error:
            self.events.not_upgraded(str(error))
            raise NotChanged(str(error)) from error
        self.events.upgraded(self.crew.generation)
        return self.crew.generation

    # From one image of this process to the next.

    def hand_over(self, keep: list[int]) -> dict[str, Any]:
        """Return the state for the next image as JSON has it; add its descriptors to `keep`."""
        return {
            "source": str(self.source.path),
            "texts": self._texts,
            "include": list(self.config.daemon.include),
            "started": self.started,
            "reactor_name": self.reactor_name,
            "listening": self._listening,
            "standing": self.overrides.orders(),
            "shed": self._settings.shed,
            "seats": self._seats,
            "holdings": self._holdings.hand_over(keep),
            "crew": self.crew.hand_over(keep),
        }

    def _take_over(self, handed: Mapping[str, Any]) -> None:
        self.state = "ready"
        self._settings = replace(self._settings, shed=handed["shed"])
        self.started = handed["started"]
        self.reactor_name = handed["reactor_name"]
        self._listening = [tuple(listener) for listener in handed["listening"]]
        self.overrides = Overrides(handed["standing"])
        self._texts = handed["texts"]
        self._holdings = Holdings.taken_over(handed["holdings"], self.config, self._store.resume)
        self.crew.take_over(handed["crew"])


def _patience(config: Config, starts: int) -> tuple[float, float]:
    """Seconds for the answer of a worker that starts so many plugins, and for what one of them may block."""
    within = config.daemon.start_timeout
    return START_TIMEOUT + starts * (within + PLUGIN_STOP_TIMEOUT), within


async def _refusal(worker: WorkerProcess, error: Refused | NoAnswer) -> str:
    """Return why a worker does not serve another configuration; kill one that has not answered."""
    if isinstance(error, Refused):
        return str(error)
    worker.kill()
    await worker.gone
    return f"{error}; {worker.why_gone()}"
