"""Commands, arguments and refusals of the control socket, as both ends know them. No Twisted here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from sockd.control.operator import COMMANDS, Argument

UPGRADE_NEEDS_WORKERS = "an upgrade needs workers: set workers above 0 in [daemon], or restart the daemon"
"""Reason: a single process has no other process to hand its sockets to."""


class Code(StrEnum):
    """Kinds of refusals, for programs. The text of a refusal is for people and may change; the code stays."""

    INVALID_REQUEST = "invalid-request"
    UNKNOWN_COMMAND = "unknown-command"
    INVALID_ARGUMENT = "invalid-argument"
    UNKNOWN_SERVICE = "unknown-service"
    UNKNOWN_CONNECTION = "unknown-connection"
    NOT_CHANGED = "not-changed"  # a reload or an upgrade has failed
    NOT_SUPPORTED = "not-supported"  # by a daemon that was started in this way
    INTERRUPTED = "interrupted"  # by another command
    NOT_PERMITTED = "not-permitted"  # to this user
    TOO_MANY_CONNECTIONS = "too-many-connections"
    NO_ANSWER = "no-answer"  # of a worker
    FAULT = "fault"  # of the daemon itself


class Refused(Exception):
    """The daemon refuses a command.

    Args:
        reason: why, in one line for a person.
        result: more to tell, as JSON has it.
        code: one of `Code`; empty from a daemon or a worker of an earlier version, and where none fits.
    """

    def __init__(self, reason: str, result: Any = None, *, code: str = "") -> None:
        super().__init__(reason)
        self.result = result
        self.code = code


_KINDS = {str: "text", bool: "true or false"}


def arguments(command: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a command, complete and of the right kinds.

    Raises:
        Refused: there is no such command, or it takes other arguments.
    """
    known = COMMANDS.get(command)
    if known is None:
        raise Refused(unknown("a command", command, COMMANDS), code=Code.UNKNOWN_COMMAND)
    for name in given:
        if name not in known:
            raise _invalid(f"{command}: {unknown('an argument', name, known)}")
    return {name: _value(f"{command}: {name}", argument, given.get(name)) for name, argument in known.items()}


def _value(place: str, argument: Argument, value: Any) -> Any:
    kind = _KINDS[argument.kind]
    if value is None:
        if argument.required:
            raise _invalid(f"{place}: expected {kind}, found nothing")
        return False if argument.kind is bool else None
    if not isinstance(value, argument.kind):
        raise _invalid(f"{place}: expected {kind}, found {_short(str(value))}")
    if argument.choices and value not in argument.choices:
        raise _invalid(f"{place}: {unknown('a level', str(value), argument.choices)}")
    return value


def _invalid(reason: str) -> Refused:
    return Refused(reason, code=Code.INVALID_ARGUMENT)


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """Return the reason for a word that is not known, with the known one that was probably meant."""
    words = list(known)
    nearest = get_close_matches(word.lower(), words, n=1)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"known here: {', '.join(words) or 'none'}"
    return f"expected {what}, found '{_short(word)}'; {hint}"


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"  # what was sent is known to who sent it


def unknown_service(name: str, known: Iterable[str]) -> Refused:
    """Return the refusal for a service that is not there."""
    return Refused(unknown("a service", name, known), code=Code.UNKNOWN_SERVICE)


def unknown_connection(name: str) -> Refused:
    """Return the refusal for a connection that is not there."""
    text = f"there is no connection '{name[:80]}', or it is gone already; `sockd ps` lists them"
    return Refused(text, code=Code.UNKNOWN_CONNECTION)
