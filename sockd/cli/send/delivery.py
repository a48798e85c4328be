"""Delivery of all files of a run: several connections, and another try after each break."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from sockd.cli.send.channel import Interrupted, Lost
from sockd.cli.send.service import Denied
from sockd.cli.send.work import Work

_FIRST_PAUSE = 0.25  # seconds before the first new connection
_LONGEST_PAUSE = 15.0
_POLL_SECONDS = 0.25  # until an interruption is noticed
_END_SECONDS = 2.0  # for the other connections, after an interruption


class Connection(Protocol):
    """Connection of a run, over any protocol."""

    def run(self, opened: Callable[[], object]) -> None:
        """Send files until none waits; `opened` is called when the service has answered."""


class Delivery:
    """Run of the command.

    Args:
        lane: makes a connection; its argument tells whether large files come first.
        reached: tells whether the service has ever answered.
        work: the files.
        waiting: called with the reason when the run waits for the service to come back.
        parallel: connections at a time.
        retry: seconds without progress after which the run gives up; None for the usual time, but none for a
            service that has never answered.
    """

    USUAL_RETRY = 300.0

    def __init__(
        self,
        lane: Callable[[bool], Connection],
        reached: Callable[[], bool],
        work: Work,
        waiting: Callable[[str], object],
        *,
        parallel: int,
        retry: float | None,
    ) -> None:
        self._lane = lane
        self._reached = reached
        self._work = work
        self._waiting = waiting
        self._parallel = parallel
        self._retry = retry
        self._helpers: list[threading.Thread] = []
        self._fault: BaseException | None = None  # of a helper, such as an output that cannot be written

    def run(self) -> None:
        """Send everything, until each file has its outcome.

        Raises:
            KeyboardInterrupt: the person has ended it; what is unfinished waits in `work`.
            OSError: the outcomes cannot be written.
        """
        try:
            self._run()
            self._work.interrupt()  # connections that wait for an answer which nobody needs
        except BaseException as error:  # whatever it was, no thread sends on
            self._work.interrupt()
            for helper in self._helpers:
                helper.join(_END_SECONDS)
            if isinstance(error, Interrupted) and self._fault is not None:
                raise self._fault from None
            raise

    def _run(self) -> None:
        work, pause = self._work, _FIRST_PAUSE
        while not work.done:
            if work.interrupted:
                raise Interrupted
            if not work.waits:  # the other connections are at it
                work.wait(_POLL_SECONDS)
                continue
            moved_at = work.moved_at
            try:
                self._lane(False).run(self._help)
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
        if self._retry is None and not self._reached():
            return False  # the address may be wrong
        patience = self.USUAL_RETRY if self._retry is None else self._retry
        return time.monotonic() - self._work.moved_at < patience

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
        try:
            with suppress(Lost, Denied, Interrupted):
                self._lane(True).run(lambda: None)
        except BaseException as error:  # whatever it was, the run ends with it
            self._fault = error
            self._work.interrupt()
