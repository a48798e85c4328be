"""Chat over a broker: people at different daemons are in one room."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from running import BIN, PATIENCE, Daemon
from tests.broker.servers import NatsServer, one

CONFIG = """
[daemon]
state_dir = "state-{name}"

[control]
listen = "unix:{name}.sock"

[broker]
servers = "{url}"
name = "{stream}"
expiry = "6s"
store = "64MiB"

[service.chat]
plugin = "chat"
listen = ["tcp:0:interface=127.0.0.1", {{ endpoint = "tcp:0:interface=127.0.0.1", protocol = "irc" }}]
options = {{ rate = 1000, burst = 1000 }}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    yield from one(tmp_path_factory.mktemp("nats"))


class Site:
    """Daemons that serve one chat."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self._url = url
        self.daemons: list[Daemon] = []

    def start(self, name: str) -> Daemon:
        """Start a daemon, and wait until it is connected."""
        text = CONFIG.format(name=name, url=self._url, stream=self.folder.name[:32])
        (self.folder / f"{name}.toml").write_text(text)
        daemon = Daemon(BIN / "sockd", "run", "-c", f"{name}.toml", cwd=self.folder).ready()
        self.daemons.append(daemon)
        daemon.wait_for("broker connected")
        return daemon


@pytest.fixture
def site(tmp_path: Path, server: NatsServer) -> Iterator[Site]:
    made = Site(tmp_path, server.url)
    yield made
    codes = [daemon.stop() for daemon in made.daemons]
    assert set(codes) <= {0, -9}
    for daemon in made.daemons:
        assert not [event for event in daemon.events if event["level"] in ("error", "critical")]


class Person:
    """Person at a daemon, who types lines."""

    def __init__(self, daemon: Daemon, name: str, which: int = 0) -> None:
        self._socket = socket.create_connection(daemon.port("chat", which=which), PATIENCE)
        self._lines = self._socket.makefile("rb")
        self.name = name
        self.types(name)

    def types(self, *lines: str) -> None:
        self._socket.sendall(b"".join(line.encode() + b"\n" for line in lines))

    def reads(self) -> str:
        return self._lines.readline().decode().rstrip("\r\n")

    def reads_until(self, text: str) -> list[str]:
        """Return the lines up to the first that has the text."""
        lines = [self.reads()]
        while text not in lines[-1]:
            assert lines[-1], lines
            lines.append(self.reads())
        return lines

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture
def two(site: Site) -> tuple[Daemon, Daemon]:
    return site.start("one"), site.start("two")


def enter(daemon: Daemon, name: str, *others: Person, which: int = 0) -> Person:
    """Let a person come in, whom the others see."""
    person = Person(daemon, name, which)
    person.reads_until(f"you are {name}")
    for other in others:
        other.reads_until(f"{name} joined lobby")
    return person


def test_people_at_two_daemons_see_each_other_and_read_the_same(two: tuple[Daemon, Daemon]) -> None:
    ann = enter(two[0], "ann")
    bob = enter(two[1], "bob", ann)
    cid = enter(two[0], "cid", ann, bob)
    ann.types("/who")
    assert "ann" in (names := ann.reads_until("in lobby")[-1])
    assert "bob" in names
    assert "cid" in names
    for turn in range(30):
        ann.types(f"a{turn}")
        bob.types(f"b{turn}")
    cid.types("/msg bob psst")
    assert "psst" in bob.reads_until("psst")[-1]
    ann.types("the end")
    seen = cid.reads_until("the end")
    assert [line for line in seen if line.startswith("<ann> a")] == [f"<ann> a{turn}" for turn in range(30)]
    assert [line for line in seen if line.startswith("<bob>")] == [f"<bob> b{turn}" for turn in range(30)]
    bob.reads_until("the end")
    bob.types("/since 0")
    again = bob.reads_until("the end")
    assert [line for line in again if line.startswith("<")][-61:] == [*seen[-61:]]
    bob.types("/quit")
    assert "bob" in ann.reads_until("bob left")[-1]
    for person in (ann, bob, cid):
        person.close()


def test_a_name_has_one_bearer_over_all_daemons(two: tuple[Daemon, Daemon]) -> None:
    ann = enter(two[0], "ann")
    bob = enter(two[1], "bob", ann)
    bob.types("/nick ann")
    assert "the name ann is taken" in bob.reads_until("taken")[-1]
    other = Person(two[1], "ANN")
    assert "taken" in other.reads_until("taken")[-1]
    bob.types("/nick rob")
    ann.reads_until("bob is now rob")
    late = enter(two[0], "bob", ann)
    for person in (ann, bob, other, late):
        person.close()


class Client:
    """Client of IRC."""

    def __init__(self, daemon: Daemon, name: str) -> None:
        self._socket = socket.create_connection(daemon.port("chat", which=1), PATIENCE)
        self._lines = self._socket.makefile("rb")
        self.sends(f"NICK {name}", f"USER {name} 0 * :{name}")
        self.reads_until(" 422 ", " 376 ")

    def sends(self, *lines: str) -> None:
        self._socket.sendall(b"".join(line.encode() + b"\r\n" for line in lines))

    def reads_until(self, *texts: str) -> str:
        """Return the first line that has one of the texts."""
        while line := self._lines.readline().decode().rstrip():
            if any(text in line for text in texts):
                return line
        raise AssertionError(f"nothing of {texts}")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def test_operators_rule_their_room_on_every_daemon(two: tuple[Daemon, Daemon]) -> None:
    ann, bob = Client(two[0], "ann"), Client(two[1], "bob")
    ann.sends("JOIN #ops", "MODE #ops +k word", "TOPIC #ops :pagers")
    ann.reads_until("TOPIC #ops")
    bob.sends("JOIN #ops")
    assert " 475 " in bob.reads_until(" 475 ")  # a key
    bob.sends("JOIN #ops word")
    assert "pagers" in bob.reads_until(" 332 ")
    assert "@ann" in bob.reads_until(" 353 ")
    ann.reads_until("bob", "JOIN")
    bob.sends("TOPIC #ops :mine")
    assert " 482 " in bob.reads_until(" 482 ")  # no operator
    ann.sends("MODE #ops +o bob")
    assert "+o bob" in bob.reads_until("MODE #ops")
    bob.sends("TOPIC #ops :mine")
    assert ":mine" in ann.reads_until(":bob")
    bob.sends("MODE #ops +b eve*", "KICK #ops ann :out")
    assert "+b" in ann.reads_until("MODE #ops +b")
    assert "out" in ann.reads_until("KICK #ops ann")
    eve = Client(two[0], "eve")
    eve.sends("JOIN #ops word")
    assert " 474 " in eve.reads_until(" 474 ")  # banned
    ann.sends("AWAY :lunch", "PRIVMSG bob :psst")
    assert "psst" in bob.reads_until("PRIVMSG bob")
    for client in (ann, bob, eve):
        client.close()


def test_a_daemon_that_is_killed_takes_its_people_along_and_no_message(
    site: Site, two: tuple[Daemon, Daemon]
) -> None:
    ann = enter(two[0], "ann")
    bob = enter(two[1], "bob", ann)
    for turn in range(20):
        bob.types(f"b{turn}")
    seen = ann.reads_until("b19")
    two[1].process.kill()
    two[1].process.wait()
    bob.close()
    ann.types("alone")
    assert "bob" in ann.reads_until("bob left")[-1]
    site.daemons.remove(two[1])
    two[1].stop()
    third = site.start("two")
    bob = enter(third, "bob", ann)
    bob.types("/since 0")
    again = [line for line in bob.reads_until("alone") if line.startswith("<")]
    assert again[-21:] == [*[line for line in seen if line.startswith("<")], "<ann> alone"]
    bob.types("back")
    assert ann.reads_until("back")[-1] == "<bob> back"
    for person in (ann, bob):
        person.close()


def test_while_the_broker_is_away_people_are_told_and_afterwards_nothing_is_missing(
    two: tuple[Daemon, Daemon], server: NatsServer
) -> None:
    ann = enter(two[0], "ann")
    bob = enter(two[1], "bob", ann)
    ann.types("before")
    bob.reads_until("before")
    server.kill()
    for daemon in two:
        daemon.wait_for("broker away")
    ann.types("lost?")
    assert "cannot be reached" in ann.reads_until("reached")[-1]
    server.start()
    for daemon in two:
        daemon.wait_for_times("broker connected", 2)
    ann.types("after")
    assert bob.reads_until("after") == ["<ann> after"]
    bob.types("/since 0")
    assert [line for line in bob.reads_until("after") if line.startswith("<")] == [
        "<ann> before",
        "<ann> after",
    ]
    for person in (ann, bob):
        person.close()


def test_a_crowd_reads_the_same_whatever_happens_to_the_broker(
    two: tuple[Daemon, Daemon], server: NatsServer
) -> None:
    people = [Person(two[index % 2], f"p{index}") for index in range(6)]
    for person in people:
        person.types("/who")
    seen: dict[Person, list[str]] = {person: [] for person in people}
    turn = 0

    def talk(turns: int) -> None:
        nonlocal turn
        for _ in range(turns):
            turn += 1
            for person in people:
                person.types(f"{turn}")

    def hear() -> None:
        """Read on until everybody has heard everybody say the same word."""
        word = f"all {turn}"
        for person in people:
            person.types(word)
        for person in people:
            waits = {f"<{other.name}> {word}" for other in people if other is not person}
            while waits:
                line = person.reads()
                waits.discard(line)
                seen[person].append(line)

    talk(20)
    hear()
    server.kill()
    talk(5)
    for daemon in two:
        daemon.wait_for("broker away")
    talk(5)
    server.start()
    for daemon in two:
        daemon.wait_for_times("broker connected", 2)
    talk(20)
    hear()
    server.freeze()
    talk(3)
    for daemon in two:
        daemon.wait_for_times("broker away", 2)
    server.thaw()
    for daemon in two:
        daemon.wait_for_times("broker connected", 3)
    talk(20)
    hear()
    for one_person in people:
        said = [line for line in seen[one_person] if line.startswith("<")]
        for other in people:
            start = f"<{other.name}> "
            own = [
                int(line.removeprefix(start)) for line in said if line.startswith(start) and "all" not in line
            ]
            assert own == sorted(set(own)), "lines of one speaker are out of order, or doubled"
            both = {f"<{one_person.name}>", f"<{other.name}>"}
            common = [line for line in said if line.split()[0] not in both]
            theirs = [line for line in seen[other] if line.startswith("<") and line.split()[0] not in both]
            assert common == theirs
    for person in people:
        person.close()


def test_after_a_reload_people_come_back_under_their_names(site: Site) -> None:
    daemon = site.start("only")
    ann = enter(daemon, "ann")
    ann.types("before")
    path = site.folder / "only.toml"
    path.write_text(path.read_text().replace("burst = 1000", "burst = 999"))
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("reloaded")
    ann.reads_until("closing")
    ann.close()
    ann = enter(daemon, "ann", which=-2)  # the last listeners are those of the new instance
    bob = enter(daemon, "bob", ann, which=-2)
    ann.types("after")
    assert bob.reads_until("after")[-1] == "<ann> after"
    for person in (ann, bob):
        person.close()
