"""Daemons that are one service over a broker: two processes of sockd, a real server of NATS."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from running import BIN, PATIENCE, Daemon
from tests.broker.servers import NatsServer, free_ports, one

T = TypeVar("T")

PLUGIN = '''
from sockd.plugin import Draft, IStreamPlugin, Plugin, BrokerAway
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver
from zope.interface import implementer
from pydantic import PrivateAttr


@implementer(IStreamPlugin)
class Board(Plugin):
    """Show every line to everybody, with its number."""

    title: str = ""

    _members: set = PrivateAttr(default_factory=set)
    _subject: object = PrivateAttr(None)

    def start(self, context):
        self._subject = context.broker.subject("board", self)

    def take(self, entries):
        for entry in entries:
            for member in self._members:
                member.sendLine(b"%d %b" % (entry.number, entry.data))

    def miss(self, first, last):
        pass

    def stream_factory(self, protocol, context):
        return Factory.forProtocol(lambda: Member(self))


class Member(LineOnlyReceiver):
    delimiter = b"\\n"

    def __init__(self, board):
        self.board = board

    def connectionMade(self):
        self.board._members.add(self)
        self.sendLine(b"hello")

    def connectionLost(self, reason):
        self.board._members.discard(self)

    def lineReceived(self, line):
        try:
            self.board._subject.publish([Draft(line)])
        except BrokerAway as away:
            self.sendLine(b"away: " + str(away).encode())
'''

CONFIG = """
[daemon]
workers = {workers}

[control]
listen = "unix:{name}.sock"

[metrics]
listen = "tcp:{port}:interface=127.0.0.1"

[broker]
servers = "{url}"
name = "{stream}"
expiry = "6s"
store = "64MiB"

[service.board]
plugin = "board:Board"
listen = ["tcp:0:interface=127.0.0.1"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    yield from one(tmp_path_factory.mktemp("nats"))


class Site:
    """Daemons at a server, each with a port of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self._url = url
        self.daemons: list[Daemon] = []
        self.pages: list[int] = []
        (folder / "board.py").write_text(PLUGIN)

    def start(self, name: str, workers: int = 0) -> Daemon:
        """Start a daemon, and wait until each process that serves is connected."""
        [port] = free_ports(1)
        text = CONFIG.format(
            name=name, workers=workers, port=port, url=self._url, stream=self.folder.name[:32]
        )
        (self.folder / f"{name}.toml").write_text(text)
        command = (BIN / "sockd", "run", "-c", f"{name}.toml")
        daemon = Daemon(*command, cwd=self.folder, env={"PYTHONPATH": str(self.folder)}).ready()
        self.daemons.append(daemon)
        self.pages.append(port)
        daemon.wait_for_times("broker connected", max(1, workers))
        return daemon

    def ready(self, which: int) -> tuple[int, str]:
        """Return the answer of a daemon's /readyz."""
        try:
            with urlopen(f"http://127.0.0.1:{self.pages[which]}/readyz", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def site(tmp_path: Path, server: NatsServer) -> Iterator[Site]:
    made = Site(tmp_path, server.url)
    yield made
    for daemon in made.daemons:
        daemon.stop()


class Peer:
    """Client of a board."""

    def __init__(self, daemon: Daemon) -> None:
        self._socket = socket.create_connection(daemon.port("board"), PATIENCE)
        self._lines = self._socket.makefile("rb")
        assert self.read() == "hello"

    def say(self, line: str) -> None:
        self._socket.sendall(line.encode() + b"\n")

    def read(self) -> str:
        return self._lines.readline().decode().rstrip("\r\n")

    def read_until(self, last: Callable[[str], bool]) -> list[str]:
        lines = [self.read()]
        while not last(lines[-1]):
            lines.append(self.read())
        return lines

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def test_two_daemons_are_one_service_and_one_that_is_killed_comes_back(site: Site) -> None:
    first, second = site.start("first"), site.start("second")
    ann, bob = Peer(first), Peer(second)
    for turn in range(50):
        ann.say(f"a{turn}")
        bob.say(f"b{turn}")
    seen = [peer.read_until(lambda line: line.startswith("100 ")) for peer in (ann, bob)]
    assert seen[0] == seen[1]
    assert [int(line.split()[0]) for line in seen[0]] == list(range(1, 101))
    assert [line.split()[1] for line in seen[0] if " a" in line] == [f"a{turn}" for turn in range(50)]

    second.process.kill()
    second.process.wait()
    bob.close()
    ann.say("alone")
    assert ann.read() == "101 alone"
    third = site.start("third")
    bob = Peer(third)
    bob.say("back")
    assert [ann.read(), bob.read()] == ["102 back"] * 2
    ann.close()
    bob.close()


def test_the_workers_of_a_daemon_are_one_service(site: Site) -> None:
    daemon = site.start("only", workers=2)
    peers = [Peer(daemon) for _ in range(12)]
    rows = json.loads(told_by(site, "status", "--json"))["workers"]
    assert all(row["services"][0]["connections"] for row in rows), "all are with one worker"
    for index, peer in enumerate(peers):
        peer.say(f"from {index}")
    seen = [peer.read_until(lambda line: line.startswith("12 ")) for peer in peers]
    assert all(lines == seen[0] for lines in seen)
    assert [int(line.split()[0]) for line in seen[0]] == list(range(1, 13))
    assert site.ready(0) == (200, "ready\n")
    for peer in peers:
        peer.close()


def test_a_reload_that_restarts_the_service_loses_no_line(site: Site) -> None:
    daemon = site.start("only")
    before = Peer(daemon)
    before.say("one")
    assert before.read() == "1 one"
    path = site.folder / "only.toml"
    path.write_text(f"{path.read_text()}options.title = 'another'\n")
    told_by(site, "reload")
    daemon.wait_for("reloaded")
    after = Peer(daemon)
    after.say("two")
    assert [before.read(), after.read()] == ["2 two"] * 2
    before.say("three")
    assert [before.read(), after.read()] == ["3 three"] * 2
    before.close()
    after.close()


def test_while_the_broker_is_away_people_are_told_and_probes_too(site: Site, server: NatsServer) -> None:
    daemon = site.start("only")
    peer = Peer(daemon)
    peer.say("one")
    assert peer.read() == "1 one"
    assert site.ready(0) == (200, "ready\n")
    server.kill()
    daemon.wait_for("broker away")
    peer.say("two")
    assert peer.read().startswith("away: ")
    code, text = _until(lambda: site.ready(0), lambda answer: answer[0] == 503)
    assert (code, text[:13]) == (503, "broker away: ")
    assert "broker away: " in told_by(site, "status")
    server.start()
    daemon.wait_for_times("broker connected", 2)
    peer.say("three")
    assert peer.read() == "2 three"
    assert _until(lambda: site.ready(0), lambda answer: answer[0] == 200) == (200, "ready\n")
    told = json.loads(told_by(site, "status", "--json"))["broker"]
    assert told == {"state": "connected", "server": server.url, "reason": ""}
    peer.close()


def told_by(site: Site, *command: str) -> str:
    """Return what a command prints about the daemon `only`."""
    shown = subprocess.run([BIN / "sockd", *command, "-c", "only.toml"], cwd=site.folder, capture_output=True)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout.decode()


def _until(ask: Callable[[], T], fits: Callable[[T], bool]) -> T:
    """Ask until an answer fits: a page shows what it has for a moment."""
    while not fits(answer := ask()):
        pass
    return answer
