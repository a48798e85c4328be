"""Traps of uvloop, each tried on a reactor of its own; see test_traps.

python traps.py NAME
"""

from __future__ import annotations

import gc
import os
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sockd import uvreactor

uvreactor.install()

from twisted.internet import reactor as _reactor  # noqa: E402  # the one that has just been installed
from twisted.internet.protocol import DatagramProtocol, Factory, ProcessProtocol, Protocol  # noqa: E402
from twisted.internet.task import deferLater  # noqa: E402
from twisted.internet.threads import blockingCallFromThread  # noqa: E402
from twisted.logger import ILogObserver, globalLogPublisher  # noqa: E402
from zope.interface import implementer  # noqa: E402

from sockd.uvreactor.ends import TCPServer  # noqa: E402

reactor: Any = _reactor
LOOPBACK = "127.0.0.1"
OLD, NEW = 100, 40
"""Busy connections, and connections that come all at once."""

PATIENCE = 30
"""Seconds to wait for events that take milliseconds."""

TURNS = 3
"""Turns after which the reactor has finished: a connection is lost in one turn, closed in the next."""

logged: list[str] = []


@implementer(ILogObserver)
def log_observer(event: Any) -> None:
    logged.append(event.get("log_format") or "")


globalLogPublisher.addObserver(log_observer)


class Echo(Protocol):
    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


def listen(protocol: Callable[[], Protocol], backlog: int = 1024) -> tuple[str, int]:
    factory = Factory()
    factory.noisy = False
    factory.buildProtocol = lambda _: protocol()  # type: ignore[method-assign,assignment]
    return LOOPBACK, reactor.listenTCP(0, factory, backlog, LOOPBACK).getHost().port


def in_thread(work: Callable[[], None]) -> None:
    """Run a function beside the reactor, which stops after it."""

    def run() -> None:
        try:
            work()
        finally:
            reactor.callFromThread(reactor.stop)

    reactor.callWhenRunning(threading.Thread(target=run).start)
    reactor.run()


def turns() -> None:
    """Let the reactor finish what it has begun; called in a thread beside it."""
    for _ in range(TURNS):
        blockingCallFromThread(reactor, deferLater, reactor, 0)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def a_connected_datagram_port_outlives_a_refusal() -> None:
    events: list[str] = []

    class Caller(DatagramProtocol):
        transport: Any

        def startProtocol(self) -> None:
            self.transport.connect(LOOPBACK, where)
            self.transport.write(b"nobody is there")

        def connectionRefused(self) -> None:
            events.append("refused")
            peer.bind((LOOPBACK, where))
            peer.sendto(b"now there is", (LOOPBACK, self.transport.getHost().port))

        def datagramReceived(self, datagram: bytes, addr: Any) -> None:
            events.append(datagram.decode())
            reactor.stop()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        where = probe.getsockname()[1]
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    reactor.listenUDP(0, Caller(), LOOPBACK)
    reactor.callLater(PATIENCE, reactor.stop)
    reactor.run()
    peer.close()
    assert events == ["refused", "now there is"], events


def connections_are_accepted_while_others_are_busy() -> None:
    turn = 0
    accepted: list[int] = []  # the turn of the reactor in which each was accepted
    all_accepted = threading.Event()

    def count() -> None:
        nonlocal turn
        turn += 1
        reactor.callLater(0, count)

    class Busy(Protocol):
        transport: Any

        def connectionMade(self) -> None:
            accepted.append(turn)
            if len(accepted) == OLD + NEW:
                all_accepted.set()

        def dataReceived(self, data: bytes) -> None:
            until = time.perf_counter() + 50e-6
            while time.perf_counter() < until:
                pass
            self.transport.write(data)

    where = listen(Busy)
    reactor.callWhenRunning(count)

    def connect() -> tuple[int, list[socket.socket]]:
        """Connect all in one turn of the reactor, in which it can accept none of them."""
        return turn, [socket.create_connection(where) for _ in range(NEW)]

    def work() -> None:
        busy = [socket.create_connection(where) for _ in range(OLD)]
        warm, stop = threading.Event(), threading.Event()

        def load() -> None:
            while not stop.is_set():
                for sock in busy:
                    sock.send(b"x")
                for sock in busy:
                    sock.recv(1)
                warm.set()

        loading = threading.Thread(target=load)
        loading.start()
        assert warm.wait(PATIENCE)
        before, new = blockingCallFromThread(reactor, connect)
        assert all_accepted.wait(PATIENCE)
        stop.set()
        loading.join()
        for sock in busy + new:
            sock.close()
        # Accepting one connection in each turn is what makes newcomers wait.
        assert accepted[-1] - before <= NEW / 4, accepted[-NEW:]

    in_thread(work)


