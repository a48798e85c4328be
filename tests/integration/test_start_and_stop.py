"""Start and end of a daemon, as its launcher sees them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from running import BIN, PATIENCE, Daemon, Start

HOWS = pytest.mark.parametrize("how", ["twistd", "sockd"])

ECHO = """
[daemon]
drain_timeout = "{drain}"
[service.echo]
plugin = "{plugin}"
listen = ["{endpoint}"]
"""


def echo(endpoint: str = "tcp:0:interface=127.0.0.1", plugin: str = "echo", drain: str = "10s") -> str:
    return ECHO.format(endpoint=endpoint, plugin=plugin, drain=drain)


@contextmanager
def taken_port(kind: int = socket.SOCK_STREAM) -> Iterator[int]:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        yield other.getsockname()[1]


def plugin_file(folder: Path, body: str, module: str = "strange") -> None:
    """Write a plugin of a third party into the daemon's folder."""
    (folder / f"{module}.py").write_text(
        "from sockd.plugin import Context, IStreamPlugin, Plugin\n"
        "from twisted.internet.protocol import Factory, Protocol\n"
        "from zope.interface import implementer\n"
        f"{body}\n"
    )


STRANGE = """
@implementer(IStreamPlugin)
class Strange(Plugin):
    def stream_factory(self, protocol, context):
        return Factory.forProtocol(Protocol)
"""


@HOWS
def test_each_listener_and_then_ready_is_told(start: Start, how: str) -> None:
    daemon = start(
        '[service.echo]\nplugin = "echo"\n'
        'listen = ["tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1", "unix:run/echo.sock"]\n',
        how=how,
    ).ready()
    names = [record["event"] for record in daemon.events]
    assert names == ["listening"] * 3 + ["ready"]
    assert daemon.port("echo")[1] > 0
    assert daemon.port("echo", "udp")[1] > 0
    assert Path(daemon.path("echo")).name == "echo.sock"


@HOWS
def test_each_address_that_cannot_be_opened_is_one_clear_line_and_nothing_stays_open(
    start: Start, tmp_path: Path, how: str
) -> None:
    with taken_port() as one, taken_port(socket.SOCK_DGRAM) as two:
        tcp, udp = f"tcp:{one}:interface=127.0.0.1", f"udp:{two}:interface=127.0.0.1"
        nowhere = "unix:/proc/nowhere/echo.sock"
        daemon = start(
            f'[service.a]\nplugin = "echo"\nlisten = ["unix:a.sock", "{tcp}"]\n'
            f'[service.b]\nplugin = "echo"\nlisten = ["{udp}"]\n'
            f'[service.c]\nplugin = "echo"\nlisten = ["{nowhere}"]\n',
            how=how,
        )
        assert daemon.wait() == 1
    taken = (
        f"the address is already in use by {Path('/proc/self/comm').read_text().strip()}, pid {os.getpid()}"
    )
    lines = daemon.errors.splitlines()
    assert lines[:2] == [
        f"sockd: service 'a': cannot listen on {tcp}: {taken}",
        f"sockd: service 'b': cannot listen on {udp}: {taken}",
    ]
    assert len(lines) == 3
    assert lines[2].startswith(f"sockd: service 'c': cannot listen on {nowhere}: ")
    assert not (tmp_path / "a.sock").exists()


USELESS = {
    "missing": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    "broken": ("1 / 0", "ZeroDivisionError: division by zero"),
    "no_plugin": ("class Strange: pass", "is the class Strange, expected a subclass of sockd.plugin.Plugin"),
    "no_interface": ("class Strange(Plugin): pass", "serves nothing"),
    "no_method": ("@implementer(IStreamPlugin)\nclass Strange(Plugin): pass", "breaks the contract"),
}
"""Plugins that cannot be used, by their module, and the reason."""


