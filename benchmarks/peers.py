"""Who is measured: sockd, and what else there is to serve the same."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from twisted.application.reactors import getReactorTypes

from benchmarks.scenarios import Protocol

HERE = Path(__file__).parent
SERVERS = HERE / "servers"
BIN = Path(sys.executable).parent

STREAMS: frozenset[Protocol] = frozenset({"tcp"})
ALL: frozenset[Protocol] = frozenset({"tcp", "udp"})
LINES: frozenset[Protocol] = frozenset({"lines"})

Words = list[str]


@dataclass(frozen=True, slots=True)
class Peer:
    """One that can be measured.

    Args:
        key: its short name.
        title: what a reader calls it.
        command: starts it, given the protocol, the port at 127.0.0.1 and a folder of its own.
        absent: why it cannot be measured here; empty if it can.
        build: compiles what `command` finds in the folder, once in a run.
        protocols: what it speaks.
    """

    key: str
    title: str
    command: Callable[[str, int, Path], Words]
    absent: Callable[[], str] = lambda: ""
    build: Callable[[Path], Words] | None = None
    protocols: frozenset[Protocol] = ALL


def _no_program(name: str) -> str:
    return "" if shutil.which(name) else f"there is no {name} here"


def _no_module(name: str) -> str:
    return "" if importlib.util.find_spec(name) else f"{name} cannot be imported"


@cache
def _no_uv_reactor() -> str:
    known = {kind.shortName for kind in getReactorTypes()}
    return _no_module("sockd.uvreactor") or ("" if "uv" in known else "twistd knows no reactor named uv")


def _sockd(protocol: str, port: int, _folder: Path) -> Words:
    return [f"{BIN}/sockd", "serve", "echo", "--listen", f"{protocol}:{port}:interface=127.0.0.1"]


def _sockd_on(reactor: str) -> Callable[[str, int, Path], Words]:
    def command(protocol: str, port: int, folder: Path) -> Words:
        file = folder / "sockd.toml"
        endpoint = f"{protocol}:{port}:interface=127.0.0.1"
        file.write_text(f'[service.echo]\nplugin = "echo"\nlisten = ["{endpoint}"]\n')
        twistd = [f"{BIN}/twistd", f"--reactor={reactor}", "--nodaemon", "--pidfile="]
        return [*twistd, "sockd", "-c", str(file)]

    return command


def _python(program: str, *words: str) -> Callable[[str, int, Path], Words]:
    return lambda protocol, port, _: [sys.executable, f"{SERVERS}/{program}", protocol, str(port), *words]


def _framer(name: str) -> Callable[[str, int, Path], Words]:
    return lambda _protocol, _port, _folder: [sys.executable, f"{HERE}/lines.py", name]


PEERS = (
    Peer("sockd", "sockd, its default", _sockd),
    Peer("sockd-uv", "sockd on uv", _sockd_on("uv"), _no_uv_reactor),
    Peer("sockd-epoll", "sockd on epoll", _sockd_on("epoll")),
    Peer("twisted-uv", "Twisted uv", _python("twisted_plain.py", "uv"), _no_uv_reactor),
    Peer("twisted-epoll", "Twisted epoll", _python("twisted_plain.py", "epoll")),
    Peer("twisted-asyncio", "Twisted asyncio", _python("twisted_plain.py", "asyncio")),
    Peer(
        "twisted-asyncio-uvloop",
        "Twisted asyncio, uvloop",
        _python("twisted_plain.py", "asyncio-uvloop"),
        lambda: _no_module("uvloop"),
    ),
    Peer("asyncio", "asyncio Protocol", _python("asyncio_protocol.py", "stdlib")),
    Peer(
        "uvloop",
        "uvloop Protocol",
        _python("asyncio_protocol.py", "uvloop"),
        lambda: _no_module("uvloop"),
    ),
    Peer("streams", "asyncio streams", _python("asyncio_streams.py", "stdlib"), protocols=STREAMS),
    Peer(
        "streams-uvloop",
        "uvloop streams",
        _python("asyncio_streams.py", "uvloop"),
        lambda: _no_module("uvloop"),
        protocols=STREAMS,
    ),
    Peer(
        "c",
        "C epoll",
        lambda protocol, port, folder: [f"{folder}/c_epoll", protocol, str(port)],
        lambda: _no_program("gcc"),
        lambda folder: ["gcc", "-O2", "-o", f"{folder}/c_epoll", f"{SERVERS}/c_epoll.c"],
    ),
    Peer(
        "go",
        "Go net",
        lambda protocol, port, folder: [f"{folder}/go_net", protocol, str(port)],
        lambda: _no_program("go"),
        lambda folder: ["go", "build", "-o", f"{folder}/go_net", f"{SERVERS}/go_net.go"],
    ),
    Peer(
        "node",
        "Node net",
        lambda protocol, port, _: ["node", f"{SERVERS}/node_net.js", protocol, str(port)],
        lambda: _no_program("node"),
    ),
    Peer("sockd-lines", "sockd.framing.Lines", _framer("sockd"), protocols=LINES),
    Peer("line-only-receiver", "LineOnlyReceiver", _framer("line-only-receiver"), protocols=LINES),
    Peer("line-receiver", "LineReceiver", _framer("line-receiver"), protocols=LINES),
)
