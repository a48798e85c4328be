"""Connection of a run: small files follow each other without a wait, a large one is sent and resumed."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from sockd.cli.send import digests
from sockd.cli.send.channel import Channel, Lost
from sockd.cli.send.items import SMALL, Item
from sockd.cli.send.memory import Memory
from sockd.cli.send.service import GREETING_SECONDS, Denied, Service
from sockd.cli.send.source import Source, Unreadable, open_source
from sockd.cli.send.wire import Answer, At, Go, NotUnderstood, Receipt, Refused, Stored, announcement, parse
from sockd.cli.send.work import Outcome, Work
from sockd.text import describe_os_error

_MOST_PENDING = 512  # small files without an answer
_MOST_PENDING_BYTES = 4 << 20
_BATCH = 1 << 16  # bytes of small files to send with one call

_PASSING = ("busy", "disk-full", "too-slow", "io")
"""Refusals of an upload that has begun, after which it may go on later."""


class Ended(Exception):
    """End of the conversation; another connection goes on at once."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Small file that waits for its answer."""

    item: Item
    size: int
    digest: str


class Lane:
    """Connection of a run, until nothing waits any more.

    Args:
        service: the service.
        work: the files that wait.
        memory: the ids of unfinished uploads.
        moved: called with an item and the bytes of it that are durable.
        large_first: whether large files are taken before small ones.
    """

    def __init__(
        self,
        service: Service,
        work: Work,
        memory: Memory,
        moved: Callable[[Item, int], object],
        *,
        large_first: bool,
    ) -> None:
        self._service = service
        self._work = work
        self._memory = memory
        self._moved = moved
        self._large_first = large_first
        self._pending: deque[Sent] = deque()
        self._unsent = bytearray()
        self._large: Item | None = None
        self._receipt = ""
        self._channel: Channel

    def run(self, opened: Callable[[], object]) -> None:
        """Send files until none waits.

        Args:
            opened: called when the connection is open.

        Raises:
            Lost: the connection broke; the files without an answer wait again.
            Denied: the server takes nothing.
            Interrupted: the run is to end.
        """
        while self._work.waits or self._service.dropped:
            self._channel = self._service.connect()
            try:
                opened()
                self._serve()
            except Ended:
                pass
            except NotUnderstood as error:
                raise Lost(str(error)) from None
            finally:
                self._channel.close()
                self._work.put_back(
                    [*([self._large] if self._large else []), *(sent.item for sent in self._pending)]
                )
                self._pending.clear()
                self._unsent.clear()
                self._large = None
                self._receipt = ""
            if not self._service.can("drop"):
                self._service.dropped.clear()

    def _serve(self) -> None:
        work = self._work
        while True:
            while line := self._channel.heard():
                self._take(parse(line))
            if len(self._pending) >= _MOST_PENDING or self._bytes_pending() >= _MOST_PENDING_BYTES:
                self._await()
            elif self._large_first and not self._pending and (item := work.take_large()):
                self._send_large(item)
            elif item := work.take_small():
                self._send_small(item)
            elif self._pending:
                self._await()
            elif item := work.take_large():
                self._send_large(item)
            else:
                return

    def _bytes_pending(self) -> int:
        return sum(sent.size for sent in self._pending)

    # small files

    def _send_small(self, item: Item) -> None:
        """Send a small file in one piece; its answer comes later."""
        try:
            data = _read(item)
            if len(data) > SMALL:  # it has grown since it was listed
                item.size = len(data)
                self._work.put_back([item])
                return
            digest = digests.new(self._service.algorithm)
            digest.update(data)
            told = f"{self._service.algorithm}={digest.hexdigest()}"
            line = self._announcement(item, "put", len(data), told)
        except Unreadable as error:
            self._work.finish(Outcome(item, "unreadable", why=str(error)))
            return
        self._pending.append(Sent(item, len(data), told))
        self._unsent += line
        self._unsent += data
        if len(self._unsent) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._unsent:
            self._channel.send(self._unsent)
            self._unsent = bytearray()

    def _await(self) -> None:
        """Wait for the next answer."""
        self._flush()
        self._take(parse(self._channel.line()))

    def _take(self, answer: Answer) -> None:
        """Take an answer to the oldest small file without one."""
        if isinstance(answer, Receipt):
            self._receipt = answer.text
        elif isinstance(answer, Stored) and self._pending:
            sent = self._pending.popleft()
            self._finish(sent.item, answer, sent.size, sent.digest)
        elif isinstance(answer, Refused):
            if not self._pending:
                raise Lost(_refusal(answer))
            self._refuse(self._pending.popleft().item, answer)

    def _finish(self, item: Item, answer: Stored, size: int, digest: str) -> None:
        """Note what the server has stored, if it is what was sent."""
        receipt, self._receipt = self._receipt, ""
        found = f"{answer.algorithm}={answer.digest}"
        if (answer.size, found) != (size, digest):
            why = f"the server has stored something else: {answer.size} bytes, {found}"
            self._work.finish(Outcome(item, "refused", why=why))
            return
        self._moved(item, size)
        self._work.finish(_stored(item, answer, receipt))

    def _refuse(self, item: Item, answer: Refused) -> None:
        if answer.code in ("denied", "expired"):
            self._work.put_back([item])
            raise Denied(_refusal(answer))
        self._work.finish(Outcome(item, "refused", why=_refusal(answer)))
        if answer.last:
            raise Ended

    def _announcement(self, item: Item, command: str, size: int | None, digest: str) -> bytes:
        try:
            return announcement(command, size, digest, item.name)
        except ValueError:
            raise Unreadable("its name is not one line of UTF-8: give another one with --name") from None

    # large files

    def _send_large(self, item: Item) -> None:
        """Send a file that can be resumed, or go on with it, and wait for its answer."""
        self._large = item
        try:
            if item.source is None:
                item.source = open_source(item.path, spooled=not self._service.can("continue"))
                item.size = item.source.size
            answer = self._begin(item, item.source)
            if isinstance(answer, Stored):
                self._check_stored(item, item.source, answer)
            while not isinstance(answer, Stored | Refused):
                answer = self._transfer(item, item.source, answer)
        except Unreadable as error:
            self._give_back(item)
            self._end(item, Outcome(item, "unreadable", why=str(error)))
            raise Ended from None  # the server waits for the rest of the data
        self._conclude(item, answer)

    def _begin(self, item: Item, source: Source) -> Go | Stored | Refused:
        """Announce a file, and wait for the server's answer."""
        algorithm = self._service.algorithm
        id = item.id or self._memory.recall(item)  # noqa: A001
        if self._service.can("continue") and not item.anew:
            line = self._announcement(item, f"continue {id or '-'}", source.size, algorithm)
        elif id and not item.anew:
            line = f"resume {id}\n".encode()
        else:
            line = self._announcement(item, "keep", source.size, algorithm)
        self._channel.send(line)
        answer = parse(self._channel.line(GREETING_SECONDS))
        while isinstance(answer, Receipt):
            self._receipt = answer.text
            answer = parse(self._channel.line(GREETING_SECONDS))
        if not isinstance(answer, Go | Stored | Refused):
            raise Lost("the server speaks another protocol")
        return answer

    def _check_stored(self, item: Item, source: Source, answer: Stored) -> None:
        """Check what the server has stored before its answer was lost; begin anew if that is another file."""
        known = digests.known(answer.algorithm)
        if not known or source.rewind(answer.size, answer.algorithm).hexdigest() != answer.digest:
            self._begin_anew(item)
        source.check()

    def _transfer(self, item: Item, source: Source, go: Go) -> Go | Stored | Refused:
        """Send the data, then the digest; return the server's last answer."""
        if go.id and go.id != item.id:
            item.id = go.id
            self._memory.remember(item)
        algorithm = go.algorithm or self._service.algorithm
        if not digests.known(algorithm):
            self._begin_anew(item)
        digest = source.rewind(go.offset, algorithm)
        if go.digest and digest.hexdigest() != go.digest:
            self._begin_anew(item)
        self._note(item, source, go.offset)
        size = go.offset
        while data := source.read():
            digest.update(data)
            size += len(data)
            if source.size is None:
                self._channel.send(b"%d\n" % len(data))
            self._channel.send(data)
            while (line := self._channel.heard()) or source.retained():
                answer = self._listen(item, source, line or self._channel.line())
                if isinstance(answer, Stored):
                    return Refused("io", "the server has stored the file before its end", last=True)
                if answer is not None:
                    return answer
        source.check()
        end = b"0\n" if source.size is None else b""
        self._channel.send(end + f"{algorithm}={digest.hexdigest()}\n".encode())
        answer = None
        while answer is None:
            answer = self._listen(item, source, self._channel.line())
        if isinstance(answer, Stored):
            told = f"{answer.algorithm}={answer.digest}"
            if (answer.size, told) != (size, f"{algorithm}={digest.hexdigest()}"):
                why = f"the server has stored something else: {answer.size} bytes, {told}"
                return Refused("io", why, last=False)
        return answer

    def _listen(self, item: Item, source: Source, line: bytes) -> Stored | Refused | None:
        """Take an answer; return it if it is the last one to this file."""
        answer = parse(line)
        if isinstance(answer, At):
            self._note(item, source, answer.offset)
        elif isinstance(answer, Receipt):
            self._receipt = answer.text
        return answer if isinstance(answer, Stored | Refused) else None

    def _note(self, item: Item, source: Source, durable: int) -> None:
        """Note what is durable on the server."""
        if durable > item.durable:
            self._work.move()
        item.durable = durable
        source.forget(durable)
        self._moved(item, durable)

    def _begin_anew(self, item: Item) -> None:
        """Have the server forget an upload of other content; the next connection begins anew."""
        self._give_back(item)
        item.anew = True
        raise Ended

    def _give_back(self, item: Item) -> None:
        """Have the server remove an upload that will not go on."""
        if item.id:
            self._service.dropped.append(item.id)
        self._memory.forget(item)
        item.id, item.durable = "", 0

    def _conclude(self, item: Item, answer: Stored | Refused) -> None:
        if isinstance(answer, Stored):
            receipt, self._receipt = self._receipt, ""
            self._moved(item, answer.size)
            self._end(item, _stored(item, answer, receipt))
            return
        if answer.code == "unknown" and (item.id or self._memory.recall(item)):  # expired, or removed
            self._memory.forget(item)
            item.id, item.durable = "", 0
            raise Ended
        if answer.code in _PASSING and (item.durable or answer.code == "busy"):
            raise Lost(_refusal(answer))
        if answer.code in ("denied", "expired"):
            raise Denied(_refusal(answer))
        self._end(item, Outcome(item, "refused", why=_refusal(answer)))
        if answer.last:
            raise Ended

    def _end(self, item: Item, outcome: Outcome) -> None:
        self._large = None
        self._memory.forget(item)
        if item.source is not None:
            item.source.close()
            item.source = None
        self._work.finish(outcome)


def _stored(item: Item, answer: Stored, receipt: str) -> Outcome:
    """Return the outcome of a file that the server has stored."""
    return Outcome(
        item,
        "there" if answer.duplicate else "stored",
        answer.name,
        answer.size,
        f"{answer.algorithm}={answer.digest}",
        receipt=receipt,
    )


def _read(item: Item) -> bytes:
    """Read a small file; more bytes than `SMALL` if it has grown."""
    try:
        with open(item.path, "rb", opener=_without_waiting) as file:
            return file.read(SMALL + 1)
    except OSError as error:
        raise Unreadable(describe_os_error(error)) from None


def _without_waiting(path: str, flags: int) -> int:
    """Open a file that may have become a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _refusal(answer: Refused) -> str:
    return f"refused ({answer.code}): {answer.text}" if answer.text else f"refused ({answer.code})"
