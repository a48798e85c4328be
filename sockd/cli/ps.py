"""`sockd ps`: list the open connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from sockd.cli.daemon import Daemon, of_daemon
from sockd.cli.tables import columns, size, span
from sockd.control.words import unknown_service
from sockd.telemetry.snapshot import ConnectionRow

_SORTS: Mapping[str, tuple[Callable[[ConnectionRow], Any], bool]] = {
    "age": (lambda row: row["age"], True),
    "idle": (lambda row: row["idle"], True),
    "received": (lambda row: row["received"], True),
    "sent": (lambda row: row["sent"], True),
    "peer": (lambda row: row["peer"], False),
    "service": (lambda row: (row["service"], -row["age"]), False),
    "state": (lambda row: row["state"], False),
}
"""Sort key of each choice, and whether the largest comes first."""


@click.command()
@of_daemon()
@click.argument("service", required=False)
@click.option("-s", "--service", "named", metavar="NAME", help="The same as SERVICE.")
@click.option(
    "--sort", type=click.Choice(list(_SORTS)), default="age", show_default=True, help="Column to sort by."
)
def ps(daemon: Daemon, service: str | None, named: str | None, sort: str) -> None:
    """List the open connections, of SERVICE or of all. `sockd kick ID` aborts one.

    \b
    STATE  open
           closing  its last output is being sent
           held     throttled by bytes_per_second for now
           unread   the peer does not read its output
           paused   the plugin has paused reading
    """  # noqa: D301  # click keeps the lines after a real backspace as they are
    if service and named and service != named:
        raise click.UsageError(f"expected one service, found {service} and {named}")
    service = service or named
    rows: list[ConnectionRow] = daemon.ask("ps")
    if service is not None:
        rows = [row for row in rows if row["service"] == service] or _none_of(daemon, service)
    key, largest_first = _SORTS[sort]
    rows = sorted(rows, key=key, reverse=largest_first)
    daemon.tell(rows, columns(_HEAD, map(_cells, rows), right="   rrrr"))


_HEAD = ("ID", "PEER", "LISTENER", "AGE", "IDLE", "IN", "OUT", "STATE")


def _cells(row: ConnectionRow) -> tuple[object, ...]:
    moved = (size(row["received"]), size(row["sent"]))
    return row["id"], row["peer"], row["listener"], span(row["age"]), span(row["idle"]), *moved, row["state"]


def _none_of(daemon: Daemon, service: str) -> list[ConnectionRow]:
    """Return no rows if the service exists; else end with the daemon's own answer for an unknown service."""
    known = [each["name"] for each in daemon.ask("status")["services"]]
    if service not in known:
        daemon.end(unknown_service(service, known))
    return []