def running_out_of_descriptors_is_logged_and_passes() -> None:
    class Counted(Echo):
        def connectionMade(self) -> None:
            open_ones.add(self)

        def connectionLost(self, reason: Any = None) -> None:
            open_ones.remove(self)
            if not open_ones:
                all_lost.set()

    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    open_ones: set[Protocol] = set()
    all_lost = threading.Event()
    # A port warns if most descriptors are its own connections; here their clients have some too.
    resource.setrlimit(resource.RLIMIT_NOFILE, (30, most[1]))
    where = listen(Counted)
    spent: list[float] = []

    def work() -> None:
        clients = [socket.socket() for _ in range(60)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 20, most[1]))
        for client in clients:
            client.connect(where)
            client.settimeout(5)
        served = 0
        for client in clients:
            try:
                client.send(b"x")
                served += client.recv(1) == b"x"
            except OSError:
                pass
        before = time.process_time()
        time.sleep(0.2)  # nothing is to happen meanwhile: a reactor that spins would use all of it
        spent.append(time.process_time() - before)
        for client in clients:
            client.close()
        assert all_lost.wait(PATIENCE)
        turns()
        with socket.create_connection(where) as again:
            again.send(b"x")
            assert again.recv(1) == b"x"
        assert 10 < served < 30, served

    resource.setrlimit(resource.RLIMIT_NOFILE, (100, most[1]))
    in_thread(work)
    assert spent[0] < 0.1, spent
    assert any("EMFILE" in line or "descriptors are used" in line for line in logged), logged


def ended_processes_are_noticed() -> None:
    left = 100

    class Child(ProcessProtocol):
        def processEnded(self, reason: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                reactor.stop()

    def spawn() -> None:
        for _ in range(100):
            reactor.spawnProcess(Child(), "/bin/true", ["true"])

    reactor.callWhenRunning(spawn)
    reactor.callLater(30, reactor.stop)
    reactor.run()
    assert left == 0, left


def every_connection_is_told_once_when_the_reactor_stops() -> None:
    lost: list[str] = []

    class Held(Protocol):
        transport: Any

        def connectionMade(self) -> None:
            held.append(self)
            if len(held) == 400:
                all_held.set()

        def connectionLost(self, reason: Any = None) -> None:
            lost.append(reason.type.__name__)

    held: list[Held] = []
    all_held = threading.Event()
    where = listen(Held)
    before = descriptors()
    clients: list[socket.socket] = []

    def work() -> None:
        clients.extend(socket.create_connection(where) for _ in range(400))
        all_held.wait(PATIENCE)

    in_thread(work)
    assert lost == ["ConnectionLost"] * 400, len(lost)
    for client in clients:
        assert client.recv(1) == b""
        client.close()
    assert descriptors() <= before, (before, descriptors())


def connections_leave_nothing_behind() -> None:
    class Aborts(Protocol):
        transport: Any

        def connectionMade(self) -> None:
            if len(made) % 3 == 0:
                self.transport.abortConnection()
            made.append(None)

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)
            self.transport.loseConnection()

        def connectionLost(self, reason: Any = None) -> None:
            lost.append(None)
            if len(lost) % 1000 == 0:
                all_lost.set()

    made: list[None] = []
    lost: list[None] = []
    all_lost = threading.Event()
    where = listen(Aborts)
    seen: list[tuple[int, int]] = []

    def work() -> None:
        for _ in range(4):
            all_lost.clear()
            for _ in range(1000):
                with socket.create_connection(where) as client:
                    try:
                        client.send(b"x")
                        client.recv(1)
                    except OSError:
                        pass
            assert all_lost.wait(PATIENCE)
            turns()
            seen.append((descriptors(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))

    in_thread(work)
    assert seen[0][0] == seen[-1][0], seen
    assert seen[-1][1] - seen[1][1] < 2048, seen  # KiB; the first rounds fill caches
    assert not reactor.native
    assert not reactor.closing


def streams_that_have_ended_are_freed_at_once() -> None:
    """Reference counts free them: nothing is left for the garbage collector."""
    lost = threading.Semaphore(0)

    class Direct(Echo):
        def connectionMade(self) -> None:
            self.transport.receive_directly(self.dataReceived)

        def connectionLost(self, reason: Any = None) -> None:
            lost.release()

    where = listen(Direct)

    def work() -> None:
        gc.collect()
        gc.disable()
        for _ in range(100):
            with socket.create_connection(where) as client:
                client.sendall(b"hello")
                assert client.recv(5) == b"hello"
        for _ in range(100):
            assert lost.acquire(timeout=PATIENCE)
        turns()
        assert [type(each) for each in gc.get_objects() if type(each) in (Direct, TCPServer)] == []

    in_thread(work)


def calls_of_the_next_turn_can_be_cancelled_and_put_off() -> None:
    called: list[str] = []

    def begin() -> None:
        reactor.callLater(0, called.append, "first")
        reactor.callLater(0, called.append, "cancelled").cancel()
        put_off = reactor.callLater(0, called.append, "put off")
        put_off.delay(0.02)
        assert put_off in reactor.getDelayedCalls()
        reactor.callLater(0, called.append, "second")
        reactor.callLater(0.01, called.append, "later")
        reactor.callLater(0.05, reactor.stop)

    reactor.callWhenRunning(begin)
    reactor.run()
    assert called == ["first", "second", "later", "put off"], called


def an_adopted_unix_socket_keeps_its_path_and_its_mode() -> None:
    import tempfile

    path = os.path.join(tempfile.mkdtemp(), "socket")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        os.chmod(path, 0o600)
        listening.listen()
        listening.setblocking(False)
        port = reactor.adoptStreamPort(listening.fileno(), socket.AF_UNIX, Factory.forProtocol(Echo))

        def work() -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)
                client.send(b"x")
                assert client.recv(1) == b"x"
            blockingCallFromThread(reactor, port.stopListening)
            turns()
            assert os.stat(path).st_mode & 0o777 == 0o600

        in_thread(work)
        assert os.path.exists(path)


