"""Reloads: only changed services are touched."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from crews import spare, wait_until
from running import BIN, PATIENCE, Daemon, Start
from sockd.control import client as orders
from tests.tls.authority import issue

CONFIG = """
[service.kept]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1"]

[service.other]
plugin = "banner"
listen = ["unix:other.sock"]
options.text = "before"

[service.third]
plugin = "echo"
listen = ["unix:third.sock"]
"""


class Stream:
    """Client that counts to a service and back all the time, and notices every gap."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, PATIENCE)
        self._ended = threading.Event()
        self.counted = 0
        self.fault: Exception | None = None
        self._thread = threading.Thread(target=self._count)
        self._thread.start()

    def _count(self) -> None:
        try:
            with self._socket, self._socket.makefile("rwb") as stream:
                while not self._ended.is_set():
                    stream.write(f"{self.counted}\n".encode())
                    stream.flush()
                    line = stream.readline()
                    assert line == f"{self.counted}\n".encode(), line
                    self.counted += 1
                    self._ended.wait(0.001)  # without it this thread and the daemon fill two processors
        except Exception as error:  # shown by the test
            self.fault = error

    def goes_on(self) -> bool:
        """Tell whether the client counts further than now."""
        before = self.counted
        while self.counted < before + 10 and self.fault is None:
            self._ended.wait(0.001)
        return self.fault is None

    def close(self) -> None:
        self._ended.set()
        self._thread.join(PATIENCE)


@pytest.fixture
def daemon(start: Start) -> Daemon:
    return start(CONFIG).ready()


def reload(daemon: Daemon, path: Path, text: str, event: str = "reloaded") -> dict[str, Any]:
    """Reload another text; return the daemon's answer."""
    before = len(daemon.all_of(event))
    path.write_text(text)
    daemon.signal(signal.SIGHUP)
    return daemon.wait_for_times(event, before + 1)


