"""Player of every scenario on one reactor, which records what its protocols saw; see test_transcripts.

python transcripts.py epoll|uv
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Protocol
from zope.interface import implementer

TIMEOUT = 5
"""Seconds for one scenario."""

A_MOMENT = 0.05
"""Seconds after which the other end has certainly acted, on the loopback."""

BIG = b"0123456789abcdef" * 512 * 1024
"""8 MiB of data: more than the kernel holds between two ends."""

TURNS = 3
"""Turns of the reactor after which it has done all that was begun."""

PlayPeer = Callable[[socket.socket, "Cues"], str]

SCENARIOS: dict[str, tuple[type[Scene], PlayPeer]] = {}


class Cues:
    """Events for which a peer, in its thread, waits."""

    def __init__(self) -> None:
        self.heard = threading.Event()
        """Set when the scene has had data, and has acted on it."""
        self.ended = threading.Event()
        """Set when the scene's connection is lost."""
        self.said = threading.Event()
        """Set when the peer has sent something."""


class Scene(Protocol):
    """Protocol that records what happens; a scenario overrides its actions."""

    transport: Any

    def __init__(
        self, note: Callable[[str], None], reactor: Any, ended: Callable[[], None], cues: Cues
    ) -> None:
        self.note = note
        self.reactor = reactor
        self.ended = ended
        self.cues = cues

    def made(self) -> None: ...

    def data(self, data: bytes) -> None: ...

    def lost(self) -> None: ...

    def later(self, action: Callable[[], Any]) -> None:
        self.reactor.callLater(A_MOMENT, action)

    def connectionMade(self) -> None:
        self.note("made")
        self.made()

    def dataReceived(self, data: bytes) -> None:
        self.note("data")
        self._after_turns(TURNS)
        self.data(data)

    def _after_turns(self, left: int) -> None:
        if left:
            self.reactor.callLater(0, self._after_turns, left - 1)
        else:
            self.cues.heard.set()

    def connectionLost(self, reason: Any = None) -> None:
        self.note(f"lost {reason.type.__name__}")
        self.cues.ended.set()
        self.ended()
        self.lost()


@implementer(IHalfCloseableProtocol)
class HalfScene(Scene):
    """Scene that is told of half-closed connections."""

    def readConnectionLost(self) -> None:
        self.note("read lost")
        self.read_lost()

    def writeConnectionLost(self) -> None:
        self.note("write lost")
        self.write_lost()

    def read_lost(self) -> None: ...

    def write_lost(self) -> None: ...


def scenario(peer: PlayPeer) -> Callable[[type[Scene]], type[Scene]]:
    """Play the class against `peer`, which runs in a thread and records what it saw."""

    def add(scene: type[Scene]) -> type[Scene]:
        SCENARIOS[scene.__name__] = scene, peer
        return scene

    return add


# Peers.


def receive(sock: socket.socket) -> str:
    """Read everything that comes, and record the end."""
    size = 0
    try:
        while data := sock.recv(1 << 20):
            size += len(data)
    except OSError as error:
        return type(error).__name__ if size < len(BIG) else f"{size} {type(error).__name__}"
    return f"{size} end"


def listens(sock: socket.socket, cues: Cues) -> str:
    return receive(sock)


def says(sock: socket.socket, cues: Cues) -> str:
    sock.sendall(b"hello")
    cues.said.set()
    return receive(sock)


def says_and_ends(sock: socket.socket, cues: Cues) -> str:
    sock.sendall(b"hello")
    cues.said.set()
    sock.shutdown(socket.SHUT_WR)
    return receive(sock)


def ends(sock: socket.socket, cues: Cues) -> str:
    sock.shutdown(socket.SHUT_WR)
    return receive(sock)


def says_and_leaves(sock: socket.socket, cues: Cues) -> str:
    sock.sendall(b"hello")
    cues.said.set()
    sock.close()
    return "left"


def resets(sock: socket.socket) -> str:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    return "reset"


def says_and_resets(sock: socket.socket, cues: Cues) -> str:
    sock.sendall(b"hello")
    cues.heard.wait(TIMEOUT)
    return resets(sock)


def says_and_resets_when_full(sock: socket.socket, cues: Cues) -> str:
    sock.sendall(b"hello")
    cues.heard.wait(TIMEOUT)
    time.sleep(A_MOMENT)  # until the kernel's buffers are full, which nothing reports
    return resets(sock)


def says_twice(sock: socket.socket, cues: Cues) -> str:
    sock.sendall(b"hello")
    cues.heard.wait(TIMEOUT)
    try:
        sock.sendall(b"again")
    except OSError:
        return "refused"
    return receive(sock)


