"""SFTP session: requests, one after another, each with exactly one answer.

A WRITE is answered when it is in order and in memory, so that the client sends the next ones while the disk
works. What the disk refuses is the answer to the WRITEs that follow, and to CLOSE, which is answered when the
file is published and durable.
"""

from __future__ import annotations

import posixpath
import secrets
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sockd_plugins.files.sftp import handles, packets
from sockd_plugins.files.sftp.fields import Fields, Malformed
from sockd_plugins.files.sftp.handles import Handle, Handles
from sockd_plugins.files.sftp.open_file import MOST_EARLY, OpenFile
from sockd_plugins.files.sftp.packets import Attributes, read_attributes
from sockd_plugins.files.sftp.view import View, file_name, resolve
from sockd_plugins.files.storage.bounds import check_allowed, check_name
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.stream.inbox import Inbox

_WRITE = struct.Struct(">IB4sI4sQI")
"""Head of a WRITE with a handle of ours: length, kind, number, length of the handle, handle, offset, size."""

_WRITE_REST = _WRITE.size - 4  # bytes of the head that the length counts
_HEAD = 9  # bytes before the fields of a request: length, kind, number

_MOST_ROOM = 4 << 20
"""Bytes of memory of the files of a session, beside the one that is sent; the others are settled for more."""

_BATCH = 100  # entries of a folder in one answer

_IN_A_TURN = 50  # requests without data after which other connections get their turn


class Broken(Exception):
    """Request after which nothing else can be read."""


