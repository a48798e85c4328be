"""Questions and answers on a channel, in both directions, and news without an answer.

{"ask": 7, "command": "kick", "id": "echo:17"}     with descriptors, if the command takes any
{"answer": 7, "ok": true, "result": null}
{"answer": 7, "ok": false, "error": "one clear line", "code": "unknown-service", "result": …}
{"news": "retiring"}
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.logger import Logger

from sockd.control.words import Code, Refused
from sockd.ipc.channel import Channel, Rest
from sockd.telemetry.catalogue import CALL_FAULT

Answer = Callable[[str, dict[str, Any], list[int]], Awaitable[Any]]
"""Carries out a command with its arguments and its descriptors, which are its own; raises Refused."""

News = Callable[[str, dict[str, Any]], None]

_log = Logger(namespace="sockd")


class NoAnswer(Exception):
    """The other end is gone, or has not answered in time."""


class TooLate(NoAnswer):
    """The other end has not answered in time."""


async def refuse_all(command: str, arguments: dict[str, Any], descriptors: list[int]) -> Any:  # noqa: ARG001
    """Refuse a command, at an end that takes none."""
    for descriptor in descriptors:
        os.close(descriptor)
    raise Refused(f"expected an answer, found the command '{command}'", code=Code.UNKNOWN_COMMAND)


class Calls:
    """End of a channel that asks and answers.

    Args:
        sock: of a socket pair.
        reactor: reads, writes and keeps the time.
        answer: carries out what the other end asks.
        news: takes what it tells.
        lost: called once, when it is gone.
        takes_descriptors: whether it may send any.
        rest: of the messages on their way, where another image of this process has begun.
    """

    def __init__(
        self,
        sock: socket.socket,
        reactor: Any,
        answer: Answer = refuse_all,
        news: News = lambda name, fields: None,  # noqa: ARG005
        lost: Callable[[], None] = lambda: None,
        *,
        takes_descriptors: bool = False,
        rest: Rest | None = None,
    ) -> None:
        self._reactor = reactor
        self._answer = answer
        self._news = news
        self._lost = lost
        # Above those of a former image of this process, whose answers may still come.
        self._numbers = count(time.monotonic_ns())
        self._asked: dict[int, Deferred[Any]] = {}
        self.channel = Channel(
            sock, reactor, self._received, self._gone, takes_descriptors=takes_descriptors, rest=rest
        )

    async def ask(
        self,
        command: str,
        *,
        within: float | None = None,
        descriptors: Sequence[int] = (),
        **arguments: Any,
    ) -> Any:
        """Send a command, and return its result.

        Args:
            command: its name.
            within: seconds for the answer; without it, there is no limit.
            descriptors: of which copies are sent.
            arguments: its arguments.

        Raises:
            Refused: the other end says no.
            NoAnswer: it is gone, or has not answered in time.
        """
        if not self.channel.open:
            raise NoAnswer("the process is gone")
        number = next(self._numbers)
        answered: Deferred[Any] = Deferred(lambda _: None)
        self._asked[number] = answered
        timer = None
        if within is not None:
            timer = self._reactor.callLater(within, self._late, number, within)
        self.channel.send({"ask": number, "command": command, **arguments}, descriptors)
        try:
            return await answered
        finally:
            self._asked.pop(number, None)
            if timer is not None and timer.active():
                timer.cancel()

    def tell(self, news: str, **fields: Any) -> None:
        """Say something that needs no answer."""
        self.channel.send({"news": news, **fields})

    def close(self) -> None:
        """End the channel with a process that is gone."""
        self.channel.read_the_rest()

    def _late(self, number: int, seconds: float) -> None:
        if asked := self._asked.pop(number, None):
            asked.errback(TooLate(f"no answer within {seconds:g} seconds"))

    def _gone(self) -> None:
        asked, self._asked = self._asked, {}
        for each in asked.values():
            each.errback(NoAnswer("the process is gone"))
        self._lost()

    def _received(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "answer" in message:
            asked = self._asked.pop(message["answer"], None)
            if asked is None:  # it came too late
                return
            if message["ok"] is True:
                asked.callback(message.get("result"))
            else:
                code = str(message.get("code", ""))  # an earlier version sends none
                asked.errback(Refused(str(message.get("error")), message.get("result"), code=code))
        elif "ask" in message:
            number, command = message.pop("ask"), message.pop("command")
            Deferred.fromCoroutine(self._carry_out(number, command, message, descriptors))
        else:
            self._news(str(message.pop("news")), message)

    async def _carry_out(
        self, number: Any, command: str, arguments: dict[str, Any], descriptors: list[int]
    ) -> None:
        answer: dict[str, Any]
        try:
            answer = {"ok": True, "result": await self._answer(command, arguments, descriptors)}
        except Refused as error:
            answer = {"ok": False, "error": str(error), "result": error.result, "code": error.code}
        except (NoAnswer, ConnectionLost) as error:
            answer = {"ok": False, "error": str(error), "code": Code.NO_ANSWER}
        except BaseException as error:  # whatever it was, the other end gets an answer
            CALL_FAULT.write_failure(_log, command=command)
            answer = {
                "ok": False,
                "error": f"a fault of sockd, told in its log: {type(error).__name__}: {error}",
                "code": Code.FAULT,
            }
        self.channel.send({"answer": number, **answer})
