"""Person on a line: TCP and UNIX connections, with numbers and echo."""

from __future__ import annotations

import asyncio
import re
from asyncio import Future, StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count

from benchmarks.returning.wire import ROOM, Cut, Open, Take, give_up, in_background

MESSAGE = re.compile(r"(\d+) \S+ <([^>]+)> (.*)")
PONG = re.compile(r"\* pong (\S+) (\S+) (\d+)")
_tokens = count()


class Line:
    """Connection of one person."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, take: Take) -> None:
        self._reader = reader
        self._writer = writer
        self._take = take
        self._pongs: dict[str, Future[int]] = {}
        self.entered: Future[None] = asyncio.get_running_loop().create_future()

    def send(self, text: str) -> None:
        """Send a line."""
        if self._writer.is_closing():
            raise Cut
        self._writer.write(f"{text}\n".encode())

    async def mark(self) -> int:
        """Return the number of the last message, after all before it has come."""
        token = f"t{next(_tokens)}"
        pong = self._pongs[token] = asyncio.get_running_loop().create_future()
        self.send(f"/ping {token}")
        return await pong

    async def since(self, number: int) -> None:
        """Fetch messages behind a number."""
        self.send(f"/since {number}")
        await self.mark()

    async def say(self, text: str) -> None:
        """Say something in the room."""
        self.send(text)

    def cut(self, gently: bool) -> None:
        """Leave, or reset the connection."""
        if gently and not self._writer.is_closing():
            self.send("/quit")
            self._writer.close()
        else:
            self._writer.transport.abort()

    async def read(self, gone: Callable[[], None]) -> None:
        """Read until the connection ends."""
        with suppress(OSError):
            while line := await self._reader.readline():
                self._received(line.decode().rstrip("\n"))
        self._writer.transport.abort()  # the other end may have closed its side alone
        give_up(*self._pongs.values(), self.entered)
        gone()

    def _received(self, line: str) -> None:
        if message := MESSAGE.fullmatch(line):
            self._take(int(message[1]), message[2], message[3])
        elif pong := PONG.fullmatch(line):
            if waiting := self._pongs.pop(pong[1], None):
                waiting.set_result(int(pong[3]))
        elif line.startswith("* you are ") and not self.entered.done():
            self.entered.set_result(None)
        elif line.startswith("! ") and not self.entered.done():
            self._writer.transport.abort()


def opening(path: str = "", port: int = 0) -> Open:
    """Return how to connect: to a UNIX socket, or to a port."""

    async def open_line(name: str, take: Take, gone: Callable[[], None]) -> Line:
        connect = (
            partial(asyncio.open_unix_connection, path)
            if path
            else partial(asyncio.open_connection, "127.0.0.1", port)
        )
        try:
            line = Line(*await connect(), take)
        except OSError:
            raise Cut from None
        in_background(line.read(gone))
        for text in ("/numbers on", "/echo on", f"/join {ROOM}", name):
            line.send(text)
        await line.entered
        return line

    return open_line
