"""Plugins that do not return from their start: refused, without an effect on others."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from crews import alive, wait_until, workers
from running import BIN, PATIENCE, Daemon, Start
from sockd.control import client as orders

STARTS = '''
import asyncio
import os
import time

from sockd.plugin import IStreamPlugin, Plugin
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

@implementer(IStreamPlugin)
class Start(Plugin):
    """Starts as it is told."""
    how: str = ""

    def stream_factory(self, protocol, context):
        factory = Factory.forProtocol(Protocol)
        if self.how == "starts its factory":
            factory.startFactory = self.refuse
        return factory

    def refuse(self):
        raise RuntimeError("no factory today")

    def start(self, context):
        with open("starts", "a") as starts:
            starts.write(f"{os.getpid()} {self.how} start\\n")
        if self.how == "waits":
            return Deferred()
        if self.how == "awaits":
            return self.awaits()
        if self.how == "sleeps":
            time.sleep(3600)
        if self.how == "loops":
            while True:
                pass
        if self.how == "exits":
            raise SystemExit(5)
        if self.how == "cancels":
            raise asyncio.CancelledError
        if self.how == "ends":
            os._exit(5)

    async def awaits(self):
        await Deferred()  # for ever

    def stop(self):
        with open("starts", "a") as starts:
            starts.write(f"{os.getpid()} {self.how} stop\\n")
'''

CONFIG = """
[daemon]
workers = {workers}
start_timeout = "500ms"
[control]
listen = "unix:run/control.sock"
[metrics]
listen = "unix:metrics.sock"
[service.echo]
plugin = "echo"
listen = ["unix:echo.sock"]
"""

ADDED = """
[service.late]
plugin = "starts:Start"
listen = ["unix:late.sock"]
options.how = "{how}"
"""

REASONS = {
    "waits": "has not finished within 0.5 s",
    "awaits": "in awaits",
    "sleeps": "blocks everything else for 0.5 s",
    "loops": "in start",
    "exits": "SystemExit: 5",
    "cancels": "CancelledError",
}
"""Reported reasons, by the way a plugin starts."""

NO_FACTORY = "service 'late': plugin 'starts:Start' failed in startFactory: RuntimeError: no factory today"

WORKERS = pytest.mark.parametrize("workers", [0, 1])


def environment(folder: Path) -> dict[str, str]:
    (folder / "starts.py").write_text(STARTS)
    return {"PYTHONPATH": str(folder)}


def config(workers: int, how: str = "") -> str:
    return CONFIG.format(workers=workers) + (ADDED.format(how=how) if how else "")


def connected(folder: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE)
    client.connect(str(folder / "echo.sock"))
    return client


def echoes(client: socket.socket) -> bool:
    client.sendall(b"x")
    return client.recv(1) == b"x"


def reload(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "sockd", "reload", "-c", "sockd.toml"], cwd=folder, capture_output=True, text=True
    )


@WORKERS
def test_a_start_that_does_not_come_back_is_a_refusal_and_the_rest_serves_on(
    start: Start, tmp_path: Path, workers: int
) -> None:
    daemon = start(config(workers), env=environment(tmp_path)).ready()
    with closing(connected(tmp_path)) as client:
        for how, reason in {
            **REASONS,
            **({"ends": "it ends the process (exit code 5)"} if workers else {}),
        }.items():
            (tmp_path / "sockd.toml").write_text(config(workers, how))
            told = reload(tmp_path)
            assert told.returncode == 1
            line = " ".join((told.stdout + told.stderr).split())
            assert "service 'late': plugin 'starts:Start' cannot start: " in line
            assert reason in line
            assert daemon.wait_for("not reloaded", level="error")
            assert not (tmp_path / "late.sock").exists()
            assert echoes(client), "a connection that has nothing to do with it"
            with closing(connected(tmp_path)) as another:
                assert echoes(another)
            status = orders.ask(tmp_path / "run/control.sock", "status", PATIENCE)
            assert (status["state"], status["config_ok"]) == ("ready", False)
        reasons = [event["reason"] for event in daemon.events if event.get("event") == "not reloaded"]
        assert len(reasons) == len(REASONS) + (workers > 0)
        (tmp_path / "sockd.toml").write_text(config(workers, "in time"))
        assert reload(tmp_path).returncode == 0
        assert orders.ask(tmp_path / "run/control.sock", "status", PATIENCE)["config_ok"]
        assert echoes(client)
    assert not [event for event in daemon.events if event.get("event") == "worker ended"]


@WORKERS
@pytest.mark.parametrize("how", ["waits", "awaits"])
def test_a_start_that_hangs_gives_way_to_a_configuration_that_is_repaired(
    start: Start, tmp_path: Path, workers: int, how: str
) -> None:
    def patient(text: str) -> str:
        return text.replace("500ms", "1h")

    daemon = start(patient(config(workers)), env=environment(tmp_path)).ready()
    (tmp_path / "sockd.toml").write_text(patient(config(workers, how)))
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: (tmp_path / "starts").exists())
    (tmp_path / "sockd.toml").write_text(patient(config(workers, "in time")))
    if how == "waits":
        told = reload(tmp_path)
        assert told.returncode == 0, told.stderr
    else:
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reloaded")
    reason = daemon.wait_for("not reloaded")["reason"]
    assert "cannot start: the configuration has changed again before it was ready" in reason
    assert (tmp_path / "late.sock").exists()


@WORKERS
def test_a_factory_that_cannot_start_is_refused_and_the_rest_serves_on(
    start: Start, tmp_path: Path, workers: int
) -> None:
    start(config(workers), env=environment(tmp_path)).ready()
    with closing(connected(tmp_path)) as client:
        for _ in range(2):  # the first attempt leaves nothing behind
            (tmp_path / "sockd.toml").write_text(config(workers, "starts its factory"))
            told = reload(tmp_path)
            assert (told.returncode, told.stderr.count("\n")) == (1, 1)
            assert NO_FACTORY in told.stderr
            assert not (tmp_path / "late.sock").exists()
            assert (tmp_path / "starts").read_text().split("\n")[-2].endswith("starts its factory stop")
            assert echoes(client)
        (tmp_path / "sockd.toml").write_text(config(workers, "in time"))
        assert reload(tmp_path).returncode == 0
        (tmp_path / "sockd.toml").write_text(config(workers))
        assert reload(tmp_path).returncode == 0
        assert echoes(client)


@WORKERS
def test_a_daemon_whose_factory_cannot_start_says_which_one(
    start: Start, tmp_path: Path, workers: int
) -> None:
    daemon = start(config(workers, "starts its factory"), env=environment(tmp_path))
    assert daemon.wait() == 1
    assert (
        "service 'late': plugin 'starts:Start' failed in startFactory: RuntimeError: no fac" in daemon.errors
    )
    assert "Traceback" not in daemon.errors


@pytest.mark.parametrize("how", ["awaits", "sleeps"])
@WORKERS
def test_a_daemon_whose_plugin_does_not_start_is_one_line_and_exit_1(
    start: Start, tmp_path: Path, workers: int, how: str
) -> None:
    daemon = start(config(workers, how), env=environment(tmp_path))
    assert daemon.wait() == 1
    assert "service 'late': plugin 'starts:Start' cannot start: " in daemon.errors
    assert REASONS[how] in daemon.errors
    assert "starts.py:" in daemon.errors
    assert "Traceback" not in daemon.errors


def test_new_services_of_a_reload_are_tried_once_before_a_worker_has_them(
    start: Start, tmp_path: Path
) -> None:
    daemon = start(config(1), env=environment(tmp_path)).ready()
    (tmp_path / "sockd.toml").write_text(config(1, "well"))
    assert reload(tmp_path).returncode == 0
    lines = [line.split() for line in (tmp_path / "starts").read_text().splitlines()]
    assert [line[2] for line in lines] == ["start", "stop", "start"]
    trial, worker = int(lines[0][0]), int(lines[2][0])
    assert lines[1][0] == lines[0][0]
    assert workers(daemon) == [worker]
    wait_until(lambda: not alive(trial))


def test_a_worker_that_hangs_when_it_changes_is_replaced_by_one_that_serves_what_was(
    start: Start, tmp_path: Path
) -> None:
    """The trial does not see everything: here the plugin starts in the first process only."""
    env = environment(tmp_path)
    with (tmp_path / "starts.py").open("a") as plugin:
        plugin.write(
            "class Second(Start):\n"
            "    def start(self, context):\n"
            "        if os.path.exists('once'):\n"
            "            os._exit(7)\n"
            "        open('once', 'w').close()\n"
        )
    daemon = start(config(1), env=env).ready()
    text = config(1, "well").replace("starts:Start", "starts:Second")
    (tmp_path / "sockd.toml").write_text(text)
    told = reload(tmp_path)
    assert told.returncode == 1
    assert "worker 0: " in told.stdout + told.stderr
    assert "exit code 7" in told.stdout + told.stderr
    daemon.wait_for("worker started")
    with closing(connected(tmp_path)) as client:
        assert echoes(client)
    assert not (tmp_path / "late.sock").exists()


@WORKERS
def test_many_signals_are_few_reloads_and_the_last_state_of_the_file_is_served(
    start: Start, tmp_path: Path, workers: int
) -> None:
    daemon: Daemon = start(config(workers)).ready()
    with closing(connected(tmp_path)) as client:
        for number in range(1000):
            if number == 999:
                (tmp_path / "sockd.toml").write_text(
                    config(workers) + '[service.last]\nplugin="echo"\nlisten=["unix:last.sock"]\n'
                )
            daemon.signal(signal.SIGHUP)
            if not number % 100:
                assert echoes(client)
        daemon.wait_for("reloaded", add=["last"])
        assert echoes(client)
    assert (tmp_path / "last.sock").exists()
    assert len([event for event in daemon.events if event.get("event") == "reloaded"]) < 100


@WORKERS
def test_limits_are_totals_of_a_name_over_the_instances_that_reloads_make(
    start: Start, tmp_path: Path, workers: int
) -> None:
    def text(options: str) -> str:
        banner = f'[service.time]\nplugin = "time"\nlisten = ["tcp:0:interface=127.0.0.1"]\n{options}'
        return config(workers) + (
            banner + "limits.max_per_source = 2\nlimits.max_connections = 3\n" if options else ""
        )

    def asks(port: tuple[str, int], sender: str) -> socket.socket | None:
        client = socket.create_connection(port, PATIENCE, (sender, 0))
        client.sendall(b"%H\n")
        try:
            if client.recv(100):
                return client
        except ConnectionError:
            pass
        client.close()
        return None

    daemon = start(text('options.format = "%H"\n')).ready()
    port = daemon.port("time")
    clients = [asks(port, "127.0.0.1") for _ in range(2)]
    over = threading.Event()

    def keep_busy(*busy: socket.socket) -> None:
        """Send again and again, because a removed service closes idle connections after some seconds."""
        while not over.wait(0.2):
            for client in busy:
                client.sendall(b"%H\n")
                client.recv(100)

    busy = [client for client in clients if client is not None]
    keeping = threading.Thread(target=keep_busy, args=busy)
    keeping.start()
    try:
        assert len(busy) == 2
        for options in ('options.format = "%M"\n', "", 'options.format = "%S"\n'):
            (tmp_path / "sockd.toml").write_text(text(options))
            assert reload(tmp_path).returncode == 0
        port = daemon.port("time", which=-1)
        assert asks(port, "127.0.0.1") is None, "two of this address are open"
        clients.append(asks(port, "127.0.0.2"))
        assert clients[-1] is not None
        assert asks(port, "127.0.0.3") is None, "three are open in all"
        over.set()
        keeping.join(PATIENCE)
        clients.pop(0)
        busy[0].close()

        def let_in() -> bool:
            clients.append(asks(port, "127.0.0.1"))
            return clients[-1] is not None

        wait_until(let_in)
    finally:
        over.set()
        keeping.join(PATIENCE)
        for client in clients:
            if client is not None:
                client.close()
