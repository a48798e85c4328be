"""The clients' ends of streams and datagrams: whatever takes too long is an error."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import suppress
from pathlib import Path
from typing import Self

PATIENCE = 20.0
"""Seconds for an answer; others use the machine too."""

RETRIES = 3
"""How often a datagram is sent until its answer is missing."""

Place = tuple[str, int] | Path
"""An address of this machine with a port, or the path of a UNIX socket."""


def unverified() -> ssl.SSLContext:
    """A client that takes any certificate: the daemon gets new ones all the time."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


UNVERIFIED = unverified()


class Wrong(Exception):
    """Something else came than what should."""


def expect(what: str, expected: object, found: object) -> None:
    """Raise `Wrong` unless both are the same."""
    if expected != found:
        raise Wrong(f"{what}: expected {_short(expected)}, found {_short(found)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}… of {len(text)}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Stream:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(
        cls, place: Place, *, source: str = "", first: bytes = b"", tls: ssl.SSLContext | None = None
    ) -> Self:
        """Connect.

        Args:
            place: where to.
            source: the address that it comes from; without it, the one that it goes to.
            first: sent before all else, in the clear.
            tls: for a handshake, if one follows.
        """
        async with asyncio.timeout(PATIENCE):
            if isinstance(place, Path):
                return cls(*await asyncio.open_unix_connection(place))
            host, port = place
            reader, writer = await asyncio.open_connection(host, port, local_addr=(source or host, 0))
            if first:
                writer.write(first)
            if tls is not None:
                await writer.start_tls(tls)
            return cls(reader, writer)

    async def send(self, data: bytes) -> None:
        """Send, as fast as the other side takes it."""
        self._writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self._writer.drain()

    async def echo(self, data: bytes) -> None:
        """Send, and have it back."""
        sending = asyncio.create_task(self.send(data))
        try:
            expect("echo", data, await self.read(len(data)))
        finally:
            await sending

    async def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readexactly(size)

    async def line(self) -> str:
        """The next line, without its end."""
        async with asyncio.timeout(PATIENCE):
            return (await self._reader.readuntil(b"\n"))[:-1].decode()

    async def line_like(self, wanted: str) -> str:
        """The next line that holds a text; what comes before is of no interest."""
        while wanted not in (line := await self.line()):
            pass
        return line

    async def rest(self) -> bytes:
        """Everything to the end, which must be an orderly one."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()

    async def outcome(self) -> bytes:
        """Everything to the end, whatever kind of end."""
        with suppress(ConnectionError):
            return await self.rest()
        return b""

    def end(self) -> None:
        """End our side."""
        self._writer.write_eof()

    def stop_reading(self) -> None:
        """Take no byte any more."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads too

    def reset(self) -> None:
        """Break it off."""
        handle = self._writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close it, and wait until that is done."""
        self._writer.close()
        with suppress(ConnectionError, ssl.SSLError):  # the other side was faster
            async with asyncio.timeout(PATIENCE):
                await self._writer.wait_closed()


class Datagrams:
    """A socket of datagrams to one place."""

    def __init__(self, place: Place, own: Path | None = None) -> None:
        family = socket.AF_UNIX if isinstance(place, Path) else _family(place[0])
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self._own = own
        self.socket.setblocking(False)
        if own is not None:
            self.socket.bind(str(own))
        self.socket.connect(str(place) if isinstance(place, Path) else place)

    async def ask(self, data: bytes) -> bytes:
        """Send one, and have the next that comes; again, if none does."""
        for _ in range(RETRIES):
            self.send(data)
            with suppress(TimeoutError):
                return await self.next(PATIENCE / RETRIES)
        raise Wrong(f"expected an answer to {_short(data)}, found none")

    def send(self, data: bytes) -> None:
        """Send one."""
        self.socket.send(data)

    async def next(self, patience: float = PATIENCE) -> bytes:
        """The next that comes."""
        async with asyncio.timeout(patience):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65_536)

    def close(self) -> None:
        """Close it."""
        self.socket.close()
        if self._own is not None:
            self._own.unlink()
