"""Delivery of the notices in an outbox, in threads: recipients may be slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Protocol

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from sockd_plugins.files.notices.notice import NotDelivered, Notice
from sockd_plugins.files.notices.outbox import Claim, Outbox
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored

_AT_ONCE = 2
"""Deliveries at the same time, in each worker."""

_WAITING = 1000
"""Fresh notices that are in memory; more of them are found by the next look."""

_LOOK_SECONDS = 5.0
"""Seconds between two looks for notices that are due."""

_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 3600.0
"""Seconds before the second attempt, doubled with each one up to the longest."""

_GIVEN_UP_AFTER = 3 * 86400.0
"""Seconds after which a notice that its recipient does not take is given up."""


_STOP_SECONDS = 3.0  # for a program to end, or a web server to answer


class Recipient(Protocol):
    """Recipient of notices."""

    @property
    def seconds(self) -> float:
        """Return the time that a delivery may take."""

    def deliver(self, notice: Notice, stopping: Event) -> None:
        """Deliver a notice, or raise `NotDelivered`. A thread calls this."""


class Delivery:
    """Delivery of one service's notices; `stop` ends it.

    Args:
        outbox: with the notices.
        recipients: by the names that the outbox has for them.
        clock: the reactor's.
        logger: of the service.
    """

    def __init__(
        self, outbox: Outbox, recipients: Mapping[str, Recipient], clock: IReactorTime, logger: Logger
    ) -> None:
        self._outbox = outbox
        self._recipients = recipients
        self._reactor = IReactorFromThreads(clock, None)
        self._logger = logger
        self._stopping = Event()
        self._fresh: Queue[str] = Queue(_WAITING)
        self._threads = [Thread(target=self._run, name="received", daemon=True) for _ in range(_AT_ONCE)]
        for thread in self._threads:
            thread.start()

    def write(self, stored: Stored, sender: Sender, inode: int) -> None:
        """Implement `Notices.write`."""
        path, size, digest = stored.path, stored.size, stored.digest
        notice = Notice(stored.id, path, size, digest, sender.host, sender.key, time.time())
        self._outbox.write(notice, inode)

    def withdraw(self, id: str) -> None:  # noqa: A002
        """Implement `Notices.withdraw`."""
        self._outbox.withdraw(id)

    def deliver(self, id: str) -> None:  # noqa: A002
        """Implement `Notices.deliver`."""
        try:
            self._fresh.put_nowait(id)
        except Full:
            return  # the next look finds it

    def stop(self) -> None:
        """End the threads and what they do, and close the outbox; what is left stays there."""
        self._stopping.set()
        for _ in self._threads:
            self.deliver("")
        for thread in self._threads:
            thread.join(_STOP_SECONDS)
        self._outbox.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                claims = self._outbox.claim_due(1)
                if not claims:
                    claims = self._outbox.claim_file(self._fresh.get(timeout=_LOOK_SECONDS))
                for claim in claims:
                    self._attempt(claim)
            except Empty:
                continue
            except OSError as error:
                self._tell_unread(str(error))
                self._stopping.wait(_LOOK_SECONDS)

    def _attempt(self, claim: Claim) -> None:
        """Deliver one notice, or leave it to a later attempt."""
        notice, file, name = claim.notice, claim.notice.path, claim.recipient
        recipient = self._recipients.get(name)
        try:
            if recipient is not None:  # else the configuration has changed
                recipient.deliver(notice, self._stopping)
        except NotDelivered as failure:
            why, log = str(failure), self._logger
            if self._stopping.is_set():
                self._outbox.postpone(claim, 0.0)
                return
            pause = min(_FIRST_PAUSE * 2.0**claim.attempts, _LONGEST_PAUSE)
            if claim.age < _GIVEN_UP_AFTER:
                self._outbox.postpone(claim, pause)
                self._in_reactor(
                    lambda: log.warn(
                        "received file not told", file=file, recipient=name, reason=why, again_in=pause
                    )
                )
                return
            self._in_reactor(
                lambda: log.error("received file given up", file=file, recipient=name, reason=why)
            )
        self._outbox.remove(claim)

    def _tell_unread(self, why: str) -> None:
        log = self._logger
        self._in_reactor(lambda: log.error("outbox not read", reason=why))

    def _in_reactor(self, write: Callable[[], object]) -> None:
        """Write to the log in the reactor's thread."""
        if self._reactor is None:
            write()
        else:
            self._reactor.callFromThread(write)
