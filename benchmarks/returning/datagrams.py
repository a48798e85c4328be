"""Person over UDP: an address that goes deaf for a while, as one on a bad network does."""

from __future__ import annotations

import asyncio
from asyncio import DatagramProtocol, DatagramTransport, Future
from collections.abc import Callable
from itertools import count

from typing_extensions import override

from benchmarks.returning.lines import MESSAGE, PONG
from benchmarks.returning.wire import Cut, Open, Take

PATIENCE = 1.0
"""Seconds until a datagram counts as lost."""

_tokens = count()


class Address(DatagramProtocol):
    """Address of one person."""

    transport: DatagramTransport

    def __init__(self, take: Take) -> None:
        self._take = take
        self._pongs: dict[str, Future[int]] = {}
        self.entered: Future[str] = asyncio.get_running_loop().create_future()

    @override
    def connection_made(self, transport: DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    @override
    def datagram_received(self, data: bytes, addr: object) -> None:
        line = data.decode().rstrip("\n")
        if message := MESSAGE.fullmatch(line):
            self._take(int(message[1]), message[2], message[3])
        elif pong := PONG.fullmatch(line):
            if waiting := self._pongs.pop(pong[1], None):
                waiting.set_result(int(pong[3]))
        elif line.startswith("* you are ") and not self.entered.done():
            self.entered.set_result(line)

    def send(self, text: str) -> None:
        """Send a datagram."""
        self.transport.sendto(text.encode())

    async def mark(self) -> int:
        """Return the number of the last message; what follows it comes by itself, unless it is lost."""
        while not self.transport.is_closing():
            token = f"t{next(_tokens)}"
            pong = self._pongs[token] = asyncio.get_running_loop().create_future()
            self.send(f"/ping {token}")
            await asyncio.wait([pong], timeout=PATIENCE)
            if pong.done():
                return pong.result()
        raise Cut

    async def since(self, number: int) -> None:
        """Fetch messages behind a number."""
        self.send(f"/since {number}")
        await self.mark()

    async def say(self, text: str) -> None:
        """Say something in the room."""
        self.send(text)

    def cut(self, gently: bool) -> None:  # noqa: ARG002  # silence would keep the name for two minutes
        """Leave."""
        self.send("/quit")
        self.transport.close()


def opening(port: int) -> Open:
    """Return how to take part from a new address."""

    async def open_address(name: str, take: Take, gone: Callable[[], None]) -> Address:  # noqa: ARG001
        loop = asyncio.get_running_loop()
        _, address = await loop.create_datagram_endpoint(
            lambda: Address(take), remote_addr=("127.0.0.1", port)
        )
        address.send(name)
        await asyncio.wait([address.entered], timeout=PATIENCE)
        if not address.entered.done() or not address.entered.result().startswith(f"* you are {name} "):
            address.cut(gently=True)
            raise Cut
        code = address.entered.result().partition("answer /here ")[2].split(" ")[0]
        for text in (f"/here {code}", "/numbers on", "/echo on"):
            address.send(text)
        await address.mark()
        return address

    return open_address
