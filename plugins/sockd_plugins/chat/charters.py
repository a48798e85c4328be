"""Topics and modes of configured rooms, kept over restarts in a file of the service's state folder.

What operators change holds until the room's own configuration changes: then that holds again, alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sockd.reading import Unreadable, read_text
from sockd.text import describe_os_error
from sockd_plugins.chat.hub.charter import Charter
from sockd_plugins.chat.hub.events import Topic
from sockd_plugins.chat.hub.masks import Mask
from sockd_plugins.chat.hub.people import Room
from sockd_plugins.users.tries import Run

FILE = "rooms.json"

SAVE_SECONDS = 1.0
"""Seconds after a change until it is written, so that many are written at once."""

_MOST = 64 << 20  # bytes of the file


class Charters:
    """Charters of the rooms that are configured.

    Args:
        folder: state folder of the service.
        run: runs blocking work in a thread.
        clock: for the pause before a change is written.
        log: is told of a file that cannot be written.
    """

    def __init__(self, folder: Path, run: Run, clock: IReactorTime, log: Logger) -> None:
        self._file = folder / FILE
        self._run = run
        self._clock = clock
        self._log = log
        self._rooms: tuple[Room, ...] = ()
        self._configured: dict[str, str] = {}  # what the configuration says, by the room's name
        self._waiting: IDelayedCall | None = None
        self._writing = DeferredLock()

    async def open(self, rooms: Iterable[Room]) -> None:
        """Give rooms what was kept of them, and keep it from now on.

        Args:
            rooms: those that are configured, as they are configured.

        Raises:
            Unreadable: the file is damaged.
        """
        kept = await self._run(self._read)
        self._rooms = tuple(rooms)
        for room in self._rooms:
            configured = self._configured[room.name] = _configuration(room)
            found = kept.get(room.name)
            if found is not None and found["configured"] == configured:
                _restore(room, found)
            room.charter.on_change = self._note

    async def close(self) -> None:
        """Write what is not written."""
        if self._waiting is not None:
            self._waiting.cancel()
            await self._save()
        async with self._writing:  # ends once a write that has begun does
            return

    def _note(self) -> None:
        if self._waiting is None:
            self._waiting = self._clock.callLater(SAVE_SECONDS, self._save_now)

    def _save_now(self) -> None:
        Deferred.fromCoroutine(self._save()).addErrback(
            lambda found: self._log.failure("rooms failed", found)
        )

    async def _save(self) -> None:
        self._waiting = None
        rooms = {
            room.name: {"configured": self._configured[room.name], **_written(room)} for room in self._rooms
        }
        async with self._writing:
            try:
                await self._run(self._write, json.dumps({"rooms": rooms}).encode())
            except OSError as error:
                self._log.error("rooms not kept", file=str(self._file), reason=describe_os_error(error))

    def _read(self) -> Mapping[str, Any]:
        try:
            rooms: Mapping[str, Any] = json.loads(read_text(self._file, _MOST))["rooms"]
            for room in rooms.values():
                _read_charter(room), _read_topic(room), room["configured"]
        except Unreadable:
            if not self._file.exists():
                return {}
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unreadable(f"{self._file} is damaged: remove it, or put a copy there") from error
        return rooms

    def _write(self, content: bytes) -> None:
        """Replace the file, so that a crash leaves the old or the new one."""
        self._file.parent.mkdir(0o700, parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        with open(new, "wb", opener=partial(os.open, mode=0o600)) as file:  # has no opener
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file)


def _configuration(room: Room) -> str:
    """Return what the configuration says of a room, in a form that can be compared."""
    charter, topic = room.charter, room.topic.text if room.topic else ""
    return json.dumps(
        [topic, "".join(sorted(charter.flags)), charter.key, sorted(charter.owners), charter.read_back]
    )


def _written(room: Room) -> dict[str, Any]:
    """Return what is kept of a room; the topic, if it is not the configured one."""
    charter, topic = room.charter, room.topic
    changed = topic is None or topic.name
    return {
        **({"topic": topic and [topic.text, topic.name, topic.at]} if changed else {}),
        "flags": "".join(sorted(charter.flags)),
        "key": charter.key,
        "limit": charter.limit,
        "lists": {letter: list(charter.listed(letter)) for letter in sorted(charter.lists)},
        "known": charter.known,
    }


def _restore(room: Room, kept: Mapping[str, Any]) -> None:
    found, charter = _read_charter(kept), room.charter
    charter.flags, charter.key, charter.limit = found.flags, found.key, found.limit
    charter.lists, charter.known = found.lists, found.known
    if "topic" in kept:
        room.topic = _read_topic(kept)


def _read_topic(kept: Mapping[str, Any]) -> Topic | None:
    if kept.get("topic") is None:
        return None
    text, name, at = kept["topic"]
    return Topic(str(text), str(name), float(at))


def _read_charter(kept: Mapping[str, Any]) -> Charter:
    return Charter(
        flags=set(kept["flags"]),
        key=str(kept["key"]),
        limit=int(kept["limit"]),
        lists={letter: {Mask(text): by for text, by in masks} for letter, masks in kept["lists"].items()},
        known={account: int(number) for account, number in kept["known"].items()},
    )
