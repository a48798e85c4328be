"""Request and answer of the control socket, as lines."""

from __future__ import annotations

import json
from collections.abc import Awaitable
from typing import Any

from twisted.logger import Logger

from sockd.control.operator import Operator
from sockd.control.words import Code, Refused, arguments
from sockd.telemetry.catalogue import CONTROL_FAULT
from sockd.text import printable

LONGEST_REQUEST = 64 * 1024
"""Bytes. The longest sensible one is a limit with many networks."""

_log = Logger(namespace="sockd.control")


async def answer(operator: Operator, request: bytes) -> bytes:
    """Return the line that answers a request, without its end; there is one even after a fault."""
    return await line_of(_result(operator, request))


async def line_of(result: Awaitable[Any]) -> bytes:
    """Return the line with the result of a command; there is one even after a fault."""
    try:
        return _line({"ok": True, "result": await result})
    except Refused as error:
        return refusal(str(error), error.result, error.code)
    except Exception as error:  # a fault of the operator must not cost the way to ask what is wrong
        CONTROL_FAULT.write_failure(_log)
        text = f"a fault of the daemon, told in its log: {type(error).__name__}: {error}"
        return refusal(text, code=Code.FAULT)


def refusal(reason: str, result: Any = None, code: str = "") -> bytes:
    """Return the line that refuses a command, without its end.

    Args:
        reason: why, for a person.
        result: more to tell, as JSON has it.
        code: one of `words.Code`; empty for none.
    """
    more = {"code": code} if code else {}
    more |= {} if result is None else {"result": result}
    return _line({"ok": False, "error": printable(reason), **more})


def command_of(request: str) -> str:
    """Return the command of a request that has been understood before."""
    return str(json.loads(request)["command"])


async def _result(operator: Operator, request: bytes) -> Any:
    try:
        given = json.loads(request)
    except (ValueError, RecursionError):  # no UTF-8, no JSON, thousands of brackets
        given = None
    if not isinstance(given, dict) or not isinstance(command := given.pop("command", None), str):
        text = 'expected a JSON object with a "command" on one line, found something else'
        raise Refused(text, code=Code.INVALID_REQUEST)
    values = arguments(command, given)
    if command == "ping":
        return "pong"
    return await getattr(operator, command)(**values)


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
