"""Small files on a connection, which follow each other without a wait; the answers come in their order."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from sockd.cli.send import digests
from sockd.cli.send.answers import Answers
from sockd.cli.send.channel import Channel, Lost
from sockd.cli.send.items import SMALL, Item
from sockd.cli.send.run import Run
from sockd.cli.send.service import Denied, Ended, Service, stored_outcome
from sockd.cli.send.source import Changed, Unreadable
from sockd.cli.send.wire import Answer, Refused, Stored, announcement
from sockd.cli.send.work import Outcome
from sockd.text import describe_os_error

_MOST_PENDING = 512  # files without an answer
_MOST_PENDING_BYTES = 4 << 20
_BATCH = 1 << 16  # bytes to send with one call


@dataclass(frozen=True, slots=True)
class Sent:
    """Small file that waits for its answer."""

    item: Item
    size: int
    digest: str


class Pipeline:
    """Small files on one connection.

    Args:
        channel: the connection.
        answers: on it.
        service: the service.
        run: the run of the command.
    """

    def __init__(self, channel: Channel, answers: Answers, service: Service, run: Run) -> None:
        self._channel = channel
        self._answers = answers
        self._service = service
        self._run = run
        self._pending: deque[Sent] = deque()
        self._bytes = 0  # of the files that wait for their answers
        self._unsent = bytearray()

    @property
    def waits(self) -> bool:
        """True if a file waits for its answer."""
        return bool(self._pending)

    @property
    def full(self) -> bool:
        """True if an answer has to be awaited before the next file is sent."""
        return len(self._pending) >= _MOST_PENDING or self._bytes >= _MOST_PENDING_BYTES

    @property
    def items(self) -> Iterable[Item]:
        """Files that wait for their answers."""
        return [sent.item for sent in self._pending]

    def send(self, item: Item) -> None:
        """Send a file in one piece; its answer comes later."""
        algorithm = self._service.algorithm
        try:
            data = _read(item)
            if len(data) > SMALL:  # it has grown since it was listed
                item.size = len(data)
                self._run.work.put_back([item])
                return
            digest = digests.new(algorithm)
            digest.update(data)
            told = f"{algorithm}={digest.hexdigest()}"
            line = announcement("put", len(data), told, item.name)
        except Unreadable as error:
            self._run.work.finish(Outcome(item, "unreadable", why=str(error)))
            return
        self._pending.append(Sent(item, len(data), told))
        self._bytes += len(data)
        self._unsent += line
        self._unsent += data
        if len(self._unsent) >= _BATCH:
            self._flush()

    def take_answers(self) -> None:
        """Take the answers that have arrived."""
        while (answer := self._answers.heard()) is not None:
            self._take(answer)

    def wait(self) -> None:
        """Wait for the next answer."""
        self._flush()
        self._take(self._answers.wait())

    def _flush(self) -> None:
        if self._unsent:
            self._channel.send(self._unsent)
            self._unsent = bytearray()

    def _take(self, answer: Answer) -> None:
        """Take an answer to the oldest file without one; others than these two tell nothing new."""
        if isinstance(answer, Refused):
            self._refuse(answer)
        elif isinstance(answer, Stored) and self._pending:
            sent = self._next()
            if (answer.size, f"{answer.algorithm}={answer.digest}") == (sent.size, sent.digest):
                self._run.moved(sent.item, sent.size)
                self._run.work.finish(stored_outcome(sent.item, answer))
            else:
                self._run.work.finish(Outcome(sent.item, "refused", why=answer.differs))

    def _next(self) -> Sent:
        sent = self._pending.popleft()
        self._bytes -= sent.size
        return sent

    def _refuse(self, answer: Refused) -> None:
        """Note a refusal; one that concerns no single file ends the conversation."""
        if answer.code in ("denied", "expired"):
            raise Denied(answer.why)
        if answer.code in ("busy", "too-many") or not self._pending:
            raise Lost(answer.why)
        self._run.work.finish(Outcome(self._next().item, "refused", why=answer.why))
        if answer.last:
            raise Ended


def _read(item: Item) -> bytes:
    """Read a small file; more bytes than `SMALL` if it has grown.

    Raises:
        Unreadable: it cannot be read, or has changed meanwhile.
    """
    try:
        file = os.open(item.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # it may have become a pipe
        try:
            before = os.fstat(file)
            if not stat.S_ISREG(before.st_mode):
                raise Changed
            data = b""
            while len(data) <= SMALL and (more := os.read(file, SMALL + 1 - len(data))):
                data += more  # some file systems return less than there is, or tell a size of 0
            after = os.fstat(file)
        finally:
            os.close(file)
    except OSError as error:
        raise Unreadable(describe_os_error(error)) from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Changed
    return data
