"""Old protocol of scp, receiving side: `scp -t`, as clients before OpenSSH 9 and `scp -O` use it.

The client sends lines, each answered by a zero byte, or by the byte 1 with a line that tells a fault:

    C0644 SIZE NAME     a file; its data follows, and a zero byte
    D0755 0 NAME        a folder begins
    E                   it ends
    T1700000000 0 1700000000 0      times of the last change and access of what follows
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from sockd_plugins.files.sftp.open_file import OpenFile
from sockd_plugins.files.sftp.view import View, file_name, resolve
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.stream.inbox import Inbox

_LINE = 4096  # bytes of a line at most
_PIECE = 128 << 10  # bytes of data to take at once
_MOST_DEPTH = 64  # folders within each other

_DONE = b"\0"

_ENTRY = re.compile(r"([CD])[0-7]{4} (\d{1,19}) ([^/]+)", re.DOTALL)
_TIMES = re.compile(r"T(\d{1,10}) \d{1,6} (\d{1,10}) \d{1,6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """Place that a client has named.

    Attributes:
        path: as the client has written it.
        is_folder: whether the client says that it is a folder.
    """

    path: str
    is_folder: bool


def parse_command(command: bytes) -> Target | None:
    """Return the target of an `scp -t`; None if a command is another one."""
    try:
        words = shlex.split(command.decode())
    except ValueError:  # UnicodeDecodeError is one
        return None
    if not words or words[0] != "scp":
        return None
    flags, rest = "", words[1:]
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--":
            break
        flags += word[1:]
    if "t" not in flags or "f" in flags or len(rest) != 1:
        return None
    return Target(rest[0], "d" in flags or rest[0].endswith("/"))


class ScpSession:
    """Session of one `scp -t`.

    Args:
        engine: stores the files.
        sender: of the client.
        write: sends bytes to the client.
        on_stored: called with each file that is stored.
        on_refused: called with each refusal of a file.
        target: where the files go.
    """

    def __init__(
        self,
        engine: Engine,
        sender: Sender,
        write: Callable[[bytes], None],
        on_stored: Callable[[Stored], None],
        on_refused: Callable[[FileRefused], None],
        target: Target,
    ) -> None:
        self._engine = engine
        self._sender = sender
        self._write = write
        self._on_stored = on_stored
        self._on_refused = on_refused
        self._target = target
        self._view = View(engine, sender)
        self._folders: list[str] = []  # paths of those that are open
        self._times: tuple[int, int] | None = None
        self._path = ""
        self._file: OpenFile | None = None
        self._refused: FileRefused | None = None
        self._left = -1  # bytes of the data that are to come; -1 outside a file
        self._greeted = False
        self._failed = False

    @property
    def held(self) -> int:
        """Bytes in memory that have left the inbox."""
        return self._file.held if self._file else 0

    @property
    def room(self) -> int:
        """Bytes of memory that `settle` frees."""
        return self._file.room if self._file else 0

    @property
    def is_receiving(self) -> bool:
        """True while a file is expected."""
        return True

    async def advance(self, inbox: Inbox, *, ended: bool) -> int | None:
        """Implement `Session.advance`."""
        if not self._greeted:
            self._greeted = True
            self._write(_DONE)
        while len(inbox):
            if self._left > 0:
                await self._take_data(inbox)
                continue
            head = inbox.head(_LINE)
            if self._left == 0 and head[0] == 0:
                inbox.take(1)
                await self._publish()
                continue
            end = head.find(b"\n")
            if end < 0:
                if len(head) == _LINE:
                    return self._fail("a line is too long")
                break
            inbox.take(end + 1)
            if head[0] in (1, 2):  # the client could not read its file
                await self.leave()
                self._answer(FileRefused("incomplete", "the client tells of a fault"))
                if head[0] == 2:
                    return 1
            elif not await self._obey(head[:end].decode(errors="replace")):
                return self._fail("expected a file, a folder or times")
        return int(self._failed or self._left >= 0) if ended else None

    async def settle(self) -> None:
        """Implement `Session.settle`; a refusal is told at the end of the file."""
        try:
            if self._file is not None:
                await self._file.settle()
        except FileRefused as refused:
            self._refused = refused

    async def leave(self) -> None:
        """Implement `Session.leave`."""
        file, self._file, self._left = self._file, None, -1
        if file is not None:
            await file.leave()

    async def _obey(self, line: str) -> bool:
        """Begin or end what a line tells of; return False if it is none."""
        if self._left >= 0:
            return False
        if line == "E":
            if self._folders:
                self._folders.pop()
            self._answer(None)
        elif match := _TIMES.fullmatch(line):
            self._times = int(match[2]), int(match[1])
            self._answer(None)
        elif match := _ENTRY.fullmatch(line):
            kind, size, name = match.groups()
            times, self._times = self._times, None
            try:
                path = await self._place(name)
                if kind == "C":
                    await self._begin(path, int(size), times)
                else:
                    await self._enter(path)
            except FileRefused as refused:
                self._answer(refused)
            else:
                self._answer(None)
        else:
            return False
        return True

    async def _place(self, name: str) -> str:
        """Return the path of what a line tells of."""
        if self._folders:
            return f"{self._folders[-1]}/{name}"
        path = self._target.path
        if self._target.is_folder:
            return f"{path}/{name}"
        found = await self._view.stat(resolve(path))
        return f"{path}/{name}" if found is not None and found.is_folder else path

    async def _begin(self, path: str, size: int, times: tuple[int, int] | None) -> None:
        name = file_name(path)
        await self._view.is_there(name)
        file = OpenFile(self._engine, name, self._sender, anew=True, size=size)
        file.times = times
        self._file, self._path, self._left, self._refused = file, name, size, None

    async def _enter(self, path: str) -> None:
        if len(self._folders) >= _MOST_DEPTH:
            raise FileRefused("bad-name", f"expected at most {_MOST_DEPTH} folders within each other")
        name = resolve(path)
        found = await self._view.stat(name)
        if found is None or not found.is_folder:
            await self._view.make_folder(name)
        self._folders.append(name)

    async def _take_data(self, inbox: Inbox) -> None:
        size = min(self._left, len(inbox), _PIECE)
        pieces = inbox.take(size)
        self._left -= size
        file = self._file
        if file is not None and self._refused is None:
            try:
                if file.take(file.size, pieces, size):
                    await file.pass_on()
            except FileRefused as refused:
                self._refused = refused

    async def _publish(self) -> None:
        """Publish the file, whose data has come, and answer."""
        file, self._file, self._left = self._file, None, -1
        if file is None:
            return
        try:
            stored = await file.close()
        except FileRefused as refused:
            self._answer(refused)
            return
        self._on_stored(stored)
        await self._view.stored(self._path, stored, file.times)
        self._answer(None)

    def _answer(self, refused: FileRefused | None) -> None:
        if refused is None:
            self._write(_DONE)
            return
        self._failed = True
        self._on_refused(refused)
        self._write(b"\1scp: " + str(refused).replace("\n", " ").encode(errors="replace") + b"\n")

    def _fail(self, text: str) -> int:
        """Tell a fault after which nothing can follow."""
        self._write(b"\2scp: " + text.encode() + b"\n")
        return 1
