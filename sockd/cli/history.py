"""`sockd history`: the stored messages of a chat. It needs no running daemon."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from sockd.cli.configured import Service, of_service_with
from sockd.text import printable

_of_service = of_service_with("redact", as_option=True, work=("stores", "messages"))


@click.group()
def history() -> None:
    """Search the stored messages of a chat, export a person's, and remove some for good.

    The commands work on the service's files, whether or not its daemon runs. Be root or the daemon's user.
    """


@history.command()
@_of_service
@click.argument("words", nargs=-1, required=True)
@click.option("-r", "--room", default="", help="Only in this room.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Messages."
)
def search(service: Service, words: tuple[str, ...], room: str, limit: int) -> None:
    """Find the last messages that have all WORDS, the oldest of them first.

    A word is found at the beginning of words too, in any case and without accents.
    """
    found = service.do("search", words=" ".join(words), room=room, limit=limit)[::-1]
    lines = [f"{_date(it['at'])} {it['room']}/{it['number']} <{it['name']}> {it['text']}" for it in found]
    service.tell(found, "\n".join(map(printable, lines)))


@history.command()
@_of_service
@click.argument("person", metavar="NAME")
def export(service: Service, person: str) -> None:
    """Print all messages of the account NAME, or of people of that name without an account, as JSON lines."""
    for each in service.do("export", name=person):
        click.echo(json.dumps(each, ensure_ascii=False))


@history.command()
@_of_service
@click.argument("room")
@click.argument("number", type=click.IntRange(min=1))
@click.option("--reason", default="", help="Reason, which the people in the room read.")
def redact(service: Service, room: str, number: int, reason: str) -> None:
    """Remove the text of message NUMBER in ROOM for good, from the disk too. The number stays."""
    result = service.do("redact", room=room, number=number, reason=reason)
    service.tell(result, f"removed the text of {printable(room)}/{number}{_rest(result)}")


@history.command()
@_of_service
@click.argument("person", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(service: Service, person: str, yes: bool) -> None:
    """Remove text and name from all messages of the account NAME, or of people of that name without one.

    Texts of others in which the name occurs stay: `sockd history search NAME` finds them.
    """
    if not yes:
        click.confirm(f"Remove all messages of {printable(person)} for good?", abort=True, err=True)
    result = service.do("forget", name=person)
    number = result["messages"]
    service.tell(
        result, f"removed {number} message{'s' * (number != 1)} of {printable(person)}{_rest(result)}"
    )


def _rest(result: Any) -> str:
    return "" if result["clean"] else "; the disk is not clean yet: the daemon is busy, and goes on"


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
