"""The end that gives orders: a plain blocking socket. No Twisted here, so that a command starts fast."""

from __future__ import annotations

import json
import os
import re
import socket
import time
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from sockd.control.words import Refused
from sockd.reading import Unreadable, absolute, read_text
from sockd.sockets.credentials import peer_user
from sockd.text import describe_os_error, printable

LONGEST_ANSWER = 2**28
"""Bytes: a million connections, as `ps` has them. What sends more is no sockd."""

_LARGEST_READ = 2**18

_PLAIN = re.compile(r"unix:([\w./-]+)", re.ASCII)


class Unreachable(Exception):
    """No daemon answers. The text gives the reason and what to do."""


def ask(path: Path, command: str, timeout: float, **arguments: Any) -> Any:
    """Send a command, and return its result.

    Args:
        path: the control socket.
        command: one of `operator.COMMANDS`.
        timeout: seconds until the whole answer must be there.
        arguments: the command's.

    Raises:
        Refused: the daemon refuses it.
        Unreachable: there is no answer.
    """
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(timeout)
            sock.connect(os.fspath(path))
            _check_server(path, sock)
            line = _exchange(sock, json.dumps({"command": command, **arguments}).encode() + b"\n", timeout)
    except (FileNotFoundError, ConnectionRefusedError):
        raise Unreachable(_nobody(path)) from None
    except PermissionError:
        raise Unreachable(f"no permission for {path}: be root or the daemon's user") from None
    except TimeoutError:
        raise Unreachable(f"no answer from {path} within {timeout:g} seconds") from None
    except OSError as error:
        raise Unreachable(f"cannot speak with {path}: {describe_os_error(error)}") from None
    return _result(path, line)


def _nobody(path: Path) -> str:
    """Return why there is no answer at a path that is missing or left behind."""
    from sockd.sockets.holder import listener_at

    pid = listener_at(path)
    if pid is None:
        return f"nobody listens at {path}: is the daemon running?"
    remedy = f"`kill -HUP {pid}`" if pid else "SIGHUP to the daemon"
    return f"the control socket {path} was removed or replaced while the daemon runs: {remedy} makes it anew"


def _check_server(path: Path, sock: socket.socket) -> None:
    """Make sure that no other user has put a socket there.

    Raises:
        Unreachable: the server is neither root, nor the user who asks, nor the owner of the folder.
    """
    user = peer_user(sock)
    if user not in (0, os.geteuid(), path.parent.stat().st_uid):
        from sockd.sockets.holder import user_name

        raise Unreachable(
            f"{user_name(user)} answers at {path}, who is neither root, nor you, nor the owner of its folder"
        )


def _exchange(sock: socket.socket, request: bytes, timeout: float) -> bytes:
    """Send a request, and return the line that answers it."""
    until = time.monotonic() + timeout
    with suppress(BrokenPipeError, ConnectionResetError):  # closed already; why is in what it has sent
        sock.sendall(request)
    parts, size = [], 0
    while size <= LONGEST_ANSWER:
        sock.settimeout(max(0.001, until - time.monotonic()))
        try:
            part = sock.recv(_LARGEST_READ)
        except ConnectionResetError:
            part = b""
        parts.append(part)
        size += len(part)
        if not part or part.endswith(b"\n"):
            break
    return b"".join(parts)


def _result(path: Path, line: bytes) -> Any:
    if not line.endswith(b"\n"):
        raise Unreachable(f"{path} closed the connection without an answer")
    try:
        answer = json.loads(line)
        if answer["ok"] is True:
            return answer["result"]
        reason, result, code = str(answer["error"]), answer.get("result"), str(answer.get("code", ""))
    except (ValueError, RecursionError, KeyError, TypeError):
        raise Unreachable(f"what answers at {path} is no sockd") from None
    raise Refused(printable(reason), result, code=code)


def configured(path: Path) -> Path:
    """Return the control socket that a configuration file names, whatever else is wrong in that file.

    Raises:
        ConfigError: the file cannot be read, or its [control] table is faulty.
        Unreachable: it names none.
    """
    if plain := _plainly_configured(path):
        return plain
    from dataclasses import replace

    from sockd.config import Control
    from sockd.config.document import Faults, read
    from sockd.config.outside import expand
    from sockd.config.validate import validate

    document, faults = read(path), Faults()
    table = {key: value for key, value in document.data.items() if key == "control"}
    control = validate(
        Control, expand(replace(document, data=table), os.environ, faults), ("control",), faults
    )
    if control is None or faults:
        raise faults.error()
    if control.listen is None:
        raise Unreachable(
            f'{path} has no control socket: add [control] with listen = "unix:run/control.sock"'
        )
    return control.listen.path


def _plainly_configured(path: Path) -> Path | None:
    """Return the control socket of a file that names it in the plainest way, without a check of the rest.

    Whoever asks a daemon how it is waits for the answer, and for the checks of a configuration first of all.
    """
    try:
        table = tomllib.loads(read_text(path))["control"]
        named = _PLAIN.fullmatch(table["listen"]) if list(table) == ["listen"] else None
    except (Unreadable, ValueError, KeyError, TypeError, RecursionError):
        return None
    return absolute(path).parent / named[1] if named else None
