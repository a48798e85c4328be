"""Large file on a connection: it is resumed, sent, and its answer awaited."""

from __future__ import annotations

from dataclasses import replace

from sockd.cli.send import digests
from sockd.cli.send.answers import Answers
from sockd.cli.send.channel import Channel, Lost
from sockd.cli.send.items import Item
from sockd.cli.send.run import Run
from sockd.cli.send.service import GREETING_SECONDS, Denied, Ended, Service, stored_outcome
from sockd.cli.send.source import Source, Unreadable
from sockd.cli.send.wire import Answer, At, Go, Refused, Stored, announcement
from sockd.cli.send.work import Outcome

_PASSING = ("busy", "too-many")
"""Refusals after which the same file may be welcome."""

_PASSING_LATER = ("disk-full", "too-slow", "io")
"""Refusals of an upload that has begun, after which it may go on."""

_MOST_RESTARTS = 2
"""Times that a file is begun anew at once, without any progress."""


class Transfer:
    """Large files on one connection, one at a time.

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

    def send(self, item: Item) -> None:
        """Send a file that can be resumed, or go on with it, and wait for its answer.

        Raises:
            Lost: the connection broke, or the server cannot take the file now.
            Denied: the server takes nothing.
            Ended: the conversation has to end; another connection goes on at once.
            NotUnderstood: the server speaks another protocol.
        """
        try:
            source = self._run.open(item, spooled=not self._service.can("continue"))
            line = self._announcement(item, source)
        except Unreadable as error:
            self._run.end(Outcome(item, "unreadable", why=str(error)))
            return
        self._channel.send(line)
        try:
            answer = self._answers.wait(GREETING_SECONDS)
            if isinstance(answer, Go):
                answer = self._transfer(item, source, answer)
            elif isinstance(answer, Stored):
                self._check_stored(item, source, answer)
        except Unreadable as error:
            self._give_back(item)
            self._run.end(Outcome(item, "unreadable", why=str(error)))
            raise Ended from None  # the server waits for the rest of the data
        if isinstance(answer, Stored):
            self._run.end(stored_outcome(item, answer))
        elif isinstance(answer, Refused):
            self._refuse(item, answer)
        else:
            raise Lost("the server speaks another protocol")

    def _announcement(self, item: Item, source: Source) -> bytes:
        algorithm = self._service.algorithm
        id = item.id or self._run.memory.recall(item)  # noqa: A001
        if self._service.can("continue") and not item.anew:
            return announcement(f"continue {id or '-'}", source.size, algorithm, item.name)
        if id and not item.anew:
            return f"resume {id}\n".encode()
        return announcement("keep", source.size, algorithm, item.name)

    def _check_stored(self, item: Item, source: Source, answer: Stored) -> None:
        """Check what the server has stored before its answer was lost; begin anew if that is another file."""
        known = digests.known(answer.algorithm)
        if not known or source.rewind(answer.size, answer.algorithm).hexdigest() != answer.digest:
            self._begin_anew(item)
        source.check()

    def _transfer(self, item: Item, source: Source, go: Go) -> Stored | Refused:
        """Send the data, then the digest; return the server's last answer."""
        if go.id and go.id != item.id:
            item.id = go.id
            self._run.memory.remember(item)
        algorithm = go.algorithm or self._service.algorithm
        if not digests.known(algorithm):
            self._begin_anew(item)
        digest = source.rewind(go.offset, algorithm)
        if go.digest and digest.hexdigest() != go.digest:
            self._begin_anew(item)
        item.anew = False
        self._run.note(item, go.offset)
        size = go.offset
        while data := source.read():
            digest.update(data)
            size += len(data)
            if source.size is None:
                self._channel.send(b"%d\n" % len(data))
            goes_on = self._channel.send(data)
            while (answer := self._answers.heard()) or not goes_on or source.retained():
                last = self._listen(item, answer or self._answers.wait(), size)
                if isinstance(last, Stored):
                    return Refused("io", "the server has stored the file before its end", last=True)
                if last is not None:
                    return replace(last, last=True)  # the server may wait for the rest
        source.check()
        end = b"0\n" if source.size is None else b""
        self._channel.send(end + f"{algorithm}={digest.hexdigest()}\n".encode())
        last = None
        while last is None:
            last = self._listen(item, self._answers.wait(), size)
        if isinstance(last, Stored):
            told = last.size, last.algorithm, last.digest
            if told != (size, algorithm, digest.hexdigest()):
                return Refused("io", last.differs, last=False)
        return last

    def _listen(self, item: Item, answer: Answer, sent: int) -> Stored | Refused | None:
        """Take an answer; return it if it is the last one to this file."""
        if isinstance(answer, At):
            self._run.note(item, min(answer.offset, sent))
        return answer if isinstance(answer, Stored | Refused) else None

    def _begin_anew(self, item: Item) -> None:
        """Have the server forget an upload of other content; the next connection begins anew."""
        self._give_back(item)
        item.anew = True
        self._restart(item, "the server goes on with another upload each time")

    def _restart(self, item: Item, why: str) -> None:
        """Let another connection begin with a file at once, unless that has not helped before."""
        item.restarts += 1
        if item.restarts > _MOST_RESTARTS:
            raise Lost(why)
        raise Ended

    def _give_back(self, item: Item) -> None:
        """Have the server remove an upload that will not go on."""
        if item.id:
            self._service.dropped.append(item.id)
        self._run.forget(item)

    def _refuse(self, item: Item, answer: Refused) -> None:
        if answer.code == "unknown" and (item.id or self._run.memory.recall(item)):  # expired, or removed
            self._run.forget(item)
            self._restart(item, answer.why)
        if answer.code in _PASSING or (answer.code in _PASSING_LATER and item.durable):
            raise Lost(answer.why)
        if answer.code in ("denied", "expired"):
            raise Denied(answer.why)
        self._run.end(Outcome(item, "refused", why=answer.why))
        if answer.last:
            raise Ended