def the_shell_of_sockd_holds() -> None:
    """Back-pressure and half-close of `sockd.stream.connection` on a real stream."""
    import tempfile
    from pathlib import Path

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IProtocolFactory

    from sockd.config import load
    from sockd.plugin import Context, IStreamPlugin, Plugin
    from sockd.serving.server import Server
    from sockd.sockets.transport import tcp_socket, unsent_bytes

    seen: list[Any] = []
    lost = threading.Event()

    class Greedy(Protocol):
        transport: Any

        def connectionMade(self) -> None:
            assert tcp_socket(self.transport) is not None

        def dataReceived(self, data: bytes) -> None:
            if data == b"flood":
                self.transport.write(b"x" * 16 * 1024 * 1024)  # more than the kernel takes
                seen.append(unsent_bytes(self.transport) > 1024 * 1024)
                self.transport.write(b"x")
            else:
                self.transport.write(data)

        def connectionLost(self, reason: Any = None) -> None:
            seen.append(reason.type.__name__)
            self.transport.write(b"too late")
            lost.set()

    @implementer(IStreamPlugin)
    class Careless(Plugin):
        """Protocol that writes although the peer does not read."""

        def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:
            return Factory.forProtocol(Greedy)

    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        where = probe.getsockname()
    file = Path(tempfile.mkdtemp(), "sockd.toml")
    endpoint = f"tcp:{where[1]}:interface={LOOPBACK}"
    file.write_text(
        f'[service.greedy]\nplugin = "greedy"\nlisten = ["{endpoint}"]\nlimits.max_unread_output = "1MiB"\n'
    )
    server = Server(load(file, lambda _: Careless), reactor)
    server.bind()
    reactor.callWhenRunning(
        lambda: Deferred.fromCoroutine(server.start()).addCallback(lambda _: server.open())
    )

    def stop() -> Any:
        return Deferred.fromCoroutine(server.stop())

    def work() -> None:
        with socket.create_connection(where) as client:
            client.sendall(b"a" * 1_000_000)
            client.shutdown(socket.SHUT_WR)
            size = 0
            while data := client.recv(1 << 16):
                size += len(data)
            assert size == 1_000_000, size
        assert lost.wait(PATIENCE)
        lost.clear()
        with socket.create_connection(where) as client:
            client.sendall(b"flood")
            assert lost.wait(PATIENCE)
        blockingCallFromThread(reactor, stop)

    in_thread(work)
    assert seen == ["ConnectionDone", True, "ConnectionAborted"], seen


