"""`sockd files`: tokens, users and running uploads of a file receiver. It needs no running daemon."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from typing_extensions import override

from sockd.cli.configured import Service, of_service_with
from sockd.cli.tables import columns, size
from sockd.errors import ValueFault


class _Written(click.ParamType[Any]):
    """Type of a value that is written as in the configuration."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._read(value) if isinstance(value, str) else value
        except ValueFault as fault:
            meant = f"; did you mean {fault.nearest}?" if fault.nearest else ""
            self.fail(f"{fault}{meant}", param, ctx)


def _read_size(text: str) -> int:
    from sockd.config.written import read_size

    return read_size(text)


def _read_duration(text: str) -> float:
    from sockd.config.written import read_duration

    return read_duration(text)


@click.group()
def files() -> None:
    """Invite senders to a file receiver, and see its tokens and uploads.

    The commands work on the service's files, whether or not its daemon runs. Be root or the daemon's user.
    SERVICE may be left out if the configuration has one service that receives files.
    """


@files.command()
@of_service_with("invite")
@click.option("--max", "max_size", type=_Written("SIZE", _read_size), help="Bytes in all, such as 5GiB.")
@click.option("--files", "max_files", type=click.IntRange(min=1), help="Files in all.")
@click.option("--once", is_flag=True, help="One file; the same as --files 1.")
@click.option(
    "--for",
    "seconds",
    type=_Written("TIME", _read_duration),
    default="7d",
    show_default=True,
    help="Time until it expires, such as 2d or 12h.",
)
@click.option("--folder", default="", help="Folder for what is sent, within the service's directory.")
@click.option("--note", default="", help="Note for `sockd files tokens`, such as a name.")
@click.option("--qr/--no-qr", default=None, help="Print the link as a QR code; by default on a terminal.")
def invite(
    service: Service,
    max_size: int | None,
    max_files: int | None,
    once: bool,
    seconds: float,
    folder: str,
    note: str,
    qr: bool | None,
) -> None:
    """Make a token with which anyone may send files, and print how.

    \b
        sockd files invite --max 5GiB --for 2d --once
        sockd files invite --folder from-ann --note Ann

    The token is shown only now: only its hash is stored. `sockd files end ID` ends it.
    """  # noqa: D301  # click keeps the lines after a real backspace as they are
    if once and max_files not in (None, 1):
        raise click.UsageError("expected --once or --files, found both")
    result = service.do(
        "invite",
        max_size=max_size,
        max_files=1 if once else max_files,
        seconds=seconds,
        folder=folder,
        note=note,
    )
    link = next((way["text"] for way in result["ways"] if way["name"] == "link"), None)
    shown = (sys.stdout.isatty() if qr is None else qr) and not service.as_json
    parts = [
        f"token {result['id']}: {_bounds(result)}, until {_date(result['until'])}",
        *([_qr_code(link)] if link and shown else []),
        "\n".join(f"{way['name']:<6} {way['text']}" for way in result["ways"]),
        *(result["notes"]),
    ]
    service.tell(result, "\n\n".join(part for part in parts if part))


@files.command()
@of_service_with("tokens")
@click.option("--all", "also_ended", is_flag=True, help="Also tokens that are at their end.")
def tokens(service: Service, also_ended: bool) -> None:
    """List the tokens, and how much of each is used."""
    rows = [row for row in service.do("tokens") if also_ended or row["state"] == "open"]
    head = ("ID", "STATE", "FILES", "BYTES", "UNTIL", "FOLDER", "NOTE")
    service.tell(rows, columns(head, map(_token_cells, rows), right="  rr"))


@files.command()
@of_service_with("users")
def users(service: Service) -> None:
    """List the users, with what the folder of each holds and may hold."""
    rows = service.do("users")
    head = ("NAME", "PASSWORDS", "KEYS", "FILES", "BYTES")
    service.tell(rows, columns(head, map(_user_cells, rows), right=" rrrr"))


@files.command()
@of_service_with("notices")
def notices(service: Service) -> None:
    """List the notices of received files that were not taken yet: by a program, a web server or a bucket.

    The log has the reason of each attempt that has failed: `received file not told`.
    """
    rows = service.do("notices")
    head = ("ID", "FILE", "RECIPIENT", "FAILED", "RECEIVED", "NEXT")
    service.tell(rows, columns(head, map(_notice_cells, rows), right="   r"))


@files.command()
@of_service_with("uploads")
def uploads(service: Service) -> None:
    """List the uploads that run, or that wait for their sender to go on."""
    rows = service.do("uploads")
    head = ("ID", "NAME", "RECEIVED", "SIZE", "SENDER", "STATE", "EXPIRES")
    service.tell(rows, columns(head, map(_upload_cells, rows), right="  rr"))


@files.command()
@of_service_with("end", as_option=True)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def end(service: Service, ids: Sequence[str]) -> None:
    """End each token or upload ID at once.

    A token that has ended is refused, also for uploads that run. An upload that has ended is removed.
    """
    ended = [service.do("end", id=id) for id in ids]  # noqa: A001  # name of the argument in the command
    service.tell(ended, "\n".join(f"ended {each['kind']} {each['id']}" for each in ended))


@files.command()
@of_service_with("key")
def key(service: Service) -> None:
    """Print the public key with which receipts are signed, in PEM, for `sockd verify --key FILE`."""
    result = service.do("key")
    service.tell(result, result["pem"].rstrip("\n"))


_LIGHT_ON_DARK = "\x1b[97;40m"  # a block of the code is light, a gap dark


def _qr_code(link: str) -> str:
    """Return a QR code for a terminal: half blocks, dark on light whatever its colours are.

    Not every scanner reads light on dark. Where the output is no terminal, click leaves the colours out.
    """
    import segno

    text = io.StringIO()
    segno.make(link, micro=False).terminal(text, border=2, compact=True)
    return "\n".join(f"{_LIGHT_ON_DARK}{line}\x1b[0m" for line in text.getvalue().splitlines())


def _bounds(token: Any) -> str:
    """Describe how much a token allows."""
    number = token["max_files"]
    files = "any number of files" if number is None else f"{number} file{'s' * (number != 1)}"
    return files if token["max_size"] is None else f"{files}, {_bytes(token['max_size'])}"


def _bytes(count: int) -> str:
    return f"{size(count)} bytes" if count < 1000 else f"{size(count)}iB"


def _date(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _used(row: Any) -> tuple[str, str]:
    """Return files and bytes, each with its bound if it has one."""
    number = str(row["files"]) if row["max_files"] is None else f"{row['files']}/{row['max_files']}"
    moved = size(row["size"]) if row["max_size"] is None else f"{size(row['size'])}/{size(row['max_size'])}"
    return number, moved


def _user_cells(row: Any) -> tuple[object, ...]:
    return row["name"], row["passwords"], row["keys"], *_used(row)


def _notice_cells(row: Any) -> tuple[object, ...]:
    told = row["id"], row["file"], row["recipient"], row["attempts"]
    return *told, _date(row["received"]), _date(row["due"])


def _token_cells(row: Any) -> tuple[object, ...]:
    return (
        row["id"],
        row["state"],
        *_used(row),
        _date(row["until"]),
        row["folder"] or "-",
        row["note"] or "-",
    )


def _upload_cells(row: Any) -> tuple[object, ...]:
    announced = "-" if row["size"] is None else size(row["size"])
    state = "running" if row["busy"] else "waiting"
    received = size(row["received"])
    return row["id"], row["name"], received, announced, row["sender"], state, _date(row["expires"])
