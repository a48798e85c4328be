"""Delivery of all files of a run: several connections, and another try after each break."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from sockd.cli.send.channel import Interrupted, Lost
from sockd.cli.send.items import Item
from sockd.cli.send.lane import Lane
from sockd.cli.send.memory import Memory
from sockd.cli.send.service import Denied, Service
from sockd.cli.send.work import Work

_FIRST_PAUSE = 0.25  # seconds before the first new connection
_LONGEST_PAUSE = 15.0
_POLL_SECONDS = 0.25  # until an interruption is noticed
_END_SECONDS = 2.0  # for the other connections, after an interruption


class Delivery:
    """Run of the command.

    Args:
        service: takes the files.
        work: the files.
        memory: the ids of unfinished uploads.
        moved: called with an item and the bytes of it that are durable.
        waiting: called with the reason when the run waits for the service to come back.
        parallel: connections at a time.
        retry: seconds without progress after which the run gives up; None for the usual time, but none for a
            service that has never answered.
    """

    USUAL_RETRY = 300.0

    def __init__(
        self,
        service: Service,
        work: Work,
        memory: Memory,
        moved: Callable[[Item, int], object],
        waiting: Callable[[str], object],
        *,
        parallel: int,
        retry: float | None,
    ) -> None:
        self._service = service
        self._work = work
        self._memory = memory
        self._moved = moved
        self._waiting = waiting
        self._parallel = parallel
        self._retry = retry
        self._helpers: list[threading.Thread] = []

    def run(self) -> None:
        """Send everything, until each file has its outcome.

        Raises:
            KeyboardInterrupt: the person has ended it; what is unfinished waits in `work`.
        """
        try:
            self._run()
        except BaseException:  # whatever it was, no thread sends on
            self._work.interrupt()
            for helper in self._helpers:
                helper.join(_END_SECONDS)
            raise

    def _run(self) -> None:
        work, pause = self._work, _FIRST_PAUSE
        while not work.done:
            if not work.waits:  # the other connections are at it
                work.wait(_POLL_SECONDS)
                continue
            moved_at = work.moved_at
            try:
                self._lane(large_first=False).run(self._help)
            except Denied as denied:
                work.deny(str(denied))
            except Lost as lost:
                if not self._may_retry():
                    work.give_up(str(lost))
                    continue
                if work.moved_at != moved_at:
                    pause = _FIRST_PAUSE
                if pause > _FIRST_PAUSE:
                    self._waiting(str(lost))
                time.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _may_retry(self) -> bool:
        if self._retry is None and self._service.words is None:
            return False  # the address may be wrong
        patience = self.USUAL_RETRY if self._retry is None else self._retry
        return time.monotonic() - self._work.moved_at < patience

    def _lane(self, *, large_first: bool) -> Lane:
        return Lane(self._service, self._work, self._memory, self._moved, large_first=large_first)

    def _help(self) -> None:
        """Open further connections, if there is work for them."""
        self._helpers = [helper for helper in self._helpers if helper.is_alive()]
        wanted = min(self._parallel - 1, self._work.waits - 1)
        for _ in range(wanted - len(self._helpers)):
            helper = threading.Thread(target=self._work_along, daemon=True)
            self._helpers.append(helper)
            helper.start()

    def _work_along(self) -> None:
        # A service may permit fewer connections. The first one tells what is wrong, and tries again.
        with suppress(Lost, Denied, Interrupted):
            self._lane(large_first=True).run(lambda: None)