def await_data(transport: Any) -> None:
    """Wait until data of the peer have come, without reading them."""
    assert select.select([transport.fileno()], [], [], PATIENCE)[0]


class Hasty(Protocol):
    """Protocol that is ready in the next turn, and records whether data come before that."""

    transport: Any
    ready = False

    def __init__(self, early: list[bool]) -> None:
        self._early = early

    def connectionMade(self) -> None:
        reactor.callLater(0, setattr, self, "ready", True)
        await_data(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._early.append(not self.ready)
        self.transport.loseConnection()


def speaks_first(listening: socket.socket) -> None:
    """Accept one connection and send."""
    with listening.accept()[0] as sock:
        sock.sendall(b"220 ready")
        sock.recv(1)


def what_connection_made_puts_off_comes_before_the_data() -> None:
    """Streams of every kind: accepted, adopted and connected, over TCP and UNIX sockets."""
    import tempfile

    from twisted.internet.protocol import ClientFactory

    early: list[bool] = []
    factory = ClientFactory()
    factory.noisy = False
    factory.buildProtocol = lambda _: Hasty(early)  # type: ignore[method-assign,assignment]
    path = os.path.join(tempfile.mkdtemp(), "")
    accepting = reactor.listenTCP(0, factory, interface=LOOPBACK).getHost().port
    reactor.listenUNIX(path + "accepting", factory)

    def work() -> None:
        for kind, where in ((socket.AF_INET, (LOOPBACK, accepting)), (socket.AF_UNIX, path + "accepting")):
            with socket.socket(kind) as client:
                client.connect(where)
                client.sendall(b"x")
                client.recv(1)
        for kind in (socket.AF_INET, socket.AF_UNIX):
            ours, theirs = socket.socketpair() if kind == socket.AF_UNIX else pair()
            with ours, theirs:
                theirs.sendall(b"x")
                blockingCallFromThread(reactor, reactor.adoptStreamConnection, ours.fileno(), kind, factory)
                theirs.recv(1)
        with socket.create_server((LOOPBACK, 0)) as listening:
            port = listening.getsockname()[1]
            blockingCallFromThread(reactor, reactor.connectTCP, LOOPBACK, port, factory)
            speaks_first(listening)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path + "speaking")
            listening.listen()
            blockingCallFromThread(reactor, reactor.connectUNIX, path + "speaking", factory)
            speaks_first(listening)

    in_thread(work)
    assert early == [False] * 6, early


def data_go_directly_where_connection_made_wants_them() -> None:
    """Data that come before it are delivered too, in order."""
    got: list[bytes] = []

    class Direct(Protocol):
        transport: Any

        def connectionMade(self) -> None:
            self.transport.receive_directly(self.direct)
            reactor.callLater(0, got.append, b"put off")
            await_data(self.transport)

        def direct(self, data: bytes) -> None:
            got.append(data)
            self.transport.write(data)

        def dataReceived(self, data: bytes) -> None:
            got.append(b"not directly")

    where = listen(Direct)

    def work() -> None:
        with socket.create_connection(where) as client:
            for word in (b"one", b"two", b"three"):
                client.sendall(word)
                assert client.recv(9) == word

    in_thread(work)
    assert got == [b"put off", b"one", b"two", b"three"], got


class Filled(Protocol):
    """Reads into buffers of 1000 bytes, one after the other, and takes bytes before and after."""

    transport: Any

    def __init__(self) -> None:
        self.got = bytearray()
        self.into_buffers = self.as_bytes = 0
        self.buffer: memoryview | None = None

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        self.as_bytes += len(data)
        if len(self.got) == 5:
            assert self.transport.read_into(self)
        self.end_if_whole()

    def space(self) -> memoryview | None:
        self.buffer = memoryview(bytearray(1000)) if self.as_bytes > 5 else None
        return self.buffer

    def filled(self, size: int) -> None:
        assert self.buffer is not None
        self.got += self.buffer[:size]
        self.into_buffers += size
        if self.into_buffers > 200_000:
            self.transport.receive_directly(self.dataReceived)
        self.transport.pauseProducing()
        reactor.callLater(0, self.transport.resumeProducing)
        self.end_if_whole()

    def end_if_whole(self) -> None:
        if len(self.got) == 1_000_000:
            self.transport.loseConnection()


