"""Connection of a run to a service: small files follow each other, a large one is sent on its own."""

from __future__ import annotations

from collections.abc import Callable

from sockd.cli.send.answers import Answers
from sockd.cli.send.channel import Lost
from sockd.cli.send.items import Item
from sockd.cli.send.pipeline import Pipeline
from sockd.cli.send.run import Run
from sockd.cli.send.service import Ended, Service
from sockd.cli.send.transfer import Transfer
from sockd.cli.send.wire import NotUnderstood


class Lane:
    """Connection of a run, until nothing waits any more.

    Args:
        service: the service.
        run: the run of the command.
        large_first: whether large files are taken before small ones.
    """

    def __init__(self, service: Service, run: Run, *, large_first: bool) -> None:
        self._service = service
        self._run = run
        self._large_first = large_first
        self._large: Item | None = None

    def run(self, opened: Callable[[], object]) -> None:
        """Send files until none waits.

        Args:
            opened: called when the connection is open.

        Raises:
            Lost: the connection broke; the files without an answer wait again.
            Denied: the server takes nothing.
            Interrupted: the run is to end.
        """
        work, service = self._run.work, self._service
        while work.waits or service.dropped:
            channel = service.connect()
            answers = Answers(channel)
            small = Pipeline(channel, answers, service, self._run)
            try:
                opened()
                self._serve(small, Transfer(channel, answers, service, self._run))
            except Ended:
                pass
            except NotUnderstood as error:
                raise Lost(str(error)) from None
            finally:
                channel.close()
                work.put_back([*([self._large] if self._large else []), *small.items])
                self._large = None
            if not service.can("drop"):
                service.dropped.clear()

    def _serve(self, small: Pipeline, large: Transfer) -> None:
        """Send files until none waits; a large one has the connection to itself."""
        work = self._run.work
        while True:
            small.take_answers()
            if small.full:
                small.wait()
            elif self._large_first and not small.waits and (item := work.take_large()):
                self._send_large(large, item)
            elif item := work.take_small():
                small.send(item)
            elif small.waits:
                small.wait()
            elif item := work.take_large():
                self._send_large(large, item)
            else:
                return

    def _send_large(self, large: Transfer, item: Item) -> None:
        self._large = item
        large.send(item)
        self._large = None
