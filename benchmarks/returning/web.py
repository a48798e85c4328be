"""Person in a browser: a WebSocket with JSON."""

from __future__ import annotations

import asyncio
import json
from asyncio import Future
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from benchmarks.returning.wire import ROOM, Cut, Open, Take, give_up, in_background

_refs = count(1)


class Page:
    """Connection of one person."""

    def __init__(self, socket: ClientConnection, take: Take) -> None:
        self._socket = socket
        self._take = take
        self._answers: dict[int, Future[None]] = {}
        self._last = 0
        self.entered: Future[None] = asyncio.get_running_loop().create_future()

    async def send(self, **command: object) -> None:
        """Send a command."""
        try:
            await self._socket.send(json.dumps(command))
        except (WebSocketException, OSError):
            raise Cut from None

    async def mark(self) -> int:
        """Return the number of the last message that has come: what follows it comes by itself."""
        await self._ask(type="ping")
        return self._last

    async def since(self, number: int) -> None:
        """Fetch messages behind a number."""
        await self._ask(type="since", room=ROOM, number=number, limit=200)

    async def say(self, text: str) -> None:
        """Say something in the room."""
        await self.send(type="say", room=ROOM, text=text, ref=next(_refs))

    def cut(self, gently: bool) -> None:
        """Close the WebSocket, or reset the connection."""
        if gently:
            in_background(self._socket.close())
        else:
            self._socket.transport.abort()

    async def read(self, gone: Callable[[], None]) -> None:
        """Read until the connection ends."""
        with suppress(WebSocketException, OSError):
            async for text in self._socket:
                self._received(json.loads(text))
        give_up(*self._answers.values(), self.entered)
        gone()

    async def _ask(self, **command: object) -> None:
        ref = next(_refs)
        answer = self._answers[ref] = asyncio.get_running_loop().create_future()
        await self.send(ref=ref, **command)
        await answer

    def _received(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "said":
                self._message(event)
            case "entered" | "messages":
                for message in event.get("recent") or event.get("messages") or ():
                    self._message(message)
            case "refused" if not self.entered.done():
                self._socket.transport.abort()
        if event["type"] == "entered" and not self.entered.done():
            self.entered.set_result(None)
        answer = self._answers.pop(event.get("ref") or 0, None)
        if answer is not None and not answer.done():
            answer.set_result(None)

    def _message(self, event: dict[str, Any]) -> None:
        self._last = max(self._last, event["number"])
        self._take(event["number"], event["name"], event["text"])


def opening(port: int) -> Open:
    """Return how to connect to a port."""

    async def open_page(name: str, take: Take, gone: Callable[[], None]) -> Page:
        try:
            socket = await connect(f"ws://127.0.0.1:{port}/socket", ping_interval=None, compression=None)
        except (WebSocketException, OSError):
            raise Cut from None
        page = Page(socket, take)
        in_background(page.read(gone))
        await page.send(type="hello", name=name, rooms={ROOM: None})
        await page.entered
        return page

    return open_page