def says_twice_at_once(sock: socket.socket, cues: Cues) -> str:
    sock.sendall(b"hello")
    sock.sendall(b"again")
    return receive(sock)


def says_and_waits(sock: socket.socket, cues: Cues) -> str:
    sock.sendall(b"hello")
    cues.heard.wait(TIMEOUT)
    return receive(sock)


def says_and_waits_for_the_end(sock: socket.socket, cues: Cues) -> str:
    sock.sendall(b"hello")
    cues.ended.wait(TIMEOUT)
    return receive(sock)


def hears_the_end_and_answers(sock: socket.socket, cues: Cues) -> str:
    seen = receive(sock)
    sock.sendall(b"answer")
    sock.close()
    return seen


# Scenarios: the end.


@scenario(says_and_leaves)
class PeerLeaves(Scene):
    pass


@scenario(says_and_ends)
class PeerEnds(Scene):
    def data(self, data: bytes) -> None:
        self.transport.write(data)


class PutsOff(Scene):
    """Scene that delays a call to the next turn, while the peer's data waits already."""

    def made(self) -> None:
        self.put_off()
        self.cues.said.wait(TIMEOUT)

    def put_off(self) -> None:
        self.reactor.callLater(0, self.note, "put off")


@scenario(says)
class PutOffWhenMade(PutsOff):
    def data(self, data: bytes) -> None:
        self.transport.loseConnection()


@scenario(says_and_leaves)
class PutOffWhenMadeAndPeerLeaves(PutsOff):
    pass


@scenario(says_and_ends)
class PutOffWhenMadeAndPeerEnds(PutsOff):
    def data(self, data: bytes) -> None:
        self.transport.write(data)


@scenario(says)
class PutOffTwice(PutsOff):
    """Scene whose second delayed call comes after the first data."""

    def put_off(self) -> None:
        self.reactor.callLater(0, self.reactor.callLater, 0, self.note, "put off twice")

    def data(self, data: bytes) -> None:
        self.later(self.transport.loseConnection)


@scenario(says)
class PutOffForLessThanATurn(PutsOff):
    def put_off(self) -> None:
        self.reactor.callLater(0, self.note, "put off")
        self.reactor.callLater(1e-9, self.note, "put off by a nanosecond")
        self.reactor.callLater(0, self.note, "put off at last")

    def data(self, data: bytes) -> None:
        self.transport.loseConnection()


@scenario(says)
class PutOffAsFromAThread(PutsOff):
    def put_off(self) -> None:
        self.reactor.callFromThread(self.note, "put off")

    def data(self, data: bytes) -> None:
        self.transport.loseConnection()


@scenario(says)
class PauseInTheNextTurn(PutsOff):
    def put_off(self) -> None:
        self.reactor.callLater(0, self.transport.pauseProducing)
        self.later(self.go_on)

    def go_on(self) -> None:
        self.note("goes on")
        self.transport.resumeProducing()

    def data(self, data: bytes) -> None:
        self.transport.loseConnection()


@scenario(says)
class LoseInTheNextTurn(PutsOff):
    def put_off(self) -> None:
        self.reactor.callLater(0, self.transport.loseConnection)


@scenario(says)
class AbortInTheNextTurn(PutsOff):
    def put_off(self) -> None:
        self.reactor.callLater(0, self.transport.abortConnection)


@scenario(says)
class ProtocolOfTheNextTurn(PutsOff):
    def put_off(self) -> None:
        other = Protocol()
        other.dataReceived = self.other_data  # type: ignore[method-assign]
        other.connectionLost = self.connectionLost  # type: ignore[method-assign]
        self.reactor.callLater(0, setattr, self.transport, "protocol", other)

    def data(self, data: bytes) -> None:
        self.transport.loseConnection()

    def other_data(self, data: bytes) -> None:
        self.note("data of the other protocol")
        self.transport.loseConnection()


@scenario(says)
class RaiseInTheNextTurn(PutsOff):
    def put_off(self) -> None:
        self.reactor.callLater(0, self.fail)

    def fail(self) -> None:
        raise ValueError("raised by the scenario")

    def data(self, data: bytes) -> None:
        self.transport.loseConnection()


@scenario(listens)
class LoseAtOnce(Scene):
    def made(self) -> None:
        self.transport.loseConnection()


