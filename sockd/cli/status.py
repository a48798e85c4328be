"""`sockd status`: show the state of every service."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

import click

from sockd.cli.daemon import Daemon, of_daemon
from sockd.cli.tables import Row, counted, places, show, size, span, table
from sockd.telemetry.snapshot import ListenerRow, OwnPortRow, ServiceRow, Snapshot, WorkerRow
from sockd.text import printable


@click.command()
@of_daemon()
@click.option("-v", "--verbose", is_flag=True, help="Also list the listeners, and why peers were refused.")
def status(daemon: Daemon, verbose: bool) -> None:
    """Show every service of the running daemon: its state, connections, errors and traffic.

    \b
    CONNECTIONS  open now, and the limit
    REFUSED      connections refused by a limit or by the plugin
    DATAGRAMS    delivered to the plugin
    DROPPED      datagrams that were not delivered or not answered
    FAULTS       errors in the plugin's own code; the log has them
    IN, OUT      bytes
    """  # noqa: D301  # click keeps the lines after a real backspace as they are
    snapshot: Snapshot = daemon.ask("status")
    if daemon.as_json:
        daemon.tell(snapshot, "")
    else:
        _show(snapshot, verbose=verbose)


def _show(snapshot: Snapshot, *, verbose: bool) -> None:
    rows = snapshot["services"]
    parts = [[printable(headline(snapshot)), *_broker(snapshot)]]
    parts += [_workers(snapshot.get("workers") or ()), _services(rows)]
    if snapshot.get("workers"):
        alone = [each["name"] for each in rows if each.get("alone")]
        parts.append([printable(f"{name}: one worker serves all of it") for name in alone])
    own = snapshot.get("own_ports") or ()
    parts.append([printable(line) for each in own for line in _lost(each["name"], [each])])
    parts.append([printable(line) for each in rows for line in _lost(each["name"], each["listeners"])])
    if verbose:
        parts += [_listeners(rows), [printable(line) for service in rows for line in _reasons(service)]]
    show(*parts)


def _broker(snapshot: Snapshot) -> list[str]:
    """Describe the broker, if there is one."""
    row = snapshot.get("broker")
    if row is None:
        return []
    where = row["server"] if row["state"] == "connected" else row["reason"]
    return [printable(f"broker {row['state']}: {where}")]


def headline(snapshot: Snapshot) -> str:
    """Describe the daemon as a whole, in one line."""
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
    if snapshot.get("config_ok") is False:
        parts.append("the configuration read last is not served")
    return ", ".join(part for part in parts if part)


def color_of(state: str) -> str | None:
    """Return the colour of a state; None for a usual one."""
    return None if state in ("open", "ready") else "yellow" if state in ("paused", "draining") else "red"


def _services(services: Sequence[ServiceRow]) -> list[str]:
    head = (
        "SERVICE",
        "PLUGIN",
        "STATE",
        "CONNECTIONS",
        "REFUSED",
        "DATAGRAMS",
        "DROPPED",
        "FAULTS",
        "IN",
        "OUT",
    )
    rows = []
    for each in services:
        faults = counted(each, "plugin fault")
        cells = (
            each["name"],
            each["plugin"],
            each["state"],
            places(each["connections"], each["limits"].get("max_connections")),
            counted(each, "connection refused"),
            each.get("datagrams_received", 0),
            counted(each, "datagram dropped"),
            faults,
            size(each["received"]),
            size(each["sent"]),
        )
        rows.append(Row(cells, "red" if faults else color_of(each["state"])))
    return table(head, rows, "   rrrrrrr")


def _workers(workers: Sequence[WorkerRow]) -> list[str]:
    head = ("WORKER", "PID", "GENERATION", "STATE", "CONNECTIONS", "DELAY")
    rows = []
    for each in workers:
        connections = sum(service["connections"] for service in each.get("services", ()))
        delay = f"{each.get('reactor_delay') or 0:.3f}s"
        cells = (each["worker"], each["pid"], each["generation"], each["state"], connections, delay)
        rows.append(Row(cells, color_of(each["state"])))
    return table(head, rows, "rrr rr") if rows else []


def _listeners(services: Sequence[ServiceRow]) -> list[str]:
    head = ("SERVICE", "LISTENER", "PROTOCOL", "TLS", "QUEUE", "DROPS")
    rows = [
        Row(
            (
                service["name"],
                each["address"],
                each["protocol"],
                _certificate(each),
                f"{each['queue']}/{each['backlog']}" if each.get("queue") is not None else "-",
                "-" if each.get("drops") is None else each["drops"],
            )
        )
        for service in services
        for each in service["listeners"]
    ]
    return table(head, rows, "    rr")


def _certificate(listener: ListenerRow) -> str:
    if not listener["tls"]:
        return "-"
    expires = listener.get("certificate_expires")
    if expires is None:
        return "yes"
    left = expires - time.time()
    return f"expires in {span(left)}" if left > 0 else f"expired {span(-left)} ago"


def _lost(name: str, ports: Iterable[OwnPortRow | ListenerRow]) -> Iterator[str]:
    """Describe each UNIX socket that no client reaches."""
    for each in ports:
        if each.get("lost"):
            yield (
                f"{name}: {each['address']} has lost its path, no client can connect:"
                " `sockd reload` makes it again"
            )


def _reasons(service: ServiceRow) -> Iterator[str]:
    """Describe each refusal, drop and fault of a service by its reason."""
    for event, reason, number in sorted(service["counts"]):
        if event in ("connection refused", "datagram dropped", "plugin fault"):
            yield f"{service['name']}: {event}: {reason or 'no reason'}: {number}"