@HOWS
def test_plugins_that_cannot_be_used_say_why_and_it_exits_1(start: Start, tmp_path: Path, how: str) -> None:
    """The messages have the true reason and its place, and no traceback."""
    for module, (body, _) in USELESS.items():
        plugin_file(tmp_path, body, module)
    services = (
        f'[service.{module}]\nplugin = "{module}:Strange"\nlisten = ["unix:{module}"]\n' for module in USELESS
    )
    daemon = start("".join(services), how=how, env={"PYTHONPATH": str(tmp_path)})
    assert daemon.wait() == 1
    for number, (_, reason) in enumerate(USELESS.values()):
        (line,) = (each for each in daemon.errors.splitlines() if reason in each)
        assert f"sockd.toml:{3 * number + 2}:" in line
    assert "Traceback" not in daemon.errors


@pytest.mark.parametrize(
    ("how", "method", "reason"),
    [
        (
            "twistd",
            "def start(self, context):\n        raise OSError('no tape in the drive')",
            "no tape in the drive",
        ),
        (
            "sockd",
            "async def start(self, context):\n        raise OSError('no tape in the drive')",
            "no tape in the drive",
        ),
        (
            "sockd",
            "def start(self, context):\n"
            "        from twisted.internet.task import deferLater\n"
            "        d = deferLater(context.clock, 0.1)\n"
            "        return d.addCallback(lambda _: 1 / 0)",
            "division by zero",
        ),
    ],
)
def test_a_plugin_that_cannot_start_is_one_clear_line_and_exit_1(
    start: Start, tmp_path: Path, how: str, method: str, reason: str
) -> None:
    plugin_file(tmp_path, f"{STRANGE}\n    {method}")
    daemon = start(echo(plugin="strange:Strange"), how=how, env={"PYTHONPATH": str(tmp_path)})
    assert daemon.wait() == 1
    assert daemon.errors.count("\n") == 1
    assert daemon.errors.startswith("sockd: service 'echo': plugin 'strange:Strange' cannot start: ")
    assert reason in daemon.errors
    assert "ready" not in [record.get("event") for record in daemon.events]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return None", "stream_factory gave NoneType, expected a Twisted factory"),
        ("raise KeyError('colour')", "failed in stream_factory: KeyError: 'colour'"),
    ],
)
def test_a_plugin_that_builds_nonsense_is_one_clear_line_and_exit_1(
    start: Start, tmp_path: Path, body: str, reason: str
) -> None:
    plugin_file(tmp_path, STRANGE.replace("return Factory.forProtocol(Protocol)", body))
    daemon = start(echo(plugin="strange:Strange"), env={"PYTHONPATH": str(tmp_path)})
    assert daemon.wait() == 1
    assert daemon.errors.count("\n") == 1
    assert reason in daemon.errors


@pytest.mark.parametrize(
    ("how", "number"), [("twistd", signal.SIGTERM), ("twistd", signal.SIGINT), ("sockd", signal.SIGINT)]
)
def test_a_signal_ends_it_with_exit_code_0_and_leaves_no_path(
    start: Start, tmp_path: Path, how: str, number: int
) -> None:
    daemon = start(echo("unix:run/echo.sock"), how=how).ready()
    daemon.signal(number)
    assert daemon.wait() == 0
    assert list((tmp_path / "run").iterdir()) == []
    assert daemon.events[-1]["event"] == "stopped"


def test_a_daemon_can_be_started_again_at_once_on_the_same_port(start: Start) -> None:
    daemon = start(echo()).ready()
    host, port = daemon.port("echo")
    for _ in range(2):
        with socket.create_connection((host, port)) as client:
            client.sendall(b"x")
            client.recv(1)
            daemon.signal()
            daemon.wait_for("stopping")
        assert daemon.wait() == 0
        daemon = start(echo(f"tcp:{port}:interface={host}")).ready()


