"""Servers as child processes on a core of their own, each ended by its own id."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"

START_TIMEOUT = 20.0
"""Seconds for a server to answer the first echo."""

STOP_TIMEOUT = 5.0
"""Seconds for a server to end after SIGTERM."""

PROBE_TIMEOUT = 0.2
"""Seconds between two attempts to get the first echo."""


_UNVERIFIED = ssl.create_default_context()
_UNVERIFIED.check_hostname = False
_UNVERIFIED.verify_mode = ssl.CERT_NONE


class MeasureError(Exception):
    """Failure of one measurement; the others can still be made."""


class StartError(MeasureError):
    """Failure of a server to start, whatever is measured."""


@dataclass(frozen=True, slots=True)
class Server:
    """Running server that echoes."""

    pid: int
    port: int


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep processes started meanwhile on `core`, with all their threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def serving(words: list[str], protocol: str, port: int, core: int, log: Path) -> Iterator[Server]:
    """Start a server, yield it from its first echo on, and end it."""
    with log.open("w") as output, on_core(core):
        process = subprocess.Popen(  # noqa: S603  # commands of this repository
            words,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the benchmark alone, which ends the servers in order
        )
    try:
        _wait_for_echo(process, protocol, port, log)
        yield Server(process.pid, port)
    finally:
        end(process)


def free_ports(*protocols: str) -> list[int]:
    """Return free ports; all are held at once, so that none is returned twice."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket(type=_kind(protocol))) for protocol in protocols]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def free_port(protocol: str) -> int:
    """Return a free port."""
    [port] = free_ports(protocol)
    return port


def _kind(protocol: str) -> socket.SocketKind:
    return socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM


def _wait_for_echo(process: subprocess.Popen[bytes], protocol: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(f"ended with {process.returncode}: {_last_line(log)}")
        if _echoes(protocol, port):
            return
        time.sleep(0.02)
    raise StartError(f"no echo within {START_TIMEOUT:g} s: {_last_line(log)}")


def _echoes(protocol: str, port: int) -> bool:
    plain = socket.socket(type=_kind(protocol))
    with _UNVERIFIED.wrap_socket(plain) if protocol == "tls" else plain as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect((HOST, port))
            if protocol == "chat":
                return True
            probe.send(b"?")
            return probe.recv(1) == b"?"
        except OSError:
            return False


def _last_line(log: Path) -> str:
    return log.read_text(errors="replace").strip().rpartition("\n")[2][-200:] or "it said nothing"


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process in order, or kill it."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
