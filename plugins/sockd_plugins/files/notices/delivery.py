"""Delivery of the notices in an outbox, in threads: recipients may be slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Protocol

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from sockd.text import printable
from sockd_plugins.files.notices.notice import NotDelivered, Notice
from sockd_plugins.files.notices.outbox import LONGEST_PAUSE, Claim, Outbox
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored

_AT_ONCE = 2
"""Deliveries to a recipient at the same time, in each worker."""

_WAITING = 1000
"""Fresh notices for a recipient that are in memory; more of them are found by the next look."""

_LOOK_SECONDS = 5.0
"""Seconds between two looks for notices that are due."""

_FIRST_PAUSE = 10.0
"""Seconds before the second attempt, doubled with each one up to the longest."""

_MOST_ATTEMPTS = 79
"""Attempts until a notice is given up: those of three days. The date may jump, so it does not count."""

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
        self._fresh: dict[str, Queue[str]] = {name: Queue(_WAITING) for name in recipients}
        self._threads = [
            Thread(target=self._run, args=(name,), name="received", daemon=True)
            for name in recipients
            for _ in range(_AT_ONCE)
        ]
        outbox.drop_others()
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
        for fresh in self._fresh.values():
            with suppress(Full):  # the next look finds it
                fresh.put_nowait(id)

    def stop(self) -> None:
        """End the threads and what they do, and close the outbox; what is left stays there."""
        self._stopping.set()
        for _ in range(_AT_ONCE):
            self.deliver("")
        end = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))
        self._outbox.close()

    def _run(self, name: str) -> None:
        """Deliver what is due to a recipient, until the service stops."""
        fresh = self._fresh[name]
        while not self._stopping.is_set():
            try:
                claims = self._outbox.claim_due(name, 1)
                if not claims:
                    claims = self._outbox.claim_file(name, fresh.get(timeout=_LOOK_SECONDS))
                for claim in claims:
                    self._attempt(claim)
            except Empty:
                continue
            except OSError as error:
                self._tell_unread(str(error))
                self._stopping.wait(_LOOK_SECONDS)
        self._outbox.close()  # of a thread that has ended later than `stop` could wait

    def _attempt(self, claim: Claim) -> None:
        """Deliver one notice, or leave it to a later attempt."""
        file, name, log = claim.notice.path, claim.recipient, self._logger
        try:
            self._recipients[name].deliver(claim.notice, self._stopping)
        except NotDelivered as failure:
            why = str(failure)
        except Exception as error:  # of a library: it must not end the thread
            why = printable(f"{type(error).__name__}: {error}")
        else:
            self._outbox.remove(claim)
            return
        if self._stopping.is_set():
            self._outbox.postpone(claim, 0.0)
            return
        if claim.attempts >= _MOST_ATTEMPTS:
            self._outbox.remove(claim)
            self._in_reactor(
                lambda: log.error("received file given up", file=file, recipient=name, reason=why)
            )
            return
        pause = min(_FIRST_PAUSE * 2.0**claim.attempts, LONGEST_PAUSE)
        self._outbox.postpone(claim, pause)
        self._in_reactor(
            lambda: log.warn("received file not told", file=file, recipient=name, reason=why, again_in=pause)
        )

    def _tell_unread(self, why: str) -> None:
        log = self._logger
        self._in_reactor(lambda: log.error("outbox not read", reason=why))

    def _in_reactor(self, write: Callable[[], object]) -> None:
        """Write to the log in the reactor's thread."""
        if self._reactor is None:
            write()
        else:
            self._reactor.callFromThread(write)