def test_after_kill_9_it_starts_again_on_the_same_path(start: Start) -> None:
    daemon = start(echo("unix:run/echo.sock")).ready()
    daemon.signal(signal.SIGKILL)
    daemon.wait()
    again = start(echo("unix:run/echo.sock")).ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(again.path("echo"))


def test_stopping_ends_accepting_at_once_and_lets_connections_finish(start: Start) -> None:
    daemon = start(echo()).ready()
    address = daemon.port("echo")
    with socket.create_connection(address, PATIENCE) as client:
        client.sendall(b"before")
        assert client.recv(100) == b"before"
        daemon.signal()
        daemon.wait_for("stopping", connections=1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, PATIENCE)
        client.sendall(b"after")
        assert client.recv(100) == b"after"
    assert daemon.wait() == 0
    assert daemon.wait_for("stopped")["cut"] == 0


def test_connections_that_outlast_the_drain_timeout_are_cut(start: Start) -> None:
    daemon = start(echo(drain="500ms")).ready()
    with socket.create_connection(daemon.port("echo"), PATIENCE) as client:
        client.sendall(b"x")
        client.recv(1)
        daemon.signal()
        assert daemon.wait() == 0
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert daemon.wait_for("stopped")["cut"] == 1


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    daemon = start(echo(drain="1h")).ready()
    with socket.create_connection(daemon.port("echo"), PATIENCE) as client:
        client.sendall(b"x")
        client.recv(1)
        daemon.signal()
        daemon.wait_for("stopping")
        daemon.signal()
        assert daemon.wait() == 0


@pytest.mark.parametrize(
    "method",
    [
        "def drain(self):\n        import re\n        re.match('(a*)*b', 'a' * 50)",
        "def stop(self):\n        import time\n        time.sleep(3600)",
        "def stop(self):\n        from twisted.internet.defer import Deferred\n        return Deferred()",
        "def drain(self):\n        while True: pass",
    ],
)
def test_no_plugin_can_prevent_the_end(start: Start, tmp_path: Path, method: str) -> None:
    """Plugins that block, and plugins that never answer."""
    plugin_file(tmp_path, f"{STRANGE}\n    {method}")
    daemon = start(echo(plugin="strange:Strange", drain="100ms"), env={"PYTHONPATH": str(tmp_path)}).ready()
    daemon.signal()
    daemon.wait_for("stopping")
    daemon.signal()
    assert daemon.wait() in (0, -signal.SIGALRM)


def test_a_plugins_stop_is_waited_for(start: Start, tmp_path: Path) -> None:
    plugin_file(
        tmp_path,
        f"{STRANGE}\n"
        "    def start(self, context):\n        object.__setattr__(self, '_context', context)\n"
        "    async def stop(self):\n"
        "        from twisted.internet.task import deferLater\n"
        "        await deferLater(self._context.clock, 0.2)\n"
        "        open('stopped', 'w').close()",
    )
    daemon = start(echo(plugin="strange:Strange"), env={"PYTHONPATH": str(tmp_path)}).ready()
    daemon.signal()
    assert daemon.wait() == 0
    assert (tmp_path / "stopped").exists()


def test_a_plugin_that_raises_again_and_again_fills_no_log_and_harms_no_neighbour(
    start: Start, tmp_path: Path
) -> None:
    """Faults with a real reactor."""
    plugin_file(
        tmp_path,
        "class Bad(Protocol):\n"
        "    def dataReceived(self, data):\n        raise SystemExit('gone')\n"
        "@implementer(IStreamPlugin)\nclass Strange(Plugin):\n"
        "    def stream_factory(self, protocol, context):\n        return Factory.forProtocol(Bad)\n",
    )
    daemon = start(
        '[service.bad]\nplugin = "strange:Strange"\nlisten = ["tcp:0:interface=127.0.0.1"]\n'
        '[service.echo]\nplugin = "echo"\nlisten = ["tcp:0:interface=127.0.0.1"]\n',
        env={"PYTHONPATH": str(tmp_path)},
    ).ready()
    with socket.create_connection(daemon.port("echo"), PATIENCE) as neighbour:
        for _ in range(200):
            with socket.create_connection(daemon.port("bad"), PATIENCE) as client:
                client.sendall(b"x")
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
        neighbour.sendall(b"alive")
        assert neighbour.recv(100) == b"alive"
    daemon.signal()
    assert daemon.wait() == 0
    faults = [record for record in daemon.events if record.get("event") == "plugin fault"]
    assert len(faults) == 1
    assert faults[0]["error"] == "SystemExit: gone"
    assert "strange.py" in faults[0]["traceback"]


