"""`sockd top`: what is going on, as it goes on."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from sockd.cli.daemon import Daemon, of_daemon
from sockd.cli.shown import counted, places, size
from sockd.cli.status import add_row, headline, table, terminal
from sockd.control.client import Unreachable
from sockd.control.words import Refused
from sockd.text import printable

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True, slots=True)
class Pace:
    """What happened in a service, for each second between two snapshots."""

    service: str
    state: str
    connections: int
    max_connections: int | None
    opened: float
    refused: float
    faults: float
    received: float
    sent: float


@click.command()
@of_daemon()
@click.option("--once", is_flag=True, help="Print one table and end; so it is where there is no terminal.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to count for each table.",
)
def top(daemon: Daemon, once: bool, every: float) -> None:
    """Show what happens each second in every service, the busiest first. q or Ctrl-C ends.

    With --json, or --once, it counts once and ends.
    """
    before, began = daemon.ask("status"), time.monotonic()
    if not once and not daemon.as_json and sys.stdout.isatty() and sys.stdin.isatty():
        _watch(daemon, every, before, began)
        return
    time.sleep(every)
    after = daemon.ask("status")
    rows = paces(before, after, time.monotonic() - began)
    if daemon.as_json:
        daemon.tell([asdict(row) for row in rows], "")
    else:
        terminal().print(_screen(headline(after), rows))


def paces(before: Mapping[str, Any], after: Mapping[str, Any], seconds: float) -> list[Pace]:
    """What happened between two snapshots, the busiest service first.

    A count that has become smaller began anew, as it does when a worker or the daemon was replaced.
    """
    earlier = {service["name"]: service for service in before["services"]}

    def rate(now: float, then: float) -> float:
        return round((now - then if now >= then else now) / seconds, 3)

    def pace(service: Mapping[str, Any]) -> Pace:
        then = earlier.get(service["name"], {"counts": (), "received": 0, "sent": 0})
        events = ("opened", "connection refused", "plugin fault")
        opened, refused, faults = (rate(counted(service, e), counted(then, e)) for e in events)
        moved = (rate(service[way], then[way]) for way in ("received", "sent"))
        taken, most = service["connections"], service["limits"].get("max_connections")
        return Pace(service["name"], service["state"], taken, most, opened, refused, faults, *moved)

    return sorted(map(pace, after["services"]), key=lambda row: -(row.received + row.sent + row.opened))


def _screen(title: str, rows: Sequence[Pace]) -> Group:
    from rich.console import Group
    from rich.text import Text

    head = ("SERVICE", "STATE", " CONNECTIONS", " NEW/s", " REFUSED/s", " FAULTS/s", " IN/s", " OUT/s")
    shown = table(*head)
    for row in rows:
        events = (f"{number:.1f}" for number in (row.opened, row.refused, row.faults))
        moved = (size(row.received), size(row.sent))
        taken = places(row.connections, row.max_connections)
        cells = (row.service, row.state, taken, *events, *moved)
        add_row(shown, *cells, style="red" if row.faults else "")
    return Group(Text(printable(title)), shown)


def _watch(daemon: Daemon, every: float, before: Mapping[str, Any], began: float) -> None:
    """Show one table after the other, until a key ends it; a daemon that is away may come back."""
    from rich.live import Live

    rows: list[Pace] = []
    with _keys(), Live(screen=True, auto_refresh=False) as live:
        while not _pressed_q(every):
            try:
                after, now = daemon.try_to_ask("status"), time.monotonic()
            except (Refused, Unreachable) as error:
                title = f"no answer: {error}"
            else:
                rows, title = paces(before, after, now - began), headline(after)
                before, began = after, now
            live.update(_screen(f"{title}  (q ends)", rows), refresh=True)


@contextmanager
def _keys() -> Iterator[None]:
    """Get keys as they are pressed, without their being shown; Ctrl-C ends quietly."""
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
    """Wait for so long, unless a key ends it."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0] and os.read(sys.stdin.fileno(), 1) in (
            b"q",
            b"Q",
            b"",
        ):
            return True
    return False
