"""`sockd top`: show what happens in each service, again and again."""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, cast

import click

from sockd.cli.daemon import Daemon, of_daemon
from sockd.cli.status import color_of, headline
from sockd.cli.tables import Row, counted, places, show, size, table
from sockd.control.client import Unreachable
from sockd.control.words import Refused
from sockd.telemetry.snapshot import ServiceRow, Snapshot
from sockd.text import printable

_HOME, _REST_OF_LINE, _BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
"""Commands to a terminal: go to the first place, clear to the end of the line, clear what is below."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Events of a service per second, between two snapshots."""

    service: str
    state: str
    connections: int
    max_connections: int | None
    opened: float
    refused: float
    datagrams: float
    faults: float
    received: float
    sent: float


@click.command()
@of_daemon()
@click.option("--once", is_flag=True, help="Print one table and end, as without a terminal.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds between two tables.",
)
def top(daemon: Daemon, once: bool, every: float) -> None:
    """Show what happens each second in every service, the busiest first. q or Ctrl-C ends.

    With --json or --once, one table is printed.
    """
    before, began = daemon.ask("status"), time.monotonic()
    if not once and not daemon.as_json and sys.stdout.isatty() and sys.stdin.isatty():
        _watch(daemon, every, before, began)
        return
    time.sleep(every)
    after = daemon.ask("status")
    rows = rates(before, after, time.monotonic() - began)
    if daemon.as_json:
        daemon.tell([asdict(row) for row in rows], "")
    else:
        show(_screen(headline(after), rows))


def rates(before: Snapshot, after: Snapshot, seconds: float) -> list[Rates]:
    """Compute the rates between two snapshots, the busiest service first.

    A count that has become smaller has begun again at 0, because a worker or the daemon was replaced.
    """
    earlier = {service["name"]: service for service in before["services"]}

    def rate(now: float, then: float) -> float:
        return round((now - then if now >= then else now) / seconds, 3)

    def of_service(service: ServiceRow) -> Rates:
        then: Any = earlier.get(service["name"], {"counts": ()})
        events = ("opened", "connection refused", "plugin fault")
        opened, refused, faults = (rate(counted(service, e), counted(then, e)) for e in events)
        datagrams, received, sent = (
            rate(cast("float", service.get(way, 0)), then.get(way, 0))
            for way in ("datagrams_received", "received", "sent")
        )
        taken, most = service["connections"], service["limits"].get("max_connections")
        return Rates(
            service["name"], service["state"], taken, most, opened, refused, datagrams, faults, received, sent
        )

    return sorted(map(of_service, after["services"]), key=lambda row: -(row.received + row.sent + row.opened))


def _screen(title: str, rows: Sequence[Rates], width: int | None = None) -> list[str]:
    head = (
        "SERVICE",
        "STATE",
        "CONNECTIONS",
        "NEW/s",
        "REFUSED/s",
        "DATAGRAMS/s",
        "FAULTS/s",
        "IN/s",
        "OUT/s",
    )
    shown = [
        Row(
            (
                row.service,
                row.state,
                places(row.connections, row.max_connections),
                *(f"{number:.1f}" for number in (row.opened, row.refused, row.datagrams, row.faults)),
                size(row.received),
                size(row.sent),
            ),
            "red" if row.faults else color_of(row.state),
        )
        for row in rows
    ]
    return [printable(title)[:width], "", *table(head, shown, "  rrrrrrr", width)]


def _watch(daemon: Daemon, every: float, before: Snapshot, began: float) -> None:
    """Show one table after the other until a key ends it; the daemon may go away and come back."""
    rows: list[Rates] = []
    colored = "NO_COLOR" not in os.environ
    with _keys(), _other_screen():
        while not _pressed_q(every):
            try:
                after, now = daemon.try_to_ask("status"), time.monotonic()
            except (Refused, Unreachable) as error:
                title = f"no answer: {error}"
            else:
                rows, title = rates(before, after, now - began), headline(after)
                before, began = after, now
            width, height = shutil.get_terminal_size()
            lines = _screen(f"{title}  (q ends)", rows, width)[: height - 1]
            click.echo(
                _HOME + "".join(f"{line}{_REST_OF_LINE}\n" for line in lines) + _BELOW,
                nl=False,
                color=colored,
            )


@contextmanager
def _other_screen() -> Iterator[None]:
    """Use the terminal's second screen, and show the first one again afterwards."""
    click.echo("\x1b[?1049h\x1b[?25l" + _HOME + _BELOW, nl=False)
    try:
        yield
    finally:
        click.echo("\x1b[?25h\x1b[?1049l", nl=False)


@contextmanager
def _keys() -> Iterator[None]:
    """Read keys without echo as they are pressed; Ctrl-C ends without a message."""
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    usual = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, usual)


def _pressed_q(seconds: float) -> bool:
    """Wait for `seconds`; return whether q was pressed meanwhile."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0] and os.read(sys.stdin.fileno(), 1) in (
            b"q",
            b"Q",
            b"",
        ):
            return True
    return False