def test_an_idle_connection_over_tcp_ends_by_the_kernels_own_clock(start: Start) -> None:
    daemon = start(echo() + 'limits.idle_timeout = "1s"\n').ready()
    with socket.create_connection(daemon.port("echo"), PATIENCE) as client:
        began = time.monotonic()
        while time.monotonic() - began < 2:  # twice the timeout, never idle
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            time.sleep(0.3)
        last = time.monotonic()
        assert client.recv(1) == b""
        assert time.monotonic() - last > 0.5


def test_max_connections_is_a_hard_limit_that_recovers(start: Start) -> None:
    daemon = start(echo() + "limits.max_connections = 2\n").ready()
    address = daemon.port("echo")

    def served(client: socket.socket) -> bool:
        try:
            client.sendall(b"x")
            return client.recv(1) == b"x"
        except ConnectionError:
            return False

    clients = [socket.create_connection(address, PATIENCE) for _ in range(3)]
    assert [served(client) for client in clients] == [True, True, False]
    clients[0].shutdown(socket.SHUT_WR)
    assert clients[0].recv(1) == b""
    daemon.wait_for("connection refused", reason="max_connections")
    again = socket.create_connection(address, PATIENCE)
    assert served(again)
    for client in (*clients, again):
        client.close()


@pytest.mark.skipif(shutil.which("ss") is None, reason="ss is not installed")
def test_socket_options_are_in_force(start: Start) -> None:
    """The kernel reports the options of the daemon's listening socket."""
    daemon = start(
        '[service.echo]\nplugin = "echo"\nlisten = [{ endpoint = "tcp:0:interface=127.0.0.1",'
        " socket = { backlog = 7 } }]\n"
    ).ready()
    port = daemon.port("echo")[1]
    listening = subprocess.run(["ss", "-ltnH", f"sport = :{port}"], stdout=subprocess.PIPE, check=False)
    assert listening.stdout.split()[2] == b"7"


