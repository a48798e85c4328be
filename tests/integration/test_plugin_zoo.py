"""Plugins that misbehave: their neighbours in the daemon serve on, and the daemon ends in order."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from running import PATIENCE, Daemon, Start
from zoo_plugins import RAISED

LOG_BOUND = 1_000_000
"""Bytes of log that a storm of faults may cause (fault 29 of docs/faults.md)."""

STORM = 100_000

NEIGHBOUR = """
[daemon]
drain_timeout = "1s"
[service.neighbour]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1", "unix:run/neighbour.sock"]
"""

DATAGRAMS = dict.fromkeys(["Raising", "Storming"], ', "udp:0:interface=127.0.0.1"')

FAULTS = 500
"""Faults of each kind."""

Zoo = Callable[..., Daemon]


def service(name: str, plugin: str, **options: str) -> str:
    chosen = "".join(f'options.{key} = "{value}"\n' for key, value in options.items())
    return (
        f'[service.{name}]\nplugin = "zoo_plugins:{plugin}"\n'
        f'listen = ["tcp:0:interface=127.0.0.1"{DATAGRAMS.get(plugin, "")}]\n{chosen}'
    )


@pytest.fixture
def zoo(start: Start) -> Zoo:
    def start_with(*services: str) -> Daemon:
        return start(NEIGHBOUR + "".join(services), env={"PYTHONPATH": str(Path(__file__).parent)}).ready()

    return start_with


@contextmanager
def connected(daemon: Daemon, name: str) -> Iterator[socket.socket]:
    with socket.create_connection(daemon.port(name), PATIENCE) as peer:
        yield peer


def answers(peer: socket.socket) -> bool:
    peer.sendall(b"?")
    return peer.recv(1) == b"?"


def visit(daemon: Daemon, name: str, first: str = "") -> None:
    """Have a whole conversation, which causes every callback; ignore the answers.

    Args:
        first: an event to wait for before anything is read.
    """
    with suppress(OSError), connected(daemon, name) as peer:
        peer.sendall(b"?")
        if first:
            daemon.wait_for(first, service=name)
        peer.recv(1)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(2**16):
            pass
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        if daemon.addresses(name, "udp"):
            peer.sendto(b"?", daemon.port(name, "udp"))


def ended(daemon: Daemon) -> tuple[int, float]:
    """Return the exit code after SIGTERM, and the seconds until the end."""
    begun = time.monotonic()
    daemon.signal()
    return daemon.wait(), time.monotonic() - begun


WHERE = [
    "buildProtocol",
    "connectionMade",
    "dataReceived",
    "readConnectionLost",
    "connectionLost",
    "resumeProducing",
    "datagramReceived",
]


@pytest.mark.parametrize("where", WHERE)
def test_an_exception_in_any_callback_is_counted_and_the_neighbours_serve_on(zoo: Zoo, where: str) -> None:
    daemon = zoo(*(service(what.lower(), "Raising", where=where, what=what) for what in RAISED))
    with connected(daemon, "neighbour") as neighbour:
        assert answers(neighbour)
        for what in RAISED:
            # Only a paused producer is resumed, and a peer that reads fast enough pauses none.
            visit(daemon, what.lower(), first="paused" if where == "resumeProducing" else "")
            fault = daemon.wait_for("plugin fault", service=what.lower(), callback=where)
            assert fault["error"].startswith(f"{what}:")
            assert answers(neighbour)
    code, seconds = ended(daemon)
    assert code == 0
    assert seconds < PATIENCE / 2
    assert daemon.events[-1]["event"] == "stopped"


def test_thousands_of_faults_leave_no_descriptor_open_and_no_place_taken(zoo: Zoo) -> None:
    """The limit of each service is the number of connections at once."""
    where = ["buildProtocol", "connectionMade", "dataReceived", "connectionLost"]
    services = [service(name.lower(), "Raising", where=name, what="ValueError") for name in where]
    daemon = zoo(*(text.replace("options", "limits.max_connections = 10\noptions", 1) for text in services))
    folder = Path(f"/proc/{daemon.process.pid}/fd")
    for name in where:
        visit(daemon, name.lower())
        daemon.wait_for("plugin fault", service=name.lower(), callback=name)
    before = len(list(folder.iterdir()))
    for _ in range(FAULTS):
        for name in where:
            with suppress(OSError), connected(daemon, name.lower()) as peer:
                peer.sendall(b"?")
                peer.recv(1)
    until = time.monotonic() + PATIENCE
    while len(list(folder.iterdir())) > before and time.monotonic() < until:
        time.sleep(0.01)
    assert len(list(folder.iterdir())) <= before
    assert not [event for event in daemon.events if event.get("event") == "connection refused"]
    assert ended(daemon)[0] == 0


def test_an_exception_in_a_timer_ends_neither_the_daemon_nor_the_connection(zoo: Zoo) -> None:
    daemon = zoo(*(service(what.lower(), "Raising", where="timer", what=what) for what in RAISED))
    with connected(daemon, "neighbour") as neighbour:
        for what in RAISED:
            with connected(daemon, what.lower()) as peer:
                assert answers(peer)
                assert answers(peer)
            assert answers(neighbour)
    assert ended(daemon)[0] == 0


def test_a_daemon_ends_in_order_whatever_plugins_raise_at_the_end(zoo: Zoo) -> None:
    rude = [(f"{where}-{what.lower()}", where, what) for where in ("drain", "stop") for what in RAISED]
    services = [service(name, "Raising", where=where, what=what) for name, where, what in rude]
    daemon = zoo(*services, service("last", "Rude"))
    code, seconds = ended(daemon)
    assert code == 0
    assert seconds < PATIENCE / 2
    for name, where, _ in rude:
        assert daemon.wait_for("plugin fault", service=name, callback=where)
    assert daemon.events[-1]["event"] == "stopped"


def test_a_connection_without_a_protocol_is_closed_and_reported(zoo: Zoo) -> None:
    told = {"nothing": "connection refused", "garbage": "plugin fault", "class": "plugin fault"}
    daemon = zoo(*(service(what, "Building", what=what) for what in told))
    with connected(daemon, "neighbour") as neighbour:
        for what, event in told.items():
            with suppress(ConnectionError), connected(daemon, what) as peer:
                assert peer.recv(1) == b"", what
            daemon.wait_for(event, service=what)
            assert answers(neighbour)
    assert ended(daemon)[0] == 0


def test_a_storm_of_faults_does_not_fill_the_log(zoo: Zoo) -> None:
    daemon = zoo(service("rude", "Storming"))
    with (
        connected(daemon, "rude") as teller,
        connected(daemon, "neighbour") as neighbour,
        socket.socket(type=socket.SOCK_DGRAM) as peer,
    ):
        peer.connect(daemon.port("rude", "udp"))
        failed, until = 0, time.monotonic() + PATIENCE
        while failed < STORM and time.monotonic() < until:
            for number in range(50):
                peer.send(b"%d\x1b[2J" % number)
            teller.sendall(b"?")
            failed = int(teller.makefile("rb").readline())
        for _ in range(1000):
            with connected(daemon, "rude") as one:
                one.sendall(b"!")
        assert answers(neighbour)
    assert failed >= STORM
    assert ended(daemon)[0] == 0
    assert sum(len(json.dumps(event)) for event in daemon.events) < LOG_BOUND


def test_a_plugin_that_sleeps_holds_the_neighbours_up_for_that_long_and_no_longer(zoo: Zoo) -> None:
    daemon = zoo(service("rude", "Rude", does="sleep"))
    with connected(daemon, "neighbour") as neighbour, connected(daemon, "rude") as peer:
        assert answers(neighbour)
        peer.sendall(b"?")
        assert peer.recv(1) == b"?"
        assert answers(neighbour)
    assert daemon.wait_for("reactor blocked")["place"].startswith("zoo_plugins.py:")
    assert ended(daemon)[0] == 0


@pytest.mark.parametrize("when", ["start", "data"])
def test_a_plugins_changes_of_the_process_do_not_affect_the_others(
    zoo: Zoo, tmp_path: Path, when: str
) -> None:
    changes = ("chdir", "umask", "fork", "timers")
    daemon = zoo(*(service(does, "Rude", does=does, when=when) for does in changes))
    with connected(daemon, "neighbour") as neighbour:
        for does in changes:
            with connected(daemon, does) as peer:
                assert answers(peer)
                assert answers(neighbour), does
            with connected(daemon, "neighbour") as newcomer:
                assert answers(newcomer), does
    code, seconds = ended(daemon)
    assert code == 0
    assert seconds < PATIENCE / 2
    assert list((tmp_path / "run").iterdir()) == []


def test_signals_that_a_plugin_takes_at_its_start_are_the_daemons_all_the_same(zoo: Zoo) -> None:
    daemon = zoo(service("rude", "Rude", does="signals", when="start"))
    assert ended(daemon)[0] == 0


def test_a_stop_that_never_ends_is_given_up(zoo: Zoo) -> None:
    daemon = zoo(service("rude", "Rude", stopping="never"), service("last", "Rude"))
    code, seconds = ended(daemon)
    assert code == 0
    assert seconds < PATIENCE / 2
    assert daemon.events[-1]["event"] == "stopped"


@pytest.mark.parametrize("stopping", ["stubborn", "blocks"])
def test_a_stop_that_cannot_be_given_up_is_ended_by_the_kernel_at_a_second_signal(
    zoo: Zoo, stopping: str
) -> None:
    daemon = zoo(service("rude", "Rude", stopping=stopping))
    daemon.signal()
    daemon.wait_for("stopping")
    assert ended(daemon)[0] == -signal.SIGALRM


def test_a_thread_that_never_ends_does_not_keep_the_process(zoo: Zoo) -> None:
    daemon = zoo(service("rude", "Rude", does="thread"))
    with connected(daemon, "rude") as peer:
        assert answers(peer)
    daemon.signal()
    daemon.wait_for("stopped")
    assert ended(daemon)[0] in (0, -signal.SIGALRM)
