"""What can be asked of a running daemon, in the words that both ends know. No Twisted here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from sockd.control.operator import COMMANDS, Argument

UPGRADE_NEEDS_WORKERS = "an upgrade needs workers: set workers above 0 in [daemon], or restart the daemon"
"""A single process has nobody to hand its connections to."""


class Refused(Exception):
    """The daemon says no, in one line.

    Args:
        reason: the line.
        result: what there is to tell beyond it, as JSON has it.
    """

    def __init__(self, reason: str, result: Any = None) -> None:
        super().__init__(reason)
        self.result = result


_KINDS = {str: "text", bool: "true or false"}


def arguments(command: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a command, complete and of the right kinds.

    Raises:
        Refused: there is no such command, or it takes other arguments.
    """
    known = COMMANDS.get(command)
    if known is None:
        raise Refused(unknown("a command", command, COMMANDS))
    for name in given:
        if name not in known:
            raise Refused(f"{command}: {unknown('an argument', name, known)}")
    return {name: _value(f"{command}: {name}", argument, given.get(name)) for name, argument in known.items()}


def _value(place: str, argument: Argument, value: Any) -> Any:
    kind = _KINDS[argument.kind]
    if value is None:
        if argument.required:
            raise Refused(f"{place}: expected {kind}, found nothing")
        return False if argument.kind is bool else None
    if not isinstance(value, argument.kind):
        raise Refused(f"{place}: expected {kind}, found {_short(str(value))}")
    if argument.choices and value not in argument.choices:
        raise Refused(f"{place}: {unknown('a level', str(value), argument.choices)}")
    return value


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """That a word is none of those that are known, with the one that was probably meant."""
    words = list(known)
    nearest = get_close_matches(word.lower(), words, n=1)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"known here: {', '.join(words) or 'none'}"
    return f"expected {what}, found '{_short(word)}'; {hint}"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"  # what was sent is known to who sent it


def no_connection(name: str) -> str:
    """What to say to somebody who names a connection that is not there."""
    return f"there is no connection '{name[:80]}', or it is gone already; `sockd ps` lists them"