def data_is_read_into_buffers_that_the_receiver_has() -> None:
    made: list[Filled] = []
    data = os.urandom(1_000_000)

    def build() -> Filled:
        made.append(Filled())
        return made[-1]

    address = listen(build)

    def work() -> None:
        with socket.create_connection(address, PATIENCE) as peer:
            peer.sendall(data[:5])
            while not made or len(made[0].got) < 5:
                time.sleep(0.01)
            peer.sendall(data[5:])
            assert peer.recv(1) == b""

    in_thread(work)
    filled = made[0]
    assert filled.got == data
    assert filled.into_buffers + filled.as_bytes == len(data)
    assert filled.into_buffers > 200_000
    assert filled.as_bytes > 500_000


def descriptors_can_be_passed_although_data_came_first() -> None:
    """A UNIX stream changes to Twisted's transport in the turn after `connectionMade`."""
    import tempfile

    got: list[bytes] = []

    class Passes(Protocol):
        transport: Any

        def connectionMade(self) -> None:
            reactor.callLater(0, self.pass_one)
            await_data(self.transport)

        def pass_one(self) -> None:
            self.transport.sendFileDescriptor(0)
            self.transport.write(b"one")

        def dataReceived(self, data: bytes) -> None:
            got.append(data)
            if len(got) == 2:
                self.transport.loseConnection()

    factory = Factory.forProtocol(Passes)
    factory.noisy = False
    path = os.path.join(tempfile.mkdtemp(), "socket")
    reactor.listenUNIX(path, factory)

    def work() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(path)
            client.sendall(b"first")
            data, passed, _, _ = socket.recv_fds(client, 100, 1)
            assert len(passed) == 1
            os.close(passed[0])
            client.sendall(b"second")
            while more := client.recv(100):
                data += more
            assert data == b"one", data

    in_thread(work)
    assert got == [b"first", b"second"], got


def wait_until_due(call: Any) -> None:
    """Return when the time of a delayed call has come, without letting the reactor make it."""
    while reactor.seconds() < call.getTime():
        pass


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends of a TCP connection."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        return ours, listening.accept()[0]


def calls_are_made_in_the_order_of_their_times() -> None:
    called: list[str] = []

    def begin() -> None:
        wait_until_due(reactor.callLater(0.001, called.append, "due first"))
        reactor.callLater(0, called.append, "zero")
        reactor.callLater(1e-9, called.append, "tiny")
        reactor.callLater(0, called.append, "zero again")
        reactor.callLater(0, reactor.callLater, 0, reactor.stop)

    reactor.callWhenRunning(begin)
    reactor.run()
    assert called == ["due first", "zero", "tiny", "zero again"], called


def run_until_current_makes_every_call_that_is_due() -> None:
    called: list[str] = []
    wait_until_due(reactor.callLater(0.001, called.append, "timed"))
    for number in range(20):
        reactor.callLater(0, called.append, str(number))
    reactor.callLater(0, called.append, "cancelled").cancel()
    put_off = reactor.callLater(0, called.append, "put off")
    put_off.delay(60)
    victim = reactor.callLater(0, called.append, "cancelled by another")
    reactor.callLater(1e-9, called.append, "tiny")
    reactor.callLater(60, called.append, "later")
    reactor.callFromThread(victim.cancel)
    assert reactor.timeout() == 0
    reactor.runUntilCurrent()
    assert called == ["timed", *map(str, range(20)), "tiny"], called
    assert reactor.timeout() > 0
    put_off.reset(0)
    reactor.callLater(0.01, reactor.stop)
    reactor.run()
    assert called[-1] == "put off", called


