"""Person with a client of IRC, which has message-tags, echo-message and chathistory."""

from __future__ import annotations

import asyncio
import re
from asyncio import Future, StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress

from benchmarks.returning.wire import ROOM, Cut, Open, Take, give_up, in_background

CAPABILITIES = "message-tags server-time echo-message batch draft/chathistory"
LIMIT = 100
"""Messages of one answer, as the server allows."""

_MESSAGE = re.compile(rf"@(\S+) :([^!]+)!\S+ PRIVMSG #{ROOM} :(.*)")
_ID = re.compile(rf"(?:^|;)msgid={ROOM}/(\d+)")


class Client:
    """Connection of one person."""

    def __init__(self, reader: StreamReader, writer: StreamWriter, take: Take) -> None:
        self._reader = reader
        self._writer = writer
        self._take = take
        self._batch: Future[None] | None = None
        self._last = 0
        self.entered: Future[None] = asyncio.get_running_loop().create_future()

    def send(self, text: str) -> None:
        """Send a line."""
        if self._writer.is_closing():
            raise Cut
        self._writer.write(f"{text}\r\n".encode())

    async def mark(self) -> int:
        """Return the number of the last message; what is said after the entry comes by itself."""
        await self._fetch("LATEST", "*", 1)
        return self._last

    async def since(self, number: int) -> None:
        """Fetch messages behind a number."""
        await self._fetch("AFTER", f"msgid={ROOM}/{number}", LIMIT)

    async def say(self, text: str) -> None:
        """Say something in the room."""
        self.send(f"PRIVMSG #{ROOM} :{text}")

    def cut(self, gently: bool) -> None:
        """Leave, or reset the connection."""
        if gently and not self._writer.is_closing():
            self.send("QUIT :later")
            self._writer.close()
        else:
            self._writer.transport.abort()

    async def read(self, gone: Callable[[], None]) -> None:
        """Read until the connection ends."""
        with suppress(OSError):
            while line := await self._reader.readline():
                self._received(line.decode().rstrip("\r\n"))
        self._writer.transport.abort()  # the other end may have closed its side alone
        give_up(self._batch, self.entered)
        gone()

    async def _fetch(self, which: str, place: str, limit: int) -> None:
        """Ask for past messages, and wait for the end of their batch."""
        self._batch = asyncio.get_running_loop().create_future()
        self.send(f"CHATHISTORY {which} #{ROOM} {place} {limit}")
        await self._batch

    def _received(self, line: str) -> None:
        if (message := _MESSAGE.fullmatch(line)) and (numbered := _ID.search(message[1])):
            number = int(numbered[1])
            self._last = max(self._last, number)
            self._take(number, message[2], message[3])
            return
        words = line.removeprefix("@").split(" ")
        words = words[1:] if line.startswith("@") else words
        match words:
            case ["PING", *rest]:
                self.send(" ".join(["PONG", *rest]))
            case [_, "BATCH", name, *_] if name.startswith("-"):
                self._done()
            case [_, "FAIL", "CHATHISTORY", *_]:
                self._done()
            case [_, "366", *_] if not self.entered.done():
                self.entered.set_result(None)
            case [_, "433", *_] | ["ERROR", *_]:
                self._writer.transport.abort()

    def _done(self) -> None:
        if self._batch is not None and not self._batch.done():
            self._batch.set_result(None)


def opening(port: int) -> Open:
    """Return how to connect to a port."""

    async def open_client(name: str, take: Take, gone: Callable[[], None]) -> Client:
        try:
            client = Client(*await asyncio.open_connection("127.0.0.1", port), take)
        except OSError:
            raise Cut from None
        in_background(client.read(gone))
        for text in (f"CAP REQ :{CAPABILITIES}", f"NICK {name}", f"USER {name} 0 * :x", "CAP END"):
            client.send(text)
        client.send(f"JOIN #{ROOM}")
        await client.entered
        return client

    return open_client
