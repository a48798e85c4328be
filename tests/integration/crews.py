"""Workers of a daemon for tests, and plugins that tell which worker serves."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from running import BIN, PATIENCE, Daemon

PLUGINS = '''
import ctypes
import os
from typing import ClassVar
from sockd.plugin import IDatagramPlugin, IStreamPlugin, Plugin, Replies
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from zope.interface import implementer

VERSION = 1

class Telling(Protocol):
    def dataReceived(self, data):
        if data.startswith(b"version"):
            return self.transport.write(f"{VERSION}\\n".encode())
        if data.startswith(b"hang"):
            while True:
                pass
        if data.startswith(b"sleep"):
            ctypes.PyDLL(None).sleep(60)  # keeps the interpreter for itself
        self.transport.write(f"{os.getpid()}\\n".encode() * data.count(b"\\n"))

class TellingDatagrams(DatagramProtocol):
    def datagramReceived(self, data, address):
        self.transport.write(data + f" {os.getpid()}".encode(), address)

@implementer(IStreamPlugin, IDatagramPlugin)
class Who(Plugin):
    """Each line is answered with the number of the process that serves it."""
    word: str = ""
    replies: ClassVar[Replies] = Replies(floor=100)
    def stream_factory(self, protocol, context):
        return Factory.forProtocol(Telling)
    def datagram_protocol(self, protocol, context):
        return TellingDatagrams()

class Alone(Who):
    shared_state: ClassVar[bool] = True

class Bad(Who):
    def start(self, context):
        raise OSError("no tape in the drive")

class Moody(Who):
    def start(self, context):
        if os.path.exists("no tape"):
            raise OSError("no tape in the drive")

class Worse(Who):
    def start(self, context):
        os._exit(3)
'''

CONFIG = """
[daemon]
workers = 2
drain_timeout = "1h"
[control]
listen = "unix:run/control.sock"
[metrics]
listen = "tcp:0:interface=127.0.0.1"
[service.who]
plugin = "tells:Who"
listen = ["tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1", "unix:run/who.sock"]
"""
"""Configuration of a daemon that outlives changes of its code, and says which worker serves."""


def environment(folder: Path, plugins: str = PLUGINS) -> dict[str, str]:
    """Return an environment in which a daemon finds these plugins as `tells:Who` and so on."""
    file = folder / "tells.py"
    if not file.exists() or file.read_text() != plugins:  # a spare worker may be loading it
        file.write_text(plugins)
    return {"PYTHONPATH": str(folder)}


def order(daemon: Daemon, command: str, **arguments: Any) -> Any:
    """Return the result of a command at the control socket, without the start of an interpreter."""
    answer = answered(daemon, command, **arguments)
    assert answer["ok"], answer
    return answer["result"]


def answered(daemon: Daemon, command: str, **arguments: Any) -> dict[str, Any]:
    """Return the answer to a command at the control socket, also to one that is refused."""
    with begun(daemon, command, **arguments) as operator:
        return answer_on(operator)


def begun(daemon: Daemon, command: str, **arguments: Any) -> socket.socket:
    """Return the connection on which a command at the control socket will be answered."""
    operator = socket.socket(socket.AF_UNIX)
    operator.settimeout(PATIENCE)
    operator.connect(str(daemon.folder / "run/control.sock"))
    operator.sendall(json.dumps({"command": command, **arguments}).encode() + b"\n")
    return operator


def answer_on(operator: socket.socket) -> dict[str, Any]:
    """Return the answer that comes on a connection to the control socket."""
    with operator.makefile("rb") as lines:
        answer: dict[str, Any] = json.loads(lines.readline())
    return answer


def service_of(status: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what a status tells of a service."""
    return next(service for service in status["services"] if service["name"] == name)


