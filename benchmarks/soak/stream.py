"""Clients' ends of streams and datagrams; a wait that takes too long is an error."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import suppress
from pathlib import Path
from typing import Self

PATIENCE = 20.0
"""Seconds to wait for an answer, on a busy machine."""

RETRIES = 3
"""Times that a datagram is sent until its answer counts as missing."""

Place = tuple[str, int] | Path
"""Address of this machine with a port, or the path of a UNIX socket."""


def unverified() -> ssl.SSLContext:
    """Return a client context that accepts any certificate, because the daemon's change all the time."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


UNVERIFIED = unverified()


class Wrong(Exception):
    """Difference between what came and what was expected."""


def expect(what: str, expected: object, found: object) -> None:
    """Raise `Wrong` unless both are equal."""
    if expected != found:
        raise Wrong(f"{what}: expected {_short(expected)}, found {_short(found)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}… of {len(text)}"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Stream:
    """Client's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(
        cls, place: Place, *, source: str = "", first: bytes = b"", tls: ssl.SSLContext | None = None
    ) -> Self:
        """Connect.

        Args:
            place: the address or path to connect to.
            source: the address to connect from; by default the one that is connected to.
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
        """Send data, as fast as the other side takes it."""
        self._writer.write(data)
        async with asyncio.timeout(PATIENCE):
            await self._writer.drain()

    async def echo(self, data: bytes) -> None:
        """Send data, and expect it back."""
        sending = asyncio.create_task(self.send(data))
        try:
            expect("echo", data, await self.read(len(data)))
        finally:
            await sending

    async def read(self, size: int) -> bytes:
        """Read exactly `size` bytes."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.readexactly(size)

    async def line(self) -> str:
        """Read the next line, without its end."""
        async with asyncio.timeout(PATIENCE):
            return (await self._reader.readuntil(b"\n"))[:-1].decode()

    async def line_like(self, wanted: str) -> str:
        """Read lines up to one that contains a text."""
        while wanted not in (line := await self.line()):
            pass
        return line

    async def rest(self) -> bytes:
        """Read everything to the end, which must be an orderly one."""
        async with asyncio.timeout(PATIENCE):
            return await self._reader.read()

    async def outcome(self) -> bytes:
        """Read everything to the end, whatever kind of end."""
        with suppress(ConnectionError):
            return await self.rest()
        return b""

    def end(self) -> None:
        """End our side."""
        self._writer.write_eof()

    def stop_reading(self) -> None:
        """Stop reading."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads too

    def reset(self) -> None:
        """Reset the connection."""
        handle = self._writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close the connection, and wait until that is done."""
        self._writer.close()
        with suppress(ConnectionError, ssl.SSLError):  # the other side closed first
            async with asyncio.timeout(PATIENCE):
                await self._writer.wait_closed()


class Datagrams:
    """Socket of datagrams to one address."""

    def __init__(self, place: Place, own: Path | None = None) -> None:
        family = socket.AF_UNIX if isinstance(place, Path) else _family(place[0])
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self._own = own
        self.socket.setblocking(False)
        if own is not None:
            self.socket.bind(str(own))
        self.socket.connect(str(place) if isinstance(place, Path) else place)

    async def ask(self, data: bytes) -> bytes:
        """Send a datagram and return the next that comes; repeat if none does."""
        for _ in range(RETRIES):
            self.send(data)
            with suppress(TimeoutError):
                return await self.next(PATIENCE / RETRIES)
        raise Wrong(f"expected an answer to {_short(data)}, found none")

    def send(self, data: bytes) -> None:
        """Send a datagram."""
        self.socket.send(data)

    async def next(self, patience: float = PATIENCE) -> bytes:
        """Return the next datagram."""
        async with asyncio.timeout(patience):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65_536)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        if self._own is not None:
            self._own.unlink()