class SftpSession:
    """Session of one channel.

    Args:
        engine: stores the files.
        sender: of the client.
        write: sends bytes to the client.
        clock: gives others their turn.
        on_stored: called with each file that is stored.
        on_refused: called with each refusal of a file.
        serve: whether files of others are listed.
    """

    def __init__(
        self,
        engine: Engine,
        sender: Sender,
        write: Callable[[bytes], None],
        clock: IReactorTime,
        on_stored: Callable[[Stored], None],
        on_refused: Callable[[FileRefused], None],
        *,
        serve: bool = False,
    ) -> None:
        self._engine = engine
        self._sender = sender
        self._write = write
        self._clock = clock
        self._on_stored = on_stored
        self._on_refused = on_refused
        self._view = View(engine, sender, serve=serve)
        self._handles = Handles()
        self._answers: list[bytes] = []
        self._sent: OpenFile | None = None  # file of the last WRITE
        self._turn = _IN_A_TURN
        self._begun = False
        self._write_length = secrets.choice(packets.WRITE_LENGTHS)
        self._full_write = 0  # bytes of a WRITE that is not the last of its file; 0 if unknown
        self._serves: dict[int, Callable[[bytes, Fields], Awaitable[bytes]]] = {
            packets.OPEN: self._open,
            packets.CLOSE: self._close,
            packets.STAT: self._stat,
            packets.LSTAT: self._stat,
            packets.FSTAT: self._stat_handle,
            packets.SETSTAT: self._set,
            packets.FSETSTAT: self._set_handle,
            packets.OPENDIR: self._open_folder,
            packets.READDIR: self._read_folder,
            packets.REMOVE: self._remove,
            packets.MKDIR: self._make_folder,
            packets.REALPATH: self._real_path,
            packets.RENAME: self._rename,
            packets.EXTENDED: self._extended,
        }

    @property
    def held(self) -> int:
        """Bytes in memory that have left the inbox."""
        return sum(file.held for file in self._handles.files)

    @property
    def room(self) -> int:
        """Bytes of memory that `settle` frees."""
        return sum(file.room for file in self._handles.files)

    @property
    def is_receiving(self) -> bool:
        """True if a file is open."""
        return any(self._handles.files)

    async def advance(self, inbox: Inbox, *, ended: bool) -> int | None:
        """Implement `Session.advance`."""
        try:
            while len(inbox) > 4:
                head = inbox.head(_WRITE.size)
                length = int.from_bytes(head[:4], "big")
                if not 1 <= length <= packets.LARGEST:
                    raise Broken
                if len(inbox) < 4 + length:
                    break
                if head[4] == packets.WRITE and length >= _WRITE_REST:
                    await self._take_data(head, length, inbox)
                else:
                    await self._answer(b"".join(inbox.take(4 + length)))
        except Broken:
            return 1
        finally:
            self._flush()
        return 0 if ended else None

    async def settle(self) -> None:
        """Implement `Session.settle`; a refusal is told with the next answer."""
        for file in self._handles.files:
            with suppress(FileRefused):
                await file.settle()

    async def leave(self) -> None:
        """Implement `Session.leave`."""
        while (handle := self._handles.close_any()) is not None:
            if handle.file is not None:
                if handle.file.refused is not None:  # the client has not closed it, and may never have asked
                    self._on_refused(handle.file.refused)
                await handle.file.leave()

    def _flush(self) -> None:
        answers, self._answers = self._answers, []
        if answers:
            self._write(b"".join(answers))

    async def _take_data(self, head: bytes, length: int, inbox: Inbox) -> None:
        """Take a WRITE. What follows its data in the packet is dropped: rclone sends whole buffers."""
        _, _, request, handle_length, name, offset, size = _WRITE.unpack(head)
        handle = self._handles.find(name) if handle_length == handles.BYTES else None
        if handle is None or handle.file is None or size > length - _WRITE_REST:
            inbox.take(4 + length)
            self._answers.append(
                packets.status(request, packets.FAILURE, "the handle is not open for writing")
            )
            return
        inbox.take(_WRITE.size)
        pieces = inbox.take(size)
        if rest := length - _WRITE_REST - size:
            inbox.take(rest)
        file = handle.file
        if file is not self._sent:
            self._sent = file
            if self.room > _MOST_ROOM:
                await self.settle()
        early = MOST_EARLY
        if offset != file.size:
            early -= sum(each.early for each in self._handles.files)
        try:
            await file.begin(offset)
            if file.take(offset, pieces, size, early + file.early):
                self._answers.append(packets.done(request))
                self._flush()
                await file.pass_on()
            else:
                self._answers.append(packets.done(request))
        except FileRefused as refused:
            self._answers.append(packets.refusal(request, refused))

    async def _answer(self, message: bytes) -> None:
        """Answer a request that is not a WRITE."""
        kind, request = message[4], message[5:_HEAD]
        if kind == packets.INIT:
            if self._begun:
                raise Broken
            self._begun = True
            self._answers.append(packets.version())
            return
        if len(request) < 4 or not self._begun:
            raise Broken
        self._flush()
        serve = self._serves.get(kind)
        try:
            if serve is None:
                answer = packets.status(request, packets.UNSUPPORTED, "this service only receives files")
            else:
                answer = await serve(request, Fields(message, _HEAD))
        except Malformed as fault:
            answer = packets.status(request, packets.BAD_MESSAGE, str(fault))
        except FileRefused as refused:
            answer = packets.refusal(request, refused)
        self._answers.append(answer)
        self._turn -= 1
        if not self._turn:
            self._turn = _IN_A_TURN
            pause: Deferred[None] = Deferred()
            self._clock.callLater(0, pause.callback, None)
            await pause

    async def _open(self, request: bytes, fields: Fields) -> bytes:
        path, flags = fields.text(), fields.number()
        wished = read_attributes(fields)
        if not flags & packets.TO_WRITE:
            resolve(path)
            return packets.status(request, packets.DENIED, "this service only receives files")
        self._handles.check()
        try:
            name = file_name(path)
            check_name(self._engine.store, name)
            check_allowed(self._engine.store, name)
            there = await self._view.is_there(name)
            if there and flags & packets.TO_EXCLUDE:
                raise FileRefused("exists", f"there is a file {name} already")
            anew = bool(flags & packets.TO_TRUNCATE)
            file = OpenFile(
                self._engine,
                name,
                self._sender,
                anew=anew,
                appends=bool(flags & packets.TO_APPEND),
                full_write=self._full_write,
            )
        except FileRefused as refused:
            self._on_refused(refused)
            raise
        file.times = wished.times
        self._view.forget(name)
        return packets.handle(request, self._handles.add(Handle(name, file)))

    async def _close(self, request: bytes, fields: Fields) -> bytes:
        handle = self._handles.close(fields.string())
        if handle is None:
            return packets.status(request, packets.FAILURE, "the handle is not open")
        if handle.file is not None:
            await self._publish(handle.path, handle.file)
        return packets.done(request)

    async def _publish(self, path: str, file: OpenFile) -> None:
        try:
            stored = await file.close()
        except FileRefused as refused:
            if refused.code != "incomplete":  # else the client may go on
                self._view.failed(path)
            self._on_refused(refused)
            raise
        self._on_stored(stored)
        await self._view.stored(path, stored, file.times)

    async def _stat(self, request: bytes, fields: Fields) -> bytes:
        path = fields.text()
        try:
            path = resolve(path)
            if (file := self._handles.by_path.get(path)) is not None:
                return packets.attributes(request, Attributes(file.size, 0o100644, file.times))
            found = await self._view.stat(path)
        except FileRefused as refused:
            if refused.code != "bad-name":  # rclone gives up if a file that it looks for is forbidden
                raise
            found = None
        if found is None:
            return packets.status(request, packets.NO_SUCH_FILE, "there is no such file")
        return packets.attributes(request, found)

    async def _stat_handle(self, request: bytes, fields: Fields) -> bytes:
        handle = self._handles.get(fields.string())
        if handle.file is None:
            return packets.attributes(request, await self._view.stat(handle.path) or Attributes())
        return packets.attributes(request, Attributes(handle.file.size, 0o100644, handle.file.times))

    async def _set(self, request: bytes, fields: Fields) -> bytes:
        await self._view.set_attributes(resolve(fields.text()), read_attributes(fields))
        return packets.done(request)

    async def _set_handle(self, request: bytes, fields: Fields) -> bytes:
        handle, wished = self._handles.get(fields.string()), read_attributes(fields)
        if handle.file is not None:
            if wished.size is not None:
                handle.file.declare(wished.size)
            handle.file.times = wished.times or handle.file.times
        return packets.done(request)

    async def _open_folder(self, request: bytes, fields: Fields) -> bytes:
        path = resolve(fields.text())
        self._handles.check(listing=True)
        entries = await self._view.list(path)
        if entries is None:
            return packets.status(request, packets.NO_SUCH_FILE, "there is no such folder")
        listed = dict(entries)
        for name, file in self._handles.by_path.items():
            if posixpath.dirname(name) == path:
                listed.setdefault(posixpath.basename(name), Attributes(file.size, 0o100644, file.times))
        entries = sorted(listed.items())
        folder = Attributes(0, 0o40755, (0, 0))
        handle = Handle(path, entries=[(".", folder), ("..", folder), *entries])
        return packets.handle(request, self._handles.add(handle))

    async def _read_folder(self, request: bytes, fields: Fields) -> bytes:
        handle = self._handles.get(fields.string())
        entries, handle.entries = handle.entries[:_BATCH], handle.entries[_BATCH:]
        if handle.file is not None or not entries:
            return packets.status(request, packets.END)
        return packets.names(request, entries)

    async def _remove(self, request: bytes, fields: Fields) -> bytes:
        path = resolve(fields.text())
        if (file := self._handles.by_path.get(path)) is not None:
            await file.discard()
        else:
            await self._view.remove(path)
        return packets.done(request)

    async def _make_folder(self, request: bytes, fields: Fields) -> bytes:
        path = resolve(fields.text())
        read_attributes(fields)
        await self._view.make_folder(path)
        return packets.done(request)

    async def _real_path(self, request: bytes, fields: Fields) -> bytes:
        return packets.names(request, [(posixpath.normpath("/" + fields.text().lstrip("/")), Attributes())])

    async def _rename(self, request: bytes, fields: Fields) -> bytes:
        await self._view.rename(file_name(fields.text()), file_name(fields.text()))
        return packets.done(request)

    async def _extended(self, request: bytes, fields: Fields) -> bytes:
        name = fields.string()
        if name == b"limits@openssh.com":
            self._full_write = self._write_length
            return packets.limits(request, self._write_length)
        if name == b"posix-rename@openssh.com":
            return await self._rename(request, fields)
        if name == b"fsync@openssh.com":
            handle = self._handles.get(fields.string())
            if handle.file is not None:
                await handle.file.sync()
            return packets.done(request)
        return packets.status(request, packets.UNSUPPORTED, "there is no such extension here")
