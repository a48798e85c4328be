"""`sockd status`: how every service is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from sockd.cli.daemon import Daemon, of_daemon
from sockd.cli.shown import counted, places, size, span
from sockd.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 1000
"""Columns where there is no terminal: nothing is cut."""

_STYLES = {"open": "green", "ready": "green", "paused": "yellow", "draining": "yellow"}


@click.command()
@of_daemon()
@click.option("-v", "--verbose", is_flag=True, help="Also list the listeners, and why peers were refused.")
def status(daemon: Daemon, verbose: bool) -> None:
    """Show every service of the running daemon: its state, its connections, what went wrong, its traffic.

    \b
    CONNECTIONS  open now, and how many may be
    REFUSED      connections that were turned away, by a limit or by the plugin
    DROPPED      datagrams that were not delivered or not answered
    FAULTS       errors in the plugin's own code; the log has them
    """  # noqa: D301  # click keeps the lines after a real backspace as they are
    snapshot = daemon.ask("status")
    if daemon.as_json:
        daemon.tell(snapshot, "")
    else:
        _show(snapshot, verbose=verbose)


def _show(snapshot: Mapping[str, Any], *, verbose: bool) -> None:
    console = terminal()
    console.print(printable(headline(snapshot)), markup=False)
    if snapshot.get("workers"):
        console.print(_workers(snapshot["workers"]))
    console.print(services(snapshot["services"]))
    if verbose:
        console.print(_listeners(snapshot["services"]))
        for service in snapshot["services"]:
            for line in _reasons(service):
                console.print(printable(line), markup=False)


def terminal() -> Console:
    """Where tables are printed."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def headline(snapshot: Mapping[str, Any]) -> str:
    """The daemon as a whole, in one line."""
    descriptors = snapshot.get("descriptors") or {}
    parts = [
        f"sockd {snapshot['version']} {snapshot['state']}",
        f"pid {snapshot['pid']}",
        f"up {span(max(0, time.time() - snapshot['started']))}",
        str(snapshot.get("reactor", "")),
        f"delay {snapshot.get('reactor_delay') or 0:.3f}s",
    ]
    if descriptors:
        parts.append(f"descriptors {descriptors['used']}/{descriptors['limit']}")
    return ", ".join(part for part in parts if part)


def table(*head: str) -> Table:
    """An empty table; a head that begins with a blank is that of a column of numbers."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for word in head:
        made.add_column(
            word.strip(),
            justify="right" if word.startswith(" ") else "left",
            no_wrap=True,
            header_style="dim",
        )
    return made


def add_row(to: Table, *cells: object, style: str = "") -> None:
    """Add a row of texts, which nothing in them can colour or break."""
    from rich.text import Text

    to.add_row(*(Text(printable(str(cell))) for cell in cells), style=style)


def services(rows: list[Mapping[str, Any]]) -> Table:
    """A line for each service."""
    head = ("SERVICE", "PLUGIN", "STATE", " CONNECTIONS", " REFUSED", " DROPPED", " FAULTS", " IN", " OUT")
    shown = table(*head)
    for each in rows:
        faults = counted(each, "plugin fault")
        add_row(
            shown,
            each["name"],
            each["plugin"],
            each["state"],
            places(each["connections"], each["limits"].get("max_connections")),
            counted(each, "connection refused"),
            counted(each, "datagram dropped"),
            faults,
            size(each["received"]),
            size(each["sent"]),
            style="red" if faults else _STYLES.get(each["state"], "").replace("green", ""),
        )
    return shown


def _workers(rows: list[Mapping[str, Any]]) -> Table:
    shown = table(" WORKER", " PID", " GENERATION", "STATE", " CONNECTIONS", " DELAY")
    for each in rows:
        connections = sum(service["connections"] for service in each.get("services", ()))
        delay = f"{each.get('reactor_delay') or 0:.3f}s"
        add_row(
            shown, each["worker"], each["pid"], each["generation"], each["state"], connections, delay,
            style=_STYLES.get(each["state"], "red").replace("green", ""),
        )  # fmt: skip
    return shown


def _listeners(rows: list[Mapping[str, Any]]) -> Table:
    shown = table("SERVICE", "LISTENER", "PROTOCOL", "TLS", " QUEUE", " DROPS")
    for service in rows:
        for each in service["listeners"]:
            add_row(
                shown,
                service["name"],
                each["address"],
                each["protocol"],
                _certificate(each),
                f"{each['queue']}/{each['backlog']}" if each.get("queue") is not None else "-",
                "-" if each.get("drops") is None else each["drops"],
            )
    return shown


def _certificate(listener: Mapping[str, Any]) -> str:
    if not listener["tls"]:
        return "-"
    expires = listener.get("certificate_expires")
    if expires is None:
        return "yes"
    left = expires - time.time()
    return f"expires in {span(left)}" if left > 0 else f"expired {span(-left)} ago"


def _reasons(service: Mapping[str, Any]) -> Iterator[str]:
    """What went wrong in a service, by its reason."""
    for event, reason, number in sorted(service["counts"]):
        if event in ("connection refused", "datagram dropped", "plugin fault"):
            yield f"{service['name']}: {event}: {reason or 'no reason'}: {number}"