def ask(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        return client.makefile("rb").read()


def descriptors(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


CHANGES: dict[str, tuple[Callable[[str], str], str]] = {
    "another service's options": (lambda text: text.replace("before", "after"), "restart"),
    "another service's plugin": (
        lambda text: text.replace('plugin = "banner"', 'plugin = "echo"').replace(
            'options.text = "before"', ""
        ),
        "restart",
    ),
    "another service's limits": (
        lambda text: text.replace("options.text", "limits.max_connections = 7\noptions.text"),
        "limits",
    ),
    "another service's listeners": (lambda text: text.replace("other.sock", "moved.sock"), "listeners"),
    "a service removed": (lambda text: text[: text.index("[service.third]")], "remove"),
    "a service added": (
        lambda text: text + '[service.fourth]\nplugin = "upper"\nlisten = ["unix:fourth.sock"]\n',
        "add",
    ),
    "its own limits": (
        lambda text: text.replace(
            '"udp:0:interface=127.0.0.1"]', '"udp:0:interface=127.0.0.1"]\nlimits.max_connections = 99'
        ),
        "limits",
    ),
    "its own listeners": (
        lambda text: text.replace('"udp:0:interface=127.0.0.1"]', '"unix:kept.sock"]'),
        "listeners",
    ),
    "its own plugin": (lambda text: text.replace('plugin = "echo"', 'plugin = "upper"', 1), "restart"),
    "its own protection by TLS, on another port": (
        lambda text: text.replace(
            '"udp:0:interface=127.0.0.1"]',
            '{ endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "it.pem", key = "it.key" } }]',
        ),
        "listeners",
    ),
    "the level of the log": (lambda text: text + '[log]\nlevel = "debug"\n', "keep"),
    "what is read at the start alone": (lambda text: text + '[log]\nfile = "other.log"\n', "later"),
    "nothing": (lambda text: text, "keep"),
}

WORKERS = pytest.mark.parametrize("workers", [0, 2])


def with_workers(text: str, workers: int) -> str:
    return f"[daemon]\nworkers = {workers}\n{text}"


@WORKERS
def test_a_connection_goes_on_counting_whatever_else_changes(
    start: Start, tmp_path: Path, workers: int
) -> None:
    issue("localhost").write(tmp_path, "it")
    daemon = start(with_workers(CONFIG, workers)).ready()
    file = tmp_path / "sockd.toml"
    with closing(Stream(daemon.port("kept"))) as stream:
        assert stream.goes_on()
        for change, (edit, kind) in CHANGES.items():
            told = reload(daemon, file, with_workers(edit(CONFIG), workers))
            assert kind in told, change
            assert stream.goes_on(), f"{change}: {stream.fault}"
            reload(daemon, file, with_workers(CONFIG, workers))
            assert stream.goes_on(), f"{change}, back again: {stream.fault}"


def test_new_peers_get_what_the_file_says_now_on_the_same_socket(daemon: Daemon, tmp_path: Path) -> None:
    assert ask(tmp_path / "other.sock") == b"before"
    inode = (tmp_path / "other.sock").stat().st_ino
    reload(daemon, tmp_path / "sockd.toml", CONFIG.replace("before", "after"))
    assert ask(tmp_path / "other.sock") == b"after"
    assert (tmp_path / "other.sock").stat().st_ino == inode


def test_limits_hold_at_once(daemon: Daemon, tmp_path: Path) -> None:
    reload(
        daemon,
        tmp_path / "sockd.toml",
        CONFIG.replace("options.text", "limits.deny = []\nlimits.max_connections = 1\noptions.text"),
    )
    text = CONFIG.replace(
        'listen = ["unix:third.sock"]', 'listen = ["unix:third.sock"]\nlimits.idle_timeout = "100ms"'
    )
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(tmp_path / "third.sock"))
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        reload(daemon, tmp_path / "sockd.toml", text)
        assert client.recv(1) == b"", "idle for longer than it may be now"


BROKEN: dict[str, tuple[str, str]] = {
    "no TOML": ("[service.kept\n", "expected ']' after a table's name"),
    "an unknown key": (CONFIG + "limit = 3\n", "unknown key 'limit'"),
    "an unknown plugin": (CONFIG.replace('"banner"', '"baner"'), "baner"),
    "a plugin that raises at its start": (
        CONFIG.replace('plugin = "banner"', 'plugin = "failing:Failing"').replace(
            'options.text = "before"', ""
        ),
        "not today",
    ),
    "a taken port": (CONFIG.replace('"unix:third.sock"', '"unix:third.sock", "unix:taken.sock"'), "in use"),
    "a missing certificate": (
        CONFIG.replace(
            '"unix:third.sock"',
            '"unix:n.sock", { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "no.pem" } }',
        ),
        "no.pem",
    ),
    "a bad certificate": (
        CONFIG.replace(
            '"unix:third.sock"',
            '"unix:n.sock", { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "bad.pem" } }',
        ),
        "bad.pem",
    ),
}


@WORKERS
def test_a_configuration_that_cannot_be_served_changes_nothing_and_leaks_nothing(
    start: Start, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "failing.py").write_text(
        "from sockd.plugin import IStreamPlugin, Plugin\n"
        "from twisted.internet.protocol import Factory, Protocol\n"
        "from zope.interface import implementer\n"
        "@implementer(IStreamPlugin)\nclass Failing(Plugin):\n"
        "    def start(self, context):\n        raise RuntimeError('not today')\n"
        "    def stream_factory(self, protocol, context):\n        return Factory.forProtocol(Protocol)\n"
    )
    (tmp_path / "bad.pem").write_text("no certificate")
    daemon = start(with_workers(CONFIG, workers), env={"PYTHONPATH": str(tmp_path)}).ready()
    file = tmp_path / "sockd.toml"
    wait_until(lambda: not workers or spare(daemon) is not None)
    with socket.socket(socket.AF_UNIX) as taken, closing(Stream(daemon.port("kept"))) as stream:
        taken.bind(str(tmp_path / "taken.sock"))
        taken.listen()
        assert stream.goes_on()
        reload(daemon, file, with_workers(BROKEN["no TOML"][0], workers), "not reloaded")
        before = descriptors(daemon)
        for broken, (text, reason) in BROKEN.items():
            for _ in range(2):
                told = reload(daemon, file, with_workers(text, workers), "not reloaded")
                assert reason in told["reason"], broken
            wait_until(lambda: descriptors(daemon) == before)
            assert stream.goes_on(), f"{broken}: {stream.fault}"
            assert ask(tmp_path / "other.sock") == b"before", broken
    reload(daemon, file, with_workers(CONFIG.replace("before", "mended"), workers))
    assert ask(tmp_path / "other.sock") == b"mended"


def test_connections_in_the_queue_of_a_removed_listener_are_served(daemon: Daemon, tmp_path: Path) -> None:
    """Accepted connections in the queue would be reset if the socket were just closed."""
    daemon.signal(signal.SIGSTOP)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    try:
        for client in clients:
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / "third.sock"))
            client.sendall(b"asked")
        (tmp_path / "sockd.toml").write_text(CONFIG[: CONFIG.index("[service.third]")])
        daemon.signal(signal.SIGHUP)
        daemon.signal(signal.SIGCONT)
        for client in clients:
            assert client.recv(5) == b"asked"
    finally:
        for client in clients:
            client.close()
    daemon.wait_for("reloaded")
    assert not (tmp_path / "third.sock").exists()