def iterate_turns_the_loop_once() -> None:
    """A turn serves a connection and makes calls, does not wait, and leaves nothing to the next run."""
    called: list[str] = []
    where = listen(Echo)
    reactor.callLater(0, called.append, "soon")
    reactor.iterate()
    assert called == ["soon"], called

    with socket.create_connection(where) as client:
        client.sendall(b"hello")
        end = time.monotonic() + PATIENCE
        while not select.select([client], [], [], 0)[0]:
            assert time.monotonic() < end, "no answer"
            reactor.iterate(delay=0)
        assert client.recv(5) == b"hello"

    # Twisted's asyncio reactor waits 10 ms each time, so this would take it longer.
    patience = reactor.callLater(PATIENCE, called.append, "it waited")
    for _ in range(PATIENCE * 110):
        reactor.iterate(0)
    patience.cancel()

    late = reactor.callLater(0.05, called.append, "while it waits")
    reactor.iterate(0.5)
    assert not late.active()

    reactor.callLater(0, reactor.crash)
    reactor.iterate()
    inside: list[str] = []

    def again() -> None:
        try:
            reactor.iterate()
        except RuntimeError as error:
            inside.append(str(error))

    reactor.callLater(0.05, again)
    reactor.callLater(0.1, called.append, "in the run")
    reactor.callLater(0.1, reactor.stop)
    reactor.run()
    assert called == ["soon", "while it waits", "in the run"], called
    assert "callLater" in inside[0], inside


def a_program_can_turn_the_reactor_by_itself() -> None:
    """Games and programs with a loop of their own do so."""
    events: list[str] = []
    reactor.addSystemEventTrigger("during", "shutdown", events.append, "shutdown")
    reactor.callWhenRunning(events.append, "running")
    reactor.startRunning(installSignalHandlers=False)
    reactor.callLater(0.02, reactor.stop)
    while reactor.running:
        reactor.iterate(0.001)
    assert events == ["running", "shutdown"], events


def a_reactor_that_is_stopped_at_its_start_ends() -> None:
    reactor.callWhenRunning(reactor.crash)
    reactor.run()
    reactor.callWhenRunning(reactor.stop)
    reactor.run()


def what_asyncio_begins_before_the_run_is_done() -> None:
    import asyncio

    from twisted.internet.defer import Deferred

    done: list[str] = []

    async def task(name: str) -> str:
        await asyncio.sleep(0)
        done.append(name)
        return name

    loop = asyncio.get_event_loop_policy().get_event_loop()
    assert loop is reactor.loop
    kept = loop.create_task(task("created"))
    ensured = asyncio.ensure_future(task("ensured"), loop=loop)

    async def plugin() -> None:
        future = asyncio.ensure_future(task("from a Deferred"), loop=loop)
        done.append("awaited " + await Deferred.fromFuture(future))
        reactor.stop()

    def begin() -> None:
        tasks.append(asyncio.create_task(task("at the start")))

    tasks: list[Any] = []
    Deferred.fromCoroutine(plugin())
    reactor.callWhenRunning(begin)
    reactor.callLater(PATIENCE, reactor.stop)
    reactor.run()
    assert kept.done()
    assert ensured.done()
    assert done[:3] == ["created", "ensured", "from a Deferred"], done
    assert sorted(done[3:]) == ["at the start", "awaited from a Deferred"], done


def a_connection_that_cannot_be_served_leaves_no_descriptor() -> None:
    """Accepted on a port, or adopted; the port goes on."""
    import tempfile

    from twisted.logger import globalLogBeginner

    from sockd.uvreactor.openings import Openings

    globalLogBeginner.beginLoggingTo([log_observer], discardBuffer=True, redirectStandardIO=False)

    class Refusing:
        def connect_accepted_socket(self, build: Any, sock: Any) -> Any:
            raise OSError("refused by the test")

    path = os.path.join(tempfile.mkdtemp(), "socket")
    factory = Factory.forProtocol(Echo)
    factory.noisy = False
    reactor.listenUNIX(path, factory)

    def served() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(path)
            try:
                client.sendall(b"x")
                return client.recv(1)
            except ConnectionError:
                return b""

    def work() -> None:
        assert served() == b"x"
        turns()
        before = descriptors()
        openings, reactor.openings = reactor.openings, Openings(Refusing())
        assert served() == b""
        ours, theirs = pair()
        with ours, theirs, suppress(OSError):
            blockingCallFromThread(
                reactor, reactor.adoptStreamConnection, ours.fileno(), socket.AF_INET, factory
            )
            raise AssertionError("it was adopted")
        reactor.openings = openings
        assert served() == b"x"
        turns()
        assert descriptors() == before, (before, descriptors())

    in_thread(work)
    assert any("cannot serve" in line for line in logged), logged


if __name__ == "__main__":
    globals()[sys.argv[1]]()
