"""Workers of a daemon for tests, and plugins that tell which worker serves."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from running import PATIENCE, Daemon

PLUGINS = '''
import ctypes
import os
from typing import ClassVar
from sockd.plugin import IDatagramPlugin, IStreamPlugin, Plugin, Replies
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from zope.interface import implementer

class Telling(Protocol):
    def dataReceived(self, data):
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


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which a daemon finds these plugins as `tells:Who` and so on."""
    (folder / "tells.py").write_text(PLUGINS)
    return {"PYTHONPATH": str(folder)}


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
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


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


def ask(client: socket.socket) -> int:
    """Return the process that serves this connection."""
    client.sendall(b"who\n")
    return served_by(client)


def served_by(client: socket.socket) -> int:
    """Return the process that answers that it serves this connection."""
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
