"""Test for leaks of connections: `python -m benchmarks.churn [CONNECTIONS]`.

Opens and closes connections to sockd's echo on the fast reactor, one after another. Each is answered once
and then ends in one of three ways: the client closes, ends its side first, or resets. The daemon's
descriptors and its memory are read in between; the command fails if either grows with the connections.
"""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

import click

from benchmarks.machine import cores, description
from benchmarks.peers import PEERS
from benchmarks.processes import HOST, MeasureError, Server, free_port, on_core, serving

MANY = 100_000

LOOKS = 20
"""Number of times that the daemon's resources are read."""

SETTLED = 5
"""Samples before the memory counts: caches and the allocator's arenas fill first."""

SLOPE = 16
"""Bytes for each connection: the size of the smallest Python object that could leak."""

NOISE = 256 * 1024
"""Bytes by which the memory of a process that repeats the same work may vary."""

PATIENCE = 10
"""Seconds to wait for events that take milliseconds."""

TURNS = 5
"""Answers after which the daemon has certainly noticed and closed the earlier connections."""

SOURCES = 200
"""Source addresses, used in turn: one address has fewer ports than there are connections."""

AT_ONCE = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which closing resets the connection."""


@dataclass(frozen=True, slots=True)
class Look:
    """Resources of the daemon after a number of connections, while only the connection for status is open."""

    connections: int
    descriptors: int
    resident: int


def churn(connections: int) -> list[Look]:
    """Make all connections, and read the daemon's resources in between.

    Raises:
        MeasureError: the daemon does not serve as it should.
    """
    (peer,) = (peer for peer in PEERS if peer.key == "sockd-uv")
    if reason := peer.absent():
        raise MeasureError(reason)
    server_core, client_core = cores()
    with tempfile.TemporaryDirectory() as name, on_core(client_core):
        folder, port = Path(name), free_port("tcp")
        with serving(peer.command("tcp", port, folder), "tcp", port, server_core, folder / "log") as server:
            looks = []
            for number in range(1, connections + 1):
                _connect(server, number)
                if number % (connections // LOOKS) == 0:
                    looks.append(_look(server, number))
            return looks


def slope(looks: Sequence[Look]) -> float:
    """Return the bytes by which the memory grows with each connection."""
    counted = looks[SETTLED:]
    return linear_regression([one.connections for one in counted], [one.resident for one in counted]).slope


def leaked(looks: Sequence[Look]) -> str:
    """Describe what grows with the number of connections; empty if nothing does."""
    if len(found := {look.descriptors for look in looks}) > 1:
        return f"expected as many descriptors at every look, found {sorted(found)}"
    made = looks[-1].connections - looks[SETTLED].connections
    if slope(looks) * made > max(SLOPE * made, NOISE):
        return f"expected at most {SLOPE} bytes for each connection, found {slope(looks):.1f}"
    return ""


def _connect(server: Server, number: int) -> None:
    """Make one connection, from the first byte to the end."""
    source = f"127.0.1.{1 + number % SOURCES}", 0
    with socket.create_connection((HOST, server.port), PATIENCE, source) as client:
        _ask(client)
        if number % 3 == 0:
            client.shutdown(socket.SHUT_WR)
            client.recv(1)
        elif number % 3 == 1:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)


def _look(server: Server, number: int) -> Look:
    """Read the daemon's resources once it has closed every earlier connection."""
    with socket.create_connection((HOST, server.port), PATIENCE) as client:
        for _ in range(TURNS):
            _ask(client)
        rollup = Path(f"/proc/{server.pid}/smaps_rollup").read_text()
        (kilobytes,) = (int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:"))
        return Look(number, len(os.listdir(f"/proc/{server.pid}/fd")), kilobytes * 1024)


def _ask(client: socket.socket) -> None:
    client.send(b"?")
    if (answer := client.recv(1)) != b"?":
        raise MeasureError(f"expected the byte that was sent, found {answer!r}")


@click.command()
@click.argument("connections", type=click.IntRange(min=10 * LOOKS), default=MANY)
def main(connections: int) -> None:
    """Open and close CONNECTIONS (100,000 by default), and check that nothing leaks."""
    try:
        looks = churn(connections)
    except (MeasureError, OSError) as error:
        raise click.ClickException(str(error)) from None
    for look in looks:
        memory = look.resident / 1e6
        click.echo(f"{look.connections:>9,} connections {look.descriptors:>4} descriptors {memory:>8.2f} MB")
    click.echo(f"{slope(looks):.2f} bytes a connection after {looks[SETTLED].connections:,}; {description()}")
    if fault := leaked(looks):
        raise click.ClickException(fault)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.churn")
