"""View of a session: the sender's folder, with what is unfinished in it and what this session has stored.

A session sees folders, its own files and, by name, others that are there. It reaches only what it has stored
itself, or, where senders have folders of their own, what was stored in the last hour: programs with several
connections rename or date a file over another one than they have sent it. No file is ever replaced.
"""

from __future__ import annotations

import posixpath
import stat
import time
from dataclasses import dataclass

from sockd_plugins.files.sftp.packets import Attributes
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.names import safe_path
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.shelf import Found, Identity, Shelf
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.storage.unfinished import Unfinished

_JUST_SECONDS = 3600.0  # for which a file is just stored

_MOST_OWN = 10_000  # files that a session remembers; older ones are seen as those of others

_FOLDER = Attributes(0, stat.S_IFDIR | 0o755, (0, 0))


@dataclass(frozen=True, slots=True)
class _Own:
    """File that this session has stored, perhaps under a numbered name; without identity if that failed."""

    name: str
    identity: Identity | None = None


class View:
    """View of one session.

    Args:
        engine: with the unfinished uploads.
        sender: of the session.
        serve: whether files of others are listed.
    """

    def __init__(self, engine: Engine, sender: Sender, *, serve: bool = False) -> None:
        self._engine = engine
        self._sender = sender
        self._serve = serve
        self._shelf = Shelf(engine.store, sender.folder)
        self._own: dict[str, _Own] = {}

    async def stat(self, path: str) -> Attributes | None:
        """Return the attributes of a file or folder; None if there is none.

        An unfinished upload has a byte less than is durable, so that whoever goes on with it has something to
        send, and closes it. If there is a published file, too, the newer one counts.
        """
        if not path:
            return _FOLDER
        own = self._own.get(path)
        if own is not None and own.identity is None:
            return None
        found = await self._engine.run(self._shelf.look, own.name if own else path)
        if own is None and (found is None or not found.is_folder):
            unfinished = await self._engine.search(path, self._sender)
            if unfinished is not None and (found is None or self._touched(unfinished) >= found.changed):
                return self._unfinished(unfinished)
        return None if found is None else _attributes(found)

    async def list(self, path: str) -> list[tuple[str, Attributes]] | None:
        """List a folder; None if there is none.

        Without `serve` these are its folders, and the sender's own files.
        """
        listed = await self._engine.run(self._shelf.list, path)
        if listed is None:
            return [] if not path else None
        entries = {
            name: _attributes(found) for name, found in listed.items() if found.is_folder or self._serve
        }
        for own_path, own in self._own.items():
            within, _, name = own_path.rpartition("/")
            found = listed.get(posixpath.basename(own.name))
            if within == path and found is not None and found.identity == own.identity:
                entries[name] = _attributes(found)
        for unfinished in await self._engine.list():
            within, _, name = unfinished.facts.name.rpartition("/")
            if self._is_own(unfinished) and within == path and unfinished.kept:
                entries.setdefault(name, self._unfinished(unfinished))
        return sorted(entries.items())

    async def make_folder(self, path: str) -> None:
        """Make a folder."""
        await self._engine.run(self._shelf.make_folder, path)

    async def remove(self, path: str) -> None:
        """Remove a file that this session has stored, or an unfinished upload.

        Raises:
            FileRefused: there is none, or it is another's.
        """
        own = self._own.pop(path, None)
        if own is not None and own.identity is not None:
            await self._engine.run(self._shelf.remove, own.name, own.identity)
            return
        if (unfinished := await self._engine.search(path, self._sender)) is not None:
            await self._engine.end(unfinished.id)
            return
        if own is None:
            await self._look(path)
            raise FileRefused("denied", "only a file that this session has stored can be removed")

    async def rename(self, path: str, new: str) -> None:
        """Rename a file that was just stored; an existing one is not replaced.

        Raises:
            FileRefused: there is none, or it is another's.
        """
        name, identity = await self._just_stored(path)
        name = await self._engine.run(self._shelf.rename, name, identity, new)
        self._own.pop(path, None)
        self._note(new, _Own(name, identity))

    async def set_attributes(self, path: str, wished: Attributes) -> None:
        """Set the times of a file that was just stored; nothing else can be set, and nothing of others.

        Raises:
            FileRefused: there is none, or it should have another size.
        """
        if not path:
            return
        found = await self._look(path)
        if wished.size not in (None, found.size) and not found.is_folder:
            raise FileRefused("denied", "the size of a file that is stored cannot be changed")
        if wished.times is not None and not found.is_folder:
            try:
                name, identity = await self._just_stored(path)
            except FileRefused:
                return
            await self._engine.run(self._shelf.set_times, name, identity, *wished.times)

    async def stored(self, path: str, stored: Stored, times: tuple[int, int] | None) -> None:
        """Note a file that this session has stored, and set its times."""
        found = await self._engine.run(self._shelf.look, stored.name)
        if found is None:
            return
        self._note(path, _Own(stored.name, found.identity))
        if times is not None and not stored.duplicate:
            await self._engine.run(self._shelf.set_times, stored.name, found.identity, *times)

    def failed(self, path: str) -> None:
        """Note a file that could not be stored: a client that asks for it is to see that."""
        self._note(path, _Own(path))

    def forget(self, path: str) -> None:
        """Forget what this session knows of a file, which it writes anew."""
        self._own.pop(path, None)

    async def is_there(self, path: str) -> bool:
        """Tell whether there is a file of this name.

        Raises:
            FileRefused: there is a folder.
        """
        found = await self._engine.run(self._shelf.look, path)
        if found is not None and found.is_folder:
            raise FileRefused("exists", f"there is a folder {path}")
        return found is not None

    def _note(self, path: str, own: _Own) -> None:
        self._own.pop(path, None)
        self._own[path] = own
        if len(self._own) > _MOST_OWN:
            del self._own[next(iter(self._own))]

    async def _look(self, path: str) -> Found:
        own = self._own.get(path)
        found = await self._engine.run(self._shelf.look, own.name if own else path)
        if found is None:
            raise FileRefused("unknown", f"there is no file {path}")
        return found

    async def _just_stored(self, path: str) -> tuple[str, Identity]:
        """Return the name of a file that was just stored, and which it is."""
        own = self._own.get(path)
        if own is not None and own.identity is not None:
            return own.name, own.identity
        found = await self._look(path)
        just = self._sender.folder and time.time() - found.changed < _JUST_SECONDS
        if found.is_folder or not just:
            raise FileRefused("denied", "only a file that was just stored can be renamed")
        return path, found.identity

    def _is_own(self, unfinished: Unfinished) -> bool:
        other = unfinished.sender
        return (other.source, other.folder) == (self._sender.source, self._sender.folder)

    def _touched(self, unfinished: Unfinished) -> float:
        return unfinished.expires - self._engine.store.limits.keep_for

    def _unfinished(self, unfinished: Unfinished) -> Attributes:
        touched = int(self._touched(unfinished))
        return Attributes(max(unfinished.durable - 1, 0), stat.S_IFREG | 0o644, (touched, touched))


def resolve(path: str) -> str:
    """Return a path of a client relative to its folder; "" for the folder itself.

    Raises:
        FileRefused: a name in it is not accepted.
    """
    normal = posixpath.normpath("/" + path).lstrip("/")
    if not normal:
        return ""
    try:
        return safe_path(normal)
    except ValueError as error:
        raise FileRefused("bad-name", str(error)) from error


def file_name(path: str) -> str:
    """Return the path of a file that a client wants to write.

    Raises:
        FileRefused: a name in it is not accepted, or it is that of a folder.
    """
    name = resolve(path)
    if not name or path.endswith(("/", "/.")):
        raise FileRefused("bad-name", "expected the name of a file, found that of a folder")
    return name


def _attributes(found: Found) -> Attributes:
    if found.is_folder:
        return Attributes(0, found.mode, (int(found.accessed), int(found.modified)))
    return Attributes(found.size, found.mode, (int(found.accessed), int(found.modified)))
