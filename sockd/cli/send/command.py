"""`sockd send`: send files and folders to a service of the plugin `files`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sockd.cli.address import Address, reaching
from sockd.cli.send.delivery import Connection, Delivery
from sockd.cli.send.items import Item, expand
from sockd.cli.send.lane import Lane
from sockd.cli.send.memory import Memory
from sockd.cli.send.progress import showing
from sockd.cli.send.receipts import ReceiptFolder
from sockd.cli.send.report import Report
from sockd.cli.send.run import Run
from sockd.cli.send.service import Service, Wishes
from sockd.cli.send.target import TargetType, WebAddress
from sockd.cli.send.work import Outcome, Work
from sockd.errors import ValueFault

_PARALLEL = 4
"""Connections at a time: while one waits for the server's disk, another one sends."""


def _seconds(_ctx: click.Context, _param: click.Parameter, given: str | None) -> float | None:
    if given is None:
        return None
    from sockd.config.written import read_duration

    try:
        return read_duration(given)
    except ValueFault as fault:
        raise click.BadParameter(str(fault)) from None


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE|FOLDER...")
@reaching(TargetType())
@click.option("--name", help="Name on the server, for one file or folder; required for standard input.")
@click.option("--token", metavar="TOKEN", help="Token that permits it; by default $SOCKD_TOKEN.")
@click.option("--follow", is_flag=True, help="Follow symbolic links in folders, which are skipped otherwise.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=_PARALLEL,
    show_default=True,
    metavar="N",
    help="Connections at a time.",
)
@click.option(
    "--retry",
    metavar="TIME",
    callback=_seconds,
    help="How long to try again without any progress, such as 1h; by default 5m, but not at all"
    " if the service has never answered.",
)
@click.option(
    "--digest",
    type=click.Choice(["blake3", "sha256"]),
    help="Digest that both sides compute; by default BLAKE3 if both have it.",
)
@click.option(
    "--receipts",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write a signed receipt of each file into this folder; --json shows them, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Write an object of JSON for each file, and a summary.")
@click.option("-q", "--quiet", is_flag=True, help="Tell failures only.")
def send(files: tuple[str, ...], address: Address, **options: Any) -> None:
    """Send files and folders to the service at ADDRESS; '-' is standard input.

    ADDRESS may also be a web server, http://HOST/ or https://HOST/: it gets the files by tus, if it speaks
    that, or by PUT.

    An interrupted file is kept on the server. The same command goes on with it.

    Exit code: 0 everything is stored; 1 the server has refused a file; 2 usage; 3 no connection, try again
    later; 4 a file could not be read, or changed meanwhile, or a receipt could not be written; 130
    interrupted.
    """
    if not address.stream:
        raise click.UsageError(f"files go over tcp or unix, not over {address.kind}")
    if options["name"] is not None and len(files) > 1:
        raise click.UsageError("--name is for one file or folder")
    if options["name"] is None and "-" in files:
        raise click.UsageError("standard input needs a --name")
    if isinstance(address, WebAddress) and (options["receipts"] or options["digest"]):
        raise click.UsageError("--receipts and --digest are for the protocol 'upload', not for web servers")
    sys.exit(_deliver(files, address, **options))


def _deliver(
    files: tuple[str, ...],
    address: Address,
    *,
    name: str | None,
    token: str | None,
    follow: bool,
    parallel: int,
    retry: float | None,
    digest: str | None,
    receipts: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Send everything; return the exit code."""
    folder = None if receipts is None else ReceiptFolder(receipts)
    report = Report(str(address), as_json=as_json, quiet=quiet, receipts=folder)
    failed: list[Outcome] = []

    def unreadable(item: Item, why: str) -> None:
        failed.append(Outcome(item, "unreadable", why=why))

    items = expand(files, name, follow, report.skip, unreadable)
    for outcome in failed:
        report.tell(outcome)
    with showing(items, quiet=quiet or as_json) as progress:
        report.ended = progress.ended
        work = Work(items, report.tell)
        wishes = Wishes(token or os.environ.get("SOCKD_TOKEN", ""), digest or "", receipts is not None)
        lane, reached = _way(address, wishes, Run(work, Memory(str(address)), progress.moved))
        delivery = Delivery(lane, reached, work, report.wait, parallel=parallel, retry=retry)
        try:
            delivery.run()
        except KeyboardInterrupt:
            work.abandon("interrupted")
    return report.close()


def _way(
    address: Address, wishes: Wishes, run: Run
) -> tuple[Callable[[bool], Connection], Callable[[], bool]]:
    """Return what makes connections to the service, and what tells whether it has answered."""
    work = run.work
    if isinstance(address, WebAddress):
        from sockd.cli.send.web import Web
        from sockd.cli.send.web_lane import WebLane

        alone, answered = work.waits == 1, threading.Event()

        def connect(_: bool) -> Connection:
            web = Web(address, wishes.token, answered, lambda: work.interrupted)
            return WebLane(web, run, alone=alone)

        return connect, answered.is_set
    service = Service(address, wishes, lambda: work.interrupted)
    return (
        lambda large_first: Lane(service, run, large_first=large_first),
        lambda: service.words is not None,
    )