def test_in_the_background_it_detaches_writes_a_log_file_and_a_pid_file(tmp_path: Path) -> None:
    """Other users cannot read the log."""
    (tmp_path / "sockd.toml").write_text(echo("unix:run/echo.sock"))
    done = subprocess.run(
        [BIN / "twistd", "sockd", "-c", "sockd.toml"], cwd=tmp_path, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0
    pid = int((tmp_path / "twistd.pid").read_text())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(PATIENCE)
            client.connect(str(tmp_path / "run/echo.sock"))
            client.sendall(b"daemon?")
            assert client.recv(100) == b"daemon?"
        assert stat.S_IMODE((tmp_path / "twistd.log").stat().st_mode) == 0o640
    finally:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while (tmp_path / "twistd.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not (tmp_path / "twistd.pid").exists()
    assert '"event": "stopped"' in (tmp_path / "twistd.log").read_text()
    assert not (tmp_path / "run/echo.sock").exists()


def test_in_the_background_a_failed_start_is_told_before_it_detaches(tmp_path: Path) -> None:
    with taken_port() as port:
        (tmp_path / "sockd.toml").write_text(echo(f"tcp:{port}:interface=127.0.0.1"))
        done = subprocess.run(
            [BIN / "twistd", "sockd", "-c", "sockd.toml"],
            cwd=tmp_path,
            timeout=PATIENCE,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "service 'echo'" in done.stderr
    assert not (tmp_path / "twistd.pid").exists()


def test_in_the_background_a_plugin_that_cannot_start_is_told_in_full(tmp_path: Path) -> None:
    reason = "no tape in the drive, none in the cupboard, and none to be had before Monday morning"
    plugin_file(tmp_path, f"{STRANGE}\n    def start(self, context):\n        raise OSError('{reason}')")
    (tmp_path / "sockd.toml").write_text(echo("unix:run/echo.sock", plugin="strange:Strange"))
    done = subprocess.run(
        [BIN / "twistd", "sockd", "-c", "sockd.toml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        timeout=PATIENCE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert reason in done.stderr.splitlines()[0]
    assert not (tmp_path / "run/echo.sock").exists()
    assert not (tmp_path / "twistd.pid").exists()


def test_the_fast_reactor_serves_where_nothing_else_was_asked_for(start: Start) -> None:
    assert start(echo(), how="sockd").ready().wait_for("ready")["reactor"] == "UVReactor"
    assert start(echo(), how="twistd").ready().wait_for("ready")["reactor"] == "UVReactor"


def test_a_reactor_that_was_asked_for_wins(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(echo())
    command = (BIN / "twistd", "--reactor=epoll", "-n", "sockd")
    daemon = Daemon(*command, cwd=tmp_path).ready()
    assert daemon.wait_for("ready")["reactor"] == "EPollReactor"
    assert daemon.stop() == 0


def test_a_listener_may_ask_for_twisteds_own_transports(start: Start, tmp_path: Path) -> None:
    plugin_file(
        tmp_path,
        "class Tell(Protocol):\n"
        "    def connectionMade(self):\n"
        "        module = type(self.transport.transport).__module__\n"
        "        delay = not self.transport.getTcpNoDelay()\n"
        "        self.transport.write(f'{module} {delay}'.encode())\n"
        "        self.transport.loseConnection()\n"
        "@implementer(IStreamPlugin)\nclass Strange(Plugin):\n"
        "    def stream_factory(self, protocol, context):\n        return Factory.forProtocol(Tell)\n",
    )
    daemon = start(
        '[service.tell]\nplugin = "strange:Strange"\nlisten = [\n'
        '  "tcp:0:interface=127.0.0.1",\n'
        '  { endpoint = "tcp:0:interface=127.0.0.1", socket = { stock = true } },\n'
        '  { endpoint = "tcp:0:interface=127.0.0.1", socket = { no_delay = false } },\n'
        "]\n",
        env={"PYTHONPATH": str(tmp_path)},
    ).ready()
    told = []
    for which in range(3):
        with socket.create_connection(daemon.port("tell", which=which), PATIENCE) as client:
            told.append(client.makefile().read())
    assert told[0].startswith("sockd.uvreactor.")
    assert told[1:] == ["sockd.sockets.ports False", "sockd.sockets.ports True"]


def test_without_uvloop_twisteds_own_reactor_serves_and_one_line_says_why(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "uvloop.py").write_text("raise ImportError('no uvloop for this machine')")
    daemon = start(echo(), env={"PYTHONPATH": str(tmp_path)}).ready()
    assert daemon.wait_for("ready")["reactor"] == "EPollReactor"
    assert daemon.wait_for("reactor fallback")["reason"] == "no uvloop for this machine"
    with socket.create_connection(daemon.port("echo"), PATIENCE) as client:
        client.sendall(b"slower")
        assert client.recv(100) == b"slower"


def test_a_missing_configuration_is_one_clear_line(tmp_path: Path) -> None:
    for command in (["twistd", "-n", "sockd", "-c", "none.toml"], ["sockd", "run", "-c", "none.toml"]):
        done = subprocess.run(
            [BIN / command[0], *command[1:]],
            cwd=tmp_path,
            timeout=PATIENCE,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "none.toml" in done.stderr
        assert "no such file" in done.stderr