@scenario(says)
class WriteAndLose(Scene):
    def data(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.writeSequence([b"a", b"b"])
        self.transport.loseConnection()
        self.transport.loseConnection()


@scenario(listens)
class WriteMuchAndLose(Scene):
    def made(self) -> None:
        self.transport.write(BIG)
        self.transport.loseConnection()


@scenario(listens)
class AbortAtOnce(Scene):
    def made(self) -> None:
        self.transport.abortConnection()


@scenario(says)
class WriteAndAbort(Scene):
    def data(self, data: bytes) -> None:
        self.transport.write(BIG)
        self.transport.abortConnection()
        self.transport.abortConnection()
        self.transport.write(b"x")


@scenario(says)
class AbortAndLose(Scene):
    def data(self, data: bytes) -> None:
        self.transport.abortConnection()
        self.transport.loseConnection()


@scenario(says)
class LoseAndAbort(Scene):
    def data(self, data: bytes) -> None:
        self.transport.loseConnection()
        self.transport.abortConnection()


@scenario(says_twice)
class LoseAndHearNoMore(Scene):
    def data(self, data: bytes) -> None:
        self.transport.write(BIG)
        self.transport.loseConnection()


@scenario(says_and_leaves)
class EverythingAfterTheEnd(Scene):
    def made(self) -> None:
        self.cached = self.transport.write

    def lost(self) -> None:
        self.again()
        self.later(self.again)

    def again(self) -> None:
        transport = self.transport
        self.cached(b"x")
        transport.write(b"x")
        transport.writeSequence([b"x"])
        transport.loseConnection()
        transport.abortConnection()
        transport.pauseProducing()
        transport.resumeProducing()
        transport.registerProducer(Producer(self), True)
        self.note(f"{transport.connected} {transport.disconnected} {transport.producer}")


@scenario(says)
class NotBytes(Scene):
    def data(self, data: bytes) -> None:
        wrong: Any = "text"
        for write in (self.transport.write, lambda text: self.transport.writeSequence([text])):
            try:
                write(wrong)
            except TypeError as error:
                self.note(str(error))
        self.transport.loseConnection()


@scenario(says_and_resets)
class PeerResets(Scene):
    pass


@scenario(says_and_resets_when_full)
class PeerResetsWhileWriting(Scene):
    def data(self, data: bytes) -> None:
        self.transport.write(BIG)


@scenario(says_and_resets)
class PeerResetsWhilePaused(Scene):
    def data(self, data: bytes) -> None:
        self.transport.pauseProducing()
        self.reactor.callLater(4 * A_MOMENT, self.transport.resumeProducing)


@scenario(says_twice)
class LoseWithUnreadData(Scene):
    def data(self, data: bytes) -> None:
        self.transport.pauseProducing()
        self.reactor.callLater(3 * A_MOMENT, self.transport.loseConnection)


# Scenarios: what is raised.


def raising(kind: type[BaseException], where: str) -> None:
    class Raises(HalfScene if "_" in where else Scene):  # type: ignore[misc]
        pass

    def act(self: Any, *_: Any) -> None:
        raise kind("raised by the scenario")

    setattr(Raises, where, act)
    if where == "write_lost":
        Raises.made = lambda self: self.transport.loseWriteConnection()
    Raises.__name__ = f"{kind.__name__} in {where}"
    scenario({"read_lost": ends, "write_lost": listens, "lost": says_and_leaves}.get(where, says))(Raises)


for kind in (ValueError, OSError, SystemExit):
    for where in ("data", "lost", "read_lost", "write_lost"):
        raising(kind, where)


@scenario(says_and_leaves)
class RaiseWhenMade(Scene):
    def made(self) -> None:
        raise OSError("raised by the scenario")


# Scenarios: half-closed.


@scenario(says_and_ends)
class HearTheEndAndGoOn(HalfScene):
    def read_lost(self) -> None:
        self.transport.write(b"still here")
        self.later(self.say_goodbye)

    def say_goodbye(self) -> None:
        self.transport.write(b"goodbye")
        self.transport.loseConnection()


@scenario(hears_the_end_and_answers)
class EndAndHear(HalfScene):
    def made(self) -> None:
        self.transport.write(b"last")
        self.transport.loseWriteConnection()
        self.transport.write(b" words")
        self.transport.loseWriteConnection()

    def write_lost(self) -> None:
        self.transport.write(b"too late")

    def read_lost(self) -> None:
        self.transport.loseConnection()


@scenario(hears_the_end_and_answers)
class EndAfterMuch(HalfScene):
    def made(self) -> None:
        self.transport.write(BIG)
        self.transport.loseWriteConnection()

    def read_lost(self) -> None:
        self.transport.loseConnection()


@scenario(hears_the_end_and_answers)
class EndWithoutHearing(Scene):
    def made(self) -> None:
        self.transport.loseWriteConnection()


@scenario(says)
class EndAndLose(HalfScene):
    def data(self, data: bytes) -> None:
        self.transport.loseWriteConnection()

    def write_lost(self) -> None:
        self.transport.loseConnection()


# Scenarios: reading.


@scenario(says_twice_at_once)
class PausedFromTheBeginning(Scene):
    def made(self) -> None:
        self.transport.pauseProducing()
        self.reactor.callLater(3 * A_MOMENT, self.go_on)

    def go_on(self) -> None:
        self.note("go on")
        self.got = 0
        self.transport.resumeProducing()

    def data(self, data: bytes) -> None:
        self.got += len(data)
        if self.got == 10:
            self.transport.loseConnection()


@scenario(says_and_leaves)
class PausedOverTheEnd(Scene):
    def made(self) -> None:
        self.transport.pauseProducing()
        self.reactor.callLater(3 * A_MOMENT, self.go_on)

    def go_on(self) -> None:
        self.note("go on")
        self.transport.resumeProducing()


@scenario(says_and_ends)
class PausedAndAborted(Scene):
    def made(self) -> None:
        self.transport.pauseProducing()
        self.later(self.transport.abortConnection)


@scenario(says_twice)
class PausedByData(Scene):
    def data(self, data: bytes) -> None:
        self.note(data.decode())
        self.transport.pauseProducing()
        if data == b"again":
            self.transport.loseConnection()
        else:
            self.reactor.callLater(3 * A_MOMENT, self.transport.resumeProducing)


@scenario(says_twice)
class OtherProtocol(Scene):
    def data(self, data: bytes) -> None:
        transport = self.transport
        transport.protocol = LoseAtOnce(self.note, self.reactor, self.ended, self.cues)
        transport.protocol.makeConnection(transport)


@scenario(says_twice)
class OtherDataReceived(Scene):
    def data(self, data: bytes) -> None:
        self.dataReceived = self.other  # type: ignore[method-assign]

    def other(self, data: bytes) -> None:
        self.note("other")
        self.transport.loseConnection()


# Scenarios: producers.


class Producer:
    """Producer that records its calls."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def pauseProducing(self) -> None:
        self.scene.note("pause")

    def resumeProducing(self) -> None:
        self.scene.note("resume")

    def stopProducing(self) -> None:
        self.scene.note("stop")


class Pulled(Producer):
    """Producer that writes five times when it is asked."""

    left = 5

    def resumeProducing(self) -> None:
        self.scene.note("resume")
        self.left -= 1
        if self.left >= 0:
            self.scene.transport.write(b"x" * 1000)
        else:
            self.finish()

    def finish(self) -> None:
        transport = self.scene.transport
        transport.unregisterProducer()
        transport.loseConnection()


@scenario(listens)
class PullProducer(Scene):
    def made(self) -> None:
        transport = self.transport
        transport.registerProducer(Pulled(self), False)


@scenario(listens)
class PullProducerAndLose(Scene):
    def made(self) -> None:
        transport = self.transport
        transport.registerProducer(Pulled(self), False)
        transport.loseConnection()


@scenario(says_and_leaves)
class PullProducerAndPeerLeaves(Scene):
    def data(self, data: bytes) -> None:
        transport = self.transport
        transport.pauseProducing()
        transport.registerProducer(Producer(self), False)
        self.later(transport.resumeProducing)


@scenario(listens)
class PushProducerAndLose(Scene):
    def made(self) -> None:
        transport = self.transport
        transport.registerProducer(Producer(self), True)
        self.later(transport.loseConnection)


@scenario(says_and_waits)
class PushProducer(Scene):
    def data(self, data: bytes) -> None:
        transport = self.transport
        producer = Producer(self)
        producer.resumeProducing = self.finish  # type: ignore[method-assign]
        transport.registerProducer(producer, True)
        try:
            transport.registerProducer(producer, True)
        except RuntimeError:
            self.note("twice")
        transport.write(BIG)

    def finish(self) -> None:
        transport = self.transport
        self.note("resume")
        transport.write(b"the end")
        transport.unregisterProducer()
        transport.loseConnection()


@scenario(says_and_waits)
class PushProducerPausedAndLose(Scene):
    def data(self, data: bytes) -> None:
        transport = self.transport
        producer = Producer(self)
        producer.resumeProducing = self.finish  # type: ignore[method-assign]
        transport.registerProducer(producer, True)
        transport.write(BIG)
        transport.loseConnection()

    def finish(self) -> None:
        transport = self.transport
        self.note("resume")
        transport.write(b"the end")
        transport.unregisterProducer()


@scenario(says_and_waits)
class ProducerRaises(Scene):
    def data(self, data: bytes) -> None:
        transport = self.transport
        producer = Producer(self)
        producer.resumeProducing = self.fail  # type: ignore[method-assign]
        transport.registerProducer(producer, True)
        transport.write(BIG)

    def fail(self) -> None:
        raise OSError("raised by the scenario")


@scenario(says_and_waits_for_the_end)
class ProducerAborts(Scene):
    def data(self, data: bytes) -> None:
        transport = self.transport
        transport.registerProducer(Producer(self), True)
        transport.write(BIG)
        self.later(transport.abortConnection)


# The stage.


def play(name: str) -> dict[str, Any]:
    """Play all scenarios, each accepting and connecting, over TCP and UNIX sockets."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.logger import ILogObserver, globalLogPublisher

    stage: Any = reactor
    transcripts: dict[str, list[str]] = {}
    folder = tempfile.mkdtemp()

    async def one(scene: type[Scene], peer: PlayPeer, family: str, role: str) -> Any:
        seen: list[str] = []
        cues = Cues()
        done: Deferred[None] = Deferred()
        states = {"thread": False, "ended": False}

        def note(what: str) -> None:
            if what != "data" or seen[-1:] != ["data"]:  # the number of pieces is not promised
                seen.append(what)

        def end(which: str) -> None:
            states[which] = True
            if all(states.values()):
                stage.callLater(2 * A_MOMENT, finish)

        def finish() -> None:
            if not done.called:
                done.callback(None)

        def give_up() -> None:
            seen.append("nothing more")
            finish()

        @implementer(ILogObserver)
        def logged(event: Any) -> None:
            failure = event.get("log_failure") or event.get("failure")
            if failure is not None:
                note(f"logged {failure.type.__name__}")

        def run(connect: Callable[[], socket.socket]) -> None:
            try:
                with connect() as sock:
                    sock.settimeout(TIMEOUT)
                    result = peer(sock, cues)
            except OSError as error:
                result = f"failed {type(error).__name__}"
            stage.callFromThread(seen.append, f"peer {result}")
            stage.callFromThread(end, "thread")

        factory = ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda _: scene(note, stage, lambda: end("ended"), cues)  # type: ignore
        factory.clientConnectionLost = lambda *_: note("connector lost")  # type: ignore
        path = os.path.join(folder, str(len(transcripts)))
        kind = socket.AF_INET if family == "tcp" else socket.AF_UNIX
        globalLogPublisher.addObserver(logged)
        other = socket.socket(kind)
        port = None
        if role == "server":
            port = (
                stage.listenTCP(0, factory, interface="127.0.0.1")
                if family == "tcp"
                else stage.listenUNIX(path, factory)
            )
            where = ("127.0.0.1", port.getHost().port) if family == "tcp" else path

            def connect() -> socket.socket:
                other.connect(where)
                return other
        else:
            other.bind(("127.0.0.1", 0) if family == "tcp" else path)
            other.listen()

            def connect() -> socket.socket:
                return other.accept()[0]

            if family == "tcp":
                stage.connectTCP("127.0.0.1", other.getsockname()[1], factory)
            else:
                stage.connectUNIX(path, factory)
        thread = threading.Thread(target=run, args=[connect])
        thread.start()
        deadline = stage.callLater(TIMEOUT, give_up)
        await done
        if deadline.active():
            deadline.cancel()
        if port is not None:
            await port.stopListening()
        globalLogPublisher.removeObserver(logged)
        other.close()
        thread.join(TIMEOUT)
        # The thread of the peer and the reactor run independently: the peer's record is kept apart.
        return [what for what in seen if not what.startswith("peer")] + sorted(
            what for what in seen if what.startswith("peer")
        )

    async def everything() -> None:
        wanted = sys.argv[2:] or SCENARIOS
        for family in ("tcp", "unix"):
            for role in ("server", "client"):
                for title in wanted:
                    scene, peer = SCENARIOS[title]
                    transcripts[f"{title} {family} {role}"] = await one(scene, peer, family, role)

    def begin() -> None:
        Deferred.fromCoroutine(everything()).addErrback(lambda f: f.printTraceback()).addBoth(
            lambda _: stage.stop()
        )

    stage.callWhenRunning(begin)
    stage.run()
    return transcripts


if __name__ == "__main__":
    if sys.argv[1] == "uv":
        from sockd import uvreactor

        uvreactor.install()
    else:
        from twisted.internet import epollreactor

        epollreactor.install()
    json.dump(play(sys.argv[1]), sys.stdout, indent=1)
