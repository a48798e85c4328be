"""Connection of a conversation: opened, read, and opened again after a break, with growing pauses."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from sockd.cli.address import Address, reason
from sockd.cli.chat.session import Session
from sockd.cli.chat.wire import MOST_BYTES
from sockd.cli.peer import Failed, Peer
from sockd.cli.tls import TlsSocket
from sockd.framing import FrameTooLong, Lines
from sockd.text import decoded

CONNECT_TIMEOUT = 10.0
"""Seconds to wait for a connection, and for each step of its handshake."""

TICK = 0.5
"""Seconds between two looks at what is due."""

PAUSES = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
"""Seconds before each new try; the last one is repeated. Each is varied by a quarter, so that not all clients
of a restarted server come at once."""

LAST_WORDS = {True: 3.0, False: 0.3}
"""Seconds for what still arrives after `/quit`: until a connection ends, or over datagrams."""


class Link:
    """Connection to a chat.

    Args:
        address: of the chat.
        retry: seconds after a break during which it is opened again; None for ever.
        changed: called with a text about the connection, "" while it is there.
    """

    def __init__(self, address: Address, retry: float | None, changed: Callable[[str], None]) -> None:
        self._address = address
        self._retry = retry
        self._changed = changed
        self._peer: Peer | None = None
        self._lines = Lines(MOST_BYTES)
        self._datagrams: socket.socket | None = None  # kept, as its port is the person
        self._woken = asyncio.Event()
        self._descriptor = -1
        self._failed = ""
        self._ever_in = self._was_in = False
        self.session: Session

    def send(self, line: str) -> None:
        """Send a line; it is lost if the connection is away."""
        if self._peer is None:
            return
        data = line.encode("utf-8", "surrogateescape")
        try:
            self._peer.write(data + b"\n" if self._address.stream else data)
        except Failed as failed:
            self._fail(str(failed))
        self._watch_writing()

    def wake(self) -> None:
        """Look at once at what has changed, such as the person's wish to leave."""
        self._woken.set()

    async def run(self) -> None:
        """Hold the conversation until it is over.

        Raises:
            Failed: the chat cannot be reached, or refuses the person.
        """
        loop = asyncio.get_running_loop()
        away_since: float | None = None
        tries = 0
        try:
            while not self.session.over:
                peer = await self._connect()
                if isinstance(peer, str):
                    why = peer
                else:
                    why = await self._hold(peer)
                    if self._was_in:
                        tries, away_since = 0, None
                if self.session.failure:
                    raise Failed(f"{self._address}: {self.session.failure}")
                if self.session.over:
                    return
                if not self._ever_in:
                    raise Failed(why)
                away_since = loop.time() if away_since is None else away_since
                pause = PAUSES[min(tries, len(PAUSES) - 1)] * random.uniform(0.75, 1.25)  # noqa: S311
                tries += 1
                if self._retry is not None and loop.time() + pause - away_since > self._retry:
                    raise Failed(why)
                await self._pause(pause, why)
        finally:
            if self._datagrams is not None:
                self._datagrams.close()

    async def _connect(self) -> Peer | str:
        """Open the connection; return the reason if that is not possible."""
        self._changed(f"connecting to {self._address}")
        if self._datagrams is not None:
            return Peer(self._datagrams.dup(), self._address)
        opening = _opened(self._address)
        while not opening.done() and not self.session.over:
            await asyncio.wait([opening], timeout=TICK)
        if not opening.done():
            opening.cancel()
            return "not connected"
        try:
            sock = opening.result()
        except OSError as error:
            return f"cannot connect to {self._address}: {reason(error)}"
        if not self._address.stream and isinstance(sock, socket.socket):
            self._datagrams = sock
            return Peer(sock.dup(), self._address)
        return Peer(sock, self._address)

    async def _hold(self, peer: Peer) -> str:
        """Converse until the connection is away; return why it is."""
        self._peer = peer
        # A copy cannot be unwatched once it is closed, so the original is watched.
        self._descriptor = (self._datagrams or peer.sock).fileno()
        self._lines = Lines(MOST_BYTES)
        loop = asyncio.get_running_loop()
        self._failed = ""
        self._was_in = False
        loop.add_reader(self._descriptor, self._read)
        try:
            self.session.opened(loop.time())
            self._read()
            while not self._is_away() and not self.session.over:
                await self._wait(TICK)
                self.session.tick(loop.time())
                if self.session.inside and not self._was_in:
                    self._ever_in = self._was_in = True
                    self._changed("")
            if self.session.over and not self._failed:
                await self._read_last_words()
        except asyncio.CancelledError:
            if not self._address.stream:
                self.send("/quit")
            raise
        finally:
            self._stop_watching()
            with suppress(OSError):
                peer.sock.close()
            self._peer = None
            self.session.closed()
        return self._failed or f"{self._address}: the connection was lost"

    def _is_away(self) -> bool:
        return bool(self._failed or self.session.failure or self.session.lost)

    async def _read_last_words(self) -> None:
        deadline = asyncio.get_running_loop().time() + LAST_WORDS[self._address.stream]
        while not self._failed and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await self._wait(left)

    async def _pause(self, seconds: float, why: str) -> None:
        """Wait before the next try, and show how long; a line of the person shortens it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        self._woken.clear()
        while (left := until - loop.time()) > 0 and not self.session.over:
            self._changed(f"{why}; trying again in {left:.0f} s")
            if await self._wait(min(left, 1.0)):
                return

    async def _wait(self, seconds: float) -> bool:
        """Wait, at most so long; tell whether something has changed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)
        woken = self._woken.is_set()
        self._woken.clear()
        return woken

    def _read(self) -> None:
        if self._peer is None:
            return
        now = asyncio.get_running_loop().time()
        try:
            for data in self._peer.read():
                self._received(data, now)
            if self._peer.ended:
                self._fail(f"{self._address}: closed by the server")
        except Failed as failed:
            self._fail(str(failed))
        except FrameTooLong as error:
            self._fail(f"{self._address}: {error}")
        self._woken.set()

    def _received(self, data: bytes, now: float) -> None:
        if self._address.stream:
            for line in self._lines.feed(data):
                self.session.received(decoded(line), now)
        else:
            for line in data.splitlines():
                self.session.received(decoded(line), now)

    def _watch_writing(self) -> None:
        if self._peer is None or self._failed:
            return
        loop = asyncio.get_running_loop()
        loop.remove_writer(self._descriptor)
        if self._peer.unsent:
            loop.add_writer(self._descriptor, self._flush)

    def _flush(self) -> None:
        try:
            if self._peer is not None:
                self._peer.flush()
        except Failed as failed:
            self._fail(str(failed))
        self._watch_writing()

    def _fail(self, why: str) -> None:
        self._failed = self._failed or why
        self._stop_watching()
        self._woken.set()

    def _stop_watching(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._descriptor)
        loop.remove_writer(self._descriptor)


def _opened(address: Address) -> asyncio.Future[socket.socket | TlsSocket]:
    """Connect in a thread that the end of the command does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[socket.socket | TlsSocket] = loop.create_future()

    def arrive(sock: socket.socket | TlsSocket | None, error: OSError | None) -> None:
        if future.cancelled():
            if sock is not None:
                sock.close()
        elif sock is not None:
            future.set_result(sock)
        elif error is not None:
            future.set_exception(error)

    def connect() -> None:
        sock, error = None, None
        try:
            sock = address.connect(CONNECT_TIMEOUT)
        except OSError as failure:
            error = failure
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(arrive, sock, error)

    threading.Thread(target=connect, daemon=True).start()
    return future
