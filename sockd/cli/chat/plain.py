"""Conversation without a screen: lines in, lines out, for pipes and terminals without a cursor."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import suppress
from typing import TextIO

from sockd.cli.address import Address
from sockd.cli.chat.link import Link
from sockd.cli.chat.session import Session
from sockd.cli.chat.view import Wishes
from sockd.cli.chat.wire import Private, Said
from sockd.cli.peer import Failed
from sockd.text import printable

LARGEST_LINE = 65_536
"""Bytes of a line of the input; what is longer is several lines, which the chat refuses."""

MOST_WAITING = 100
"""Lines of the input that wait for their answers; more are read later."""


def converse_plainly(address: Address, wishes: Wishes, retry: float | None) -> None:
    """Say the lines of standard input, and print what others say, until the input ends.

    Raises:
        Failed: the chat cannot be reached or was lost, or a line was refused.
        KeyboardInterrupt: the person pressed Ctrl-C.
        OSError: standard input or output failed.
    """
    asyncio.run(_Plain(address, wishes, retry).run())


def shown(message: Said | Private) -> str:
    """Return a message as the chat shows it to programs without `/numbers on`."""
    if isinstance(message, Private):
        return f"[{message.name} -> {message.to}] {message.text}"
    match message.kind:
        case "said":
            return f"<{message.name}> {message.text}"
        case "action":
            return f"** {message.name} {message.text}"
        case "notice":
            return f"-{message.name}- {message.text}"


class _Plain:
    def __init__(self, address: Address, wishes: Wishes, retry: float | None) -> None:
        self._link = Link(address, retry, self._changed)
        self._session = Session(wishes, address.stream, self._link.send, self)
        self._link.session = self._session
        self._refused: list[str] = []
        self._output: OSError | None = None
        self._state = ""

    async def run(self) -> None:
        holding = asyncio.ensure_future(self._link.run())
        reading = asyncio.ensure_future(self._read())
        try:
            await asyncio.wait([holding, reading], return_when=asyncio.FIRST_EXCEPTION)
            if reading.done() and not reading.cancelled():
                reading.result()
            await holding
        except Failed:
            if self._output is None:
                raise
        finally:
            reading.cancel()
            holding.cancel()
        if self._output is not None:
            raise self._output
        if self._refused:
            raise Failed(f"{len(self._refused)} refused, the first: {self._refused[0]}")

    # The view of the session.

    def said(self, said: Said, *, own: bool, old: bool) -> None:
        """Print a message of the room."""
        if not own and not old:
            self._print(shown(said))

    def told(self, private: Private) -> None:
        """Print a private message."""
        if private.name != "you":
            self._print(shown(private))

    def note(self, text: str) -> None:
        """Print a line from the server."""
        self._print(f"* {text}")

    def refused(self, code: str, text: str) -> None:  # noqa: ARG002
        """Print a refusal; it is told once more at the end."""
        self._print(f"* {text}")
        self._refused.append(text)

    def unknown(self, text: str) -> None:
        """Count a message as refused, as it may be lost."""
        self._refused.append(f"it is not known whether this arrived: {printable(text)}")

    def redacted(self, room: str, number: int) -> None:
        """Do nothing: what was printed cannot be taken back."""

    def _print(self, line: str) -> None:
        try:
            print(line, flush=True)
        except OSError as error:
            self._output = error
            self._session.failure = "cannot write the output"
            self._link.wake()

    def _changed(self, text: str) -> None:
        """Tell on standard error that the connection was lost, and that it is there again."""
        break_ = text.partition("; trying again")[0] if "; trying again" in text else ""
        if break_ != self._state and (break_ or not text):
            self._state = break_
            with suppress(OSError):
                print(f"{break_}; trying again" if break_ else "connected again", file=sys.stderr)

    async def _read(self) -> None:
        """Say each line of the input; leave at its end."""
        loop = asyncio.get_running_loop()
        lines: _Lines = asyncio.Queue()
        room = threading.Semaphore(1)  # so that the input is read no faster than it is said
        threading.Thread(target=_feed, args=(sys.stdin, loop, lines, room), daemon=True).start()
        while True:
            line = await lines.get()
            room.release()
            if isinstance(line, OSError):
                raise line
            if line is None:
                self._session.leave(loop.time())
                self._link.wake()
                return
            self._session.typed(line, loop.time())
            self._link.wake()
            while len(self._session.pending) >= MOST_WAITING:
                await asyncio.sleep(0.05)
            if self._session.over:
                return


_Lines = asyncio.Queue[str | OSError | None]
"""Lines of the input; last the error that ended it, or None."""


def _feed(source: TextIO, loop: asyncio.AbstractEventLoop, lines: _Lines, room: threading.Semaphore) -> None:
    """Read lines in a thread, as a file cannot be waited for."""

    def put(item: str | OSError | None) -> None:
        room.acquire()
        loop.call_soon_threadsafe(lines.put_nowait, item)

    with suppress(RuntimeError):  # the loop is closed
        try:
            with os.fdopen(os.dup(source.fileno()), "rb") as file:
                while line := file.readline(LARGEST_LINE):
                    put(line.rstrip(b"\r\n").decode("utf-8", "surrogateescape"))
            put(None)
        except OSError as error:
            put(error)
