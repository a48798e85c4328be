"""Plugins that misbehave, each in one way."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from sockd.plugin import Context, IDatagramPlugin, IStreamPlugin, Plugin, Replies

Where = Literal[
    "buildProtocol",
    "connectionMade",
    "dataReceived",
    "readConnectionLost",
    "connectionLost",
    "resumeProducing",
    "datagramReceived",
    "timer",
    "drain",
    "stop",
]


class Worst(BaseException):
    """Exception that no `except Exception` catches."""


RAISED: dict[str, type[BaseException]] = {
    "ValueError": ValueError,
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": CancelledError,
    "Worst": Worst,
}


@implementer(IStreamPlugin, IDatagramPlugin)
class Raising(Plugin):
    """Raises in one callback and serves echo in all others."""

    where: Where = Field(description="the callback")
    what: str = Field(description="the exception")

    replies: ClassVar[Replies] = Replies()

    def stream_factory(self, protocol: str, context: Context) -> Any:
        factory: Any = Factory()
        factory.buildProtocol = lambda _: self._built(context)
        return factory

    def datagram_protocol(self, protocol: str, context: Context) -> Any:
        datagrams: Any = DatagramProtocol()
        datagrams.datagramReceived = lambda *_: self.trip("datagramReceived")
        return datagrams

    def drain(self) -> None:
        self.trip("drain")

    def stop(self) -> None:
        self.trip("stop")

    def _built(self, context: Context) -> Protocol:
        self.trip("buildProtocol")
        return RaisingStream(self, context)

    def trip(self, where: str) -> None:
        if self.where == where:
            raise RAISED[self.what](3)


@implementer(IHalfCloseableProtocol)
class RaisingStream(Protocol):
    transport: Any

    def __init__(self, plugin: Raising, context: Context) -> None:
        self.plugin = plugin
        self.clock, self.log = context.clock, context.logger

    def connectionMade(self) -> None:
        self.plugin.trip("connectionMade")

    def dataReceived(self, data: bytes) -> None:
        self.plugin.trip("dataReceived")
        self.clock.callLater(0, self.plugin.trip, "timer")
        if self.plugin.where == "resumeProducing":
            self.transport.registerProducer(self, True)
            data *= 2**24
        self.transport.write(data)

    def pauseProducing(self) -> None:
        self.log.info("paused")

    def resumeProducing(self) -> None:
        self.plugin.trip("resumeProducing")

    def stopProducing(self) -> None:
        pass

    def readConnectionLost(self) -> None:
        self.plugin.trip("readConnectionLost")
        if self.plugin.where != "resumeProducing":  # needs a peer that reads on
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any = None) -> None:
        self.plugin.trip("connectionLost")


@implementer(IStreamPlugin)
class Building(Plugin):
    """Builds something that is no protocol."""

    what: Literal["nothing", "garbage", "class"]

    def stream_factory(self, protocol: str, context: Context) -> Any:
        built: Any = {"nothing": None, "garbage": object(), "class": Protocol}[self.what]
        factory: Any = Factory()
        factory.buildProtocol = lambda _: built
        return factory


class Answering(Protocol):
    """Answers each piece by what a function makes of it."""

    transport: Any

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.answer(data))


@implementer(IStreamPlugin, IDatagramPlugin)
class Storming(Plugin):
    """Plugin that fails at every datagram with a new message, and tells over a stream how often."""

    replies: ClassVar[Replies] = Replies()
    _failed: int = PrivateAttr(default=0)

    def stream_factory(self, protocol: str, context: Context) -> Any:
        return Factory.forProtocol(partial(Answering, self._tell))

    def _tell(self, data: bytes) -> bytes:
        if data.startswith(b"?"):
            return b"%d\n" % self._failed
        raise ValueError(data)

    def datagram_protocol(self, protocol: str, context: Context) -> Any:
        datagrams: Any = DatagramProtocol()

        def received(data: bytes, _: object) -> None:
            self._failed += 1
            raise ValueError(f"{self._failed}: {data!r}")

        datagrams.datagramReceived = received
        return datagrams


@implementer(IStreamPlugin)
class Rude(Plugin):
    """Plugin that changes the process: in `start`, or at the first byte of each connection."""

    does: Literal["sleep", "chdir", "umask", "signals", "fork", "timers", "thread", "nothing"] = "nothing"
    when: Literal["start", "data"] = "data"
    stopping: Literal["returns", "never", "stubborn", "blocks"] = "returns"
    _keep: list[Any] = PrivateAttr(default_factory=list)

    def start(self, context: Context) -> None:
        if self.when == "start":
            self._act(context)

    def stream_factory(self, protocol: str, context: Context) -> Any:
        return Factory.forProtocol(partial(Answering, partial(self._echo, context)))

    def _echo(self, context: Context, data: bytes) -> bytes:
        if self.when == "data":
            self._act(context)
        return data

    async def stop(self) -> None:
        if self.stopping == "never":
            await Deferred()
        elif self.stopping == "blocks":
            time.sleep(3600)
        while self.stopping == "stubborn":
            try:
                await Deferred()
            except CancelledError:
                continue

    def _act(self, context: Context) -> None:
        match self.does:
            case "sleep":
                time.sleep(1)
            case "chdir":
                os.chdir("/")
            case "umask":
                os.umask(0)
            case "signals":
                for number in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
            case "fork":
                if child := os.fork():
                    os.waitpid(child, 0)
                else:
                    os._exit(0)
            case "timers":
                for _ in range(1000):
                    self._keep.append(context.clock.callLater(3600, list))
                calling = LoopingCall(list)
                calling.clock = context.clock
                self._keep.append(calling.start(0.01))
            case "thread":
                threading.Thread(target=time.sleep, args=(3600,)).start()
