"""Commands of `sockd files`: they work on the files of a service, beside the daemon that may serve it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sockd.errors import CommandRefused
from sockd.plugin import Command, Configured
from sockd_plugins.files.access.shares import Shares
from sockd_plugins.files.access.tokens import Token, Tokens
from sockd_plugins.files.access.ways import list_ways
from sockd_plugins.files.notices.outbox import Outbox
from sockd_plugins.files.receipt.key import open_key, public_pem
from sockd_plugins.files.storage.folders import measure
from sockd_plugins.files.storage.names import safe_path
from sockd_plugins.files.storage.parts import PARTS, Parts
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Share
from sockd_plugins.files.storage.sweep import sweep
from sockd_plugins.files.storage.unfinished import list_unfinished
from sockd_plugins.users.users import User, Users

_END_SECONDS = 5.0
"""Seconds for a connection of the daemon to leave an upload; an idle one looks every half second."""

_PAUSE = 0.1  # seconds between looks

_KINDS = {8: "token", 16: "upload"}
"""Kind of an id, by its length."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands for one service.

    Attributes:
        configured: the service.
        directory: where it stores files.
        keep_for: seconds for which an upload that can be resumed is kept.
        url: its public address, "" if that is to be derived.
        open_to: the ways by which senders may come in.
        known: the users with passwords and keys.
        shares: what their folders may hold.
    """

    configured: Configured
    directory: Path
    keep_for: float
    url: str
    open_to: tuple[str, ...]
    known: Users = field(default_factory=Users)
    shares: Shares = field(default_factory=Shares)

    def all(self) -> Mapping[str, Command]:
        """Return each command by its name."""
        commands = (self.invite, self.tokens, self.users, self.uploads, self.notices, self.end, self.key)
        return {command.__name__: _refusing(command) for command in commands}

    def invite(
        self, *, max_size: int | None, max_files: int | None, seconds: float, folder: str, note: str
    ) -> dict[str, Any]:
        """Make a token; return it with the ways to send."""
        try:
            folder = safe_path(folder) if folder else ""
        except ValueError as error:
            raise CommandRefused(str(error)) from error
        with self._tokens() as tokens:
            text, token = tokens.make(
                folder=folder, note=note, max_size=max_size, max_files=max_files, seconds=seconds
            )
        ways = [asdict(way) for way in list_ways(text, self.configured.listeners, self.url)]
        return {**_as_dict(token), "token": text, "ways": ways, "notes": list(self._notes(bool(ways)))}

    def tokens(self) -> list[dict[str, Any]]:
        """List all tokens."""
        with self._tokens() as tokens:
            return [_as_dict(token) for token in tokens.list()]

    def users(self) -> list[dict[str, Any]]:
        """List the users, with what the folder of each holds and may hold."""
        rows = []
        for name in sorted({*self.known, *self.shares.quotas}):
            user, share = self.known.get(name, User(name)), self.shares.of(name) or Share()
            size, files = measure(self.directory / name)
            rows.append(
                {
                    "name": name,
                    "passwords": len(user.passwords),
                    "keys": len(user.keys),
                    "files": files,
                    "max_files": share.files or None,
                    "size": size,
                    "max_size": share.size or None,
                }
            )
        return rows

    def notices(self) -> list[dict[str, Any]]:
        """List the notices that no recipient has taken yet, the next one first."""
        outbox = Outbox(self.configured.state_dir, self.directory, {})
        try:
            return [
                {
                    "id": each.notice.id,
                    "file": each.notice.path,
                    "recipient": each.recipient,
                    "attempts": each.attempts,
                    "received": each.notice.time,
                    "due": each.due,
                }
                for each in outbox.list()
            ]
        finally:
            outbox.close()

    def uploads(self) -> list[dict[str, Any]]:
        """List all unfinished uploads; of those that cannot be resumed little is known here."""
        with self._parts() as parts:
            if parts is None:
                return []
            known = {upload.id: upload for upload in list_unfinished(parts)}
            rows: list[dict[str, Any]] = [
                {
                    "id": upload.id,
                    "name": "/".join(filter(None, (upload.sender.folder, upload.facts.name))),
                    "received": upload.durable,
                    "size": upload.facts.size,
                    "sender": upload.sender.key or upload.sender.host,
                    "busy": upload.busy,
                    "expires": None if upload.busy else upload.expires,
                }
                for upload in known.values()
            ]
            rows += [
                {"id": entry.id, "name": "-", "received": entry.size, "size": entry.announced, "sender": "-"}
                | {"busy": True, "expires": None}
                for entry in parts.entries()
                if entry.id not in known
            ]
            return rows

    def end(self, *, id: str) -> dict[str, str]:  # noqa: A002
        """End a token or an upload."""
        kind = _KINDS.get(len(id), "")
        if kind == "token":
            with self._tokens() as tokens:
                found = tokens.end(id)
        else:
            found = kind == "upload" and self._end_upload(id)
        if not found:
            raise CommandRefused(f"there is no token and no unfinished upload {id}")
        return {"kind": kind, "id": id}

    def key(self) -> dict[str, str]:
        """Return the public key of receipts."""
        return {"pem": public_pem(open_key(self.configured.state_dir))}

    def _end_upload(self, id: str) -> bool:  # noqa: A002
        with self._parts() as parts:
            if parts is None or all(entry.id != id for entry in parts.entries()):
                return False
            until = time.monotonic() + _END_SECONDS
            try:
                while not _removed(parts, id):
                    if time.monotonic() >= until:
                        raise CommandRefused(f"its connection does not leave {id}; `sockd kick` ends it")
                    parts.want(id)
                    time.sleep(_PAUSE)
            finally:
                parts.unwant(id)
            return True

    @contextmanager
    def _tokens(self) -> Iterator[Tokens]:
        tokens = Tokens(self.configured.state_dir)
        try:
            yield tokens
        finally:
            tokens.close()

    @contextmanager
    def _parts(self) -> Iterator[Parts | None]:
        """Open the folder of the unfinished uploads, which the daemon makes."""
        try:
            folder = os.open(self.directory / PARTS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            yield None
            return
        try:
            yield Parts(folder, self.keep_for)
        finally:
            os.close(folder)

    def _notes(self, has_ways: bool) -> Iterator[str]:
        """Yield what an operator should know of the service before the token is given away."""
        if not has_ways:
            yield "no listener of the service has an address for others and a protocol that takes tokens"
        elif not {"tokens", "anyone"} & set(self.open_to):
            yield 'the service takes no tokens: add "tokens" to its option access'
        elif "anyone" in self.open_to:
            yield 'the service takes files from anyone: access = ["tokens"] makes it ask for a token'


def _removed(parts: Parts, id: str) -> bool:  # noqa: A002
    """Remove an upload; return False while a connection has it."""
    try:
        part, _ = parts.resume(id)
    except FileRefused as refused:
        if refused.code != "busy":
            sweep(parts)  # a crash has left it, without what is needed to resume it
        return all(entry.id != id for entry in parts.entries())
    parts.remove(part)
    part.close()
    return True


def _as_dict(token: Token) -> dict[str, Any]:
    return {**asdict(token), "state": _state(token)}


def _state(token: Token) -> str:
    if token.ended is not None:
        return "ended"
    if token.until is not None and time.time() >= token.until:
        return "expired"
    try:
        token.check_size(1)
    except FileRefused:
        return "used"
    return "open"


def _refusing(command: Callable[..., Any]) -> Command:
    """Return a command that refuses in one line where the storage does."""

    def refusing(**arguments: Any) -> Any:
        try:
            return command(**arguments)
        except FileRefused as refused:
            raise CommandRefused(str(refused)) from refused

    return refusing
