"""Answers of the server on a connection, in their order; a receipt comes with the answer behind it."""

from __future__ import annotations

from sockd.cli.send.channel import STALL_SECONDS, Channel
from sockd.cli.send.wire import Answer, Receipt, Refused, Stored, parse, receipted


class Answers:
    """Answers on one connection.

    Args:
        channel: the connection.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._receipt: Receipt | None = None

    def heard(self) -> Answer | None:
        """Return an answer that has arrived, if there is one.

        Raises:
            NotUnderstood: the server speaks another protocol.
        """
        while (line := self._channel.heard()) is not None:
            if (answer := self._take(line)) is not None:
                return answer
        return None

    def wait(self, seconds: float = STALL_SECONDS) -> Answer:
        """Wait for the next answer.

        Raises:
            Lost: none came in time, or the connection has ended.
            NotUnderstood: the server speaks another protocol.
        """
        while True:
            if (answer := self._take(self._channel.line(seconds))) is not None:
                return answer

    def _take(self, line: bytes) -> Answer | None:
        """Parse a line; a receipt waits for what it belongs to."""
        answer = parse(line)
        if isinstance(answer, Receipt):
            self._receipt = answer
            return None
        if isinstance(answer, Stored | Refused):
            receipt, self._receipt = self._receipt, None
            if isinstance(answer, Stored) and receipt is not None:
                return receipted(answer, receipt)
        return answer