def reload(daemon: Daemon, text: str, event: str = "reloaded") -> dict[str, Any]:
    """Reload a configuration; return the event that tells the outcome."""
    before = len(daemon.all_of(event))
    (daemon.folder / "sockd.toml").write_text(text)
    daemon.signal(signal.SIGHUP)
    return daemon.wait_for_times(event, before + 1)


def workers(daemon: Daemon) -> list[int]:
    """Return the processes of the workers, including those that finish; not the spare one."""
    return [pid for pid in children(daemon) if name_of(pid).startswith("sockd worker")]


def spare(daemon: Daemon) -> int | None:
    """Return the process of the spare worker, once it is ready."""
    return next((pid for pid in children(daemon) if name_of(pid) == "sockd spare"), None)


def children(daemon: Daemon) -> list[int]:
    """Return the processes that the supervisor has started."""
    pid = daemon.process.pid
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def name_of(pid: int) -> str:
    """Return a process's name as `ps` shows it."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Tell whether a process runs; an ended one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def descriptors(daemon: Daemon) -> int:
    """Return the number of descriptors of the supervisor."""
    return descriptors_of(daemon.process.pid)


def descriptors_of(pid: int) -> int:
    """Return the number of descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def wait_until(true: Callable[[], object], seconds: float = PATIENCE) -> float:
    """Wait for a condition that reports no event; return how long that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, f"not so within {seconds} seconds"
        time.sleep(0.02)
    return time.monotonic() - began


def asked(address: tuple[str, int]) -> int:
    """Return the process that serves a new connection."""
    with socket.create_connection(address, PATIENCE) as client:
        return ask(client)


def ask(client: socket.socket, question: bytes = b"who") -> int:
    """Return the process that serves this connection, or the version of the plugin."""
    client.sendall(question + b"\n")
    return served_by(client)


def served_by(client: socket.socket) -> int:
    """Return the number that is answered: the process that serves this connection."""
    answer = b""
    while not answer.endswith(b"\n"):
        part = client.recv(100)
        assert part, "closed without an answer"
        answer += part
    return int(answer)


def connected_to_each(address: tuple[str, int], pids: list[int]) -> dict[int, socket.socket]:
    """Open a connection to each of the workers."""
    found: dict[int, socket.socket] = {}
    deadline = time.monotonic() + PATIENCE
    while set(found) != set(pids):
        assert time.monotonic() < deadline, f"only {set(found)} of {pids} accept"
        clients = [socket.create_connection(address, PATIENCE) for _ in range(8)]
        for client in clients:
            if found.setdefault(ask(client), client) is not client:
                client.close()
    return found


class Shared:
    """Daemon that the tests of a module share. Another one is started when a test has ended it.

    Args:
        folder: of its own.
        text: configuration; each test leaves it in force.
        size: number of its workers.
        plugins: code of `tells`; each test leaves it so.
        env: more for its environment.
    """

    def __init__(
        self,
        folder: Path,
        text: str,
        *,
        size: int = 2,
        plugins: str = PLUGINS,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._text = text
        self._size = size
        self._plugins = plugins
        self._env = dict(env or {})
        self._daemon: Daemon | None = None

    def ready(self) -> Daemon:
        """Return the daemon when it has all its workers, and a spare one; its events so far are forgotten."""
        env = environment(self.folder, self._plugins) | self._env
        (self.folder / "sockd.toml").write_text(self._text)
        if self._daemon is not None and self._daemon.process.poll() is not None:
            self.stop()
        if self._daemon is None:
            command = (BIN / "twistd", "-n", "sockd", "-c", "sockd.toml")
            self._daemon = Daemon(*command, cwd=self.folder, env=env).ready()
        daemon = self._daemon
        wait_until(lambda: len(workers(daemon)) == self._size and spare(daemon) is not None)
        daemon.forget()
        return daemon

    def stop(self) -> int:
        """End the daemon, if there is one; return its exit code."""
        daemon, self._daemon = self._daemon, None
        return daemon.stop() if daemon is not None else 0