def test_descriptors_are_the_same_after_many_reloads(daemon: Daemon, tmp_path: Path) -> None:
    other = CONFIG.replace("before", "after").replace(
        '"unix:third.sock"', '"unix:third.sock", "tcp:0:interface=127.0.0.1"'
    )
    for text in (other, CONFIG):
        reload(daemon, tmp_path / "sockd.toml", text)
    before = descriptors(daemon)
    for _ in range(25):
        reload(daemon, tmp_path / "sockd.toml", other)
        reload(daemon, tmp_path / "sockd.toml", CONFIG)
    assert descriptors(daemon) == before


def test_a_service_is_turned_off_and_on(start: Start, tmp_path: Path) -> None:
    text = "".join(
        f'[service.{name}]\nplugin = "echo"\nlisten = ["tcp:0:interface=127.0.0.1"]\n' for name in ("a", "b")
    )
    off = f"{text}enabled = false\n"
    daemon = start(off).ready()
    assert not daemon.addresses("b", "tcp")
    assert reload(daemon, tmp_path / "sockd.toml", text)["add"] == ["b"]
    with socket.create_connection(daemon.port("b"), PATIENCE) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    assert reload(daemon, tmp_path / "sockd.toml", off)["remove"] == ["b"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(daemon.port("b"), PATIENCE)


def test_a_file_that_is_watched_is_served_anew_when_it_changes(start: Start, tmp_path: Path) -> None:
    text = '[daemon]\nwatch = true\ninclude = ["more/*.toml"]\n' + CONFIG
    daemon = start(text).ready()
    (tmp_path / "sockd.toml").write_text(text.replace("before", "after"))
    daemon.wait_for("reloaded", restart=["other"])
    assert ask(tmp_path / "other.sock") == b"after"
    (tmp_path / "more").mkdir()
    (tmp_path / "more/fourth.toml").write_text(
        '[service.fourth]\nplugin = "echo"\nlisten = ["unix:fourth.sock"]\n'
    )
    daemon.wait_for("reloaded", add=["fourth"])
    (tmp_path / "more/fourth.toml").write_text("[service")
    daemon.wait_for("not reloaded")
    (tmp_path / "more/fourth.toml").unlink()
    daemon.wait_for("reloaded", remove=["fourth"])


def test_status_and_counts_go_on_while_a_former_service_finishes(start: Start, tmp_path: Path) -> None:
    daemon = start('[control]\nlisten = "unix:run/control.sock"\n' + CONFIG).ready()
    text = '[control]\nlisten = "unix:run/control.sock"\n' + CONFIG

    def told(name: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [BIN / "sockd", "status", "--json", "--socket", tmp_path / "run/control.sock"],
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
        return [each for each in json.loads(done.stdout)["services"] if each["name"] == name]

    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(tmp_path / "third.sock"))
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        reload(
            daemon,
            tmp_path / "sockd.toml",
            text.replace('plugin = "echo"\nlisten = ["unix:third', 'plugin = "upper"\nlisten = ["unix:third'),
        )
        new, old = told("third")
        assert (new["state"], new["connections"], old["state"], old["connections"]) == (
            "open",
            0,
            "draining",
            1,
        )
        assert ["opened", "", 1] in new["counts"]
        assert old["counts"] == []
        client.sendall(b"y")
        assert client.recv(1) == b"y"


def test_a_paused_service_that_is_started_anew_stays_paused(start: Start, tmp_path: Path) -> None:
    text = """
[control]
listen = "unix:run/control.sock"
[service.banner]
plugin = "banner"
listen = ["unix:banner.sock"]
options.text = "{}"
"""
    start(text.format("before")).ready()
    control = tmp_path / "run/control.sock"
    orders.ask(control, "pause", PATIENCE, service="banner")
    (tmp_path / "sockd.toml").write_text(text.format("after"))
    assert orders.ask(control, "reload", PATIENCE)["restart"] == ["banner"]
    assert [each["state"] for each in orders.ask(control, "status", PATIENCE)["services"]] == ["paused"]
    with closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(0.2)
        client.connect(str(tmp_path / "banner.sock"))
        with pytest.raises(TimeoutError):
            client.recv(10)
        orders.ask(control, "resume", PATIENCE, service="banner")
        client.settimeout(PATIENCE)
        assert client.recv(10).strip() == b"after"
