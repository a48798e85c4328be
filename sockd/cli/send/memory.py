"""Ids of unfinished uploads, kept in files, so that a later run of the command goes on with them.

A file is `$XDG_STATE_HOME/sockd/send/KEY.json`. Without it the server is asked by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from sockd.cli.send.items import Item

_KEPT_SECONDS = 30 * 86400.0  # longer than servers keep unfinished uploads

_ID = re.compile(r"[0-9a-f]{16}|/[!-~]*")  # of our protocol; the path of an upload of tus


class Memory:
    """Ids of the unfinished uploads to one service.

    Args:
        target: the address of the service.
        folder: of the files; None for the user's.
    """

    def __init__(self, target: str, folder: Path | None = None) -> None:
        self._target = target
        self._folder = folder or _users_folder()

    def recall(self, item: Item) -> str:
        """Return the id of the upload of this file; "" if there is none, or the file has changed."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads(self._path(item).read_text())
            id = str(kept["id"])  # noqa: A001
            if kept["file"] == _fingerprint(item) and _ID.fullmatch(id, 0, 2000):
                return id
        return ""

    def remember(self, item: Item) -> None:
        """Keep the id of an upload, durably enough for a crash of this command."""
        if item.size is None:
            return
        with suppress(OSError):
            path = self._path(item)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            new = path.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps({"id": item.id, "file": _fingerprint(item)}))
            new.replace(path)

    def forget(self, item: Item) -> None:
        """Remove the id of an upload that has ended."""
        with suppress(OSError):
            self._path(item).unlink()

    def _path(self, item: Item) -> Path:
        key = "\0".join((self._target, item.name, os.path.abspath(item.path)))
        return self._folder / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.json"

    def _sweep(self) -> None:
        for path in self._folder.iterdir():
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
                    path.unlink()


def _users_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if state.startswith("/") else Path.home() / ".local" / "state") / "sockd" / "send"


def _fingerprint(item: Item) -> list[int]:
    """Return what tells a file from a changed one."""
    status = os.stat(item.path)
    return [status.st_size, status.st_mtime_ns]
