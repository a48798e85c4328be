"""Clients that misbehave: resets, half of a handshake, nothing read, too many of one source."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from contextlib import suppress

from benchmarks.soak.configuration import DENIED, PER_SOURCE, REFUSAL
from benchmarks.soak.load import Paces, Visit, World
from benchmarks.soak.stream import PATIENCE, UNVERIFIED, Stream, Wrong, expect

FLOOD = 512
"""Pieces of 64 KiB whose echo is not read: far more than all buffers in between."""

CROWD, TRAPPED = "127.0.3.1", "127.0.4.1"
"""Addresses that open too many connections."""


async def reset(world: World) -> None:
    """Reset a connection while the echo is on its way."""
    stream = await Stream.open(world.either("echo"))
    await stream.send(world.data())
    await world.rest(world.random.choice((0, 0.01)))
    stream.reset()


async def reset_tls(world: World) -> None:
    """Reset a connection after a handshake."""
    stream = await Stream.open(world.port("tls"), tls=UNVERIFIED)
    await stream.send(world.data(most=4096))
    stream.reset()


async def half_a_handshake(world: World) -> None:
    """Send the beginning of a ClientHello and then nothing: closed by handshake_timeout."""
    await _is_cut(await Stream.open(world.port("tls")), b"\x16\x03\x01\x02\x00\x01\x00")


async def no_handshake(world: World) -> None:
    """Send text instead of a handshake."""
    await _is_cut(await Stream.open(world.port("tls")), b"GET / HTTP/1.0\r\n\r\n")


async def half_a_header(world: World) -> None:
    """Send the beginning of a PROXY header: closed by header_timeout."""
    await _is_cut(await Stream.open(world.port("proxied")), b"PROXY TCP4 10.1")


async def no_header(world: World) -> None:
    """Send no PROXY header where one is expected."""
    await _is_cut(await Stream.open(world.port("proxied")), b"hello\r\n\r\n")


async def no_message(world: World) -> None:
    """Send nothing: closed by first_message_timeout."""
    await _is_cut(await Stream.open(world.port("hurried")), b"")


async def silence(world: World) -> None:
    """Send one message and then nothing: closed by idle_timeout."""
    stream = await Stream.open(world.port("hurried"))
    await stream.echo(b"one word")
    await _is_cut(stream, b"")


async def for_too_long(world: World) -> None:
    """Send on and on: closed by lifetime, in order."""
    stream, began = await Stream.open(world.port("hurried")), time.monotonic()
    with suppress(EOFError, ConnectionError):
        while time.monotonic() - began < PATIENCE:
            await stream.echo(b"and on")
            await asyncio.sleep(0.5)
        raise Wrong(f"expected the end after 8 s, found none after {PATIENCE:g} s")
    await stream.close()


async def denied(world: World) -> None:
    """Connect from an address that is denied."""
    await _is_cut(await Stream.open(world.port("echo"), source=DENIED), b"")


async def _is_cut(stream: Stream, first: bytes) -> None:
    """Send the first bytes; expect a close without service."""
    if first:
        await stream.send(first)
    found = await stream.outcome()
    await stream.close()
    if first.strip() and first.strip() in found:
        raise Wrong(f"expected no service, found {found[:80]!r}")


async def non_reader(world: World) -> None:
    """Send without end and read nothing of the echo: closed by idle_timeout and close_timeout."""
    stream = await Stream.open(world.port("pressed"))
    stream.stop_reading()
    try:
        for _ in range(FLOOD):
            await stream.send(bytes(65_536))
    except ConnectionError:
        return
    finally:
        await stream.close()
    raise Wrong("expected to be cut, found that everything was taken")


async def slow_taker(world: World) -> None:
    """Get more than the buffers hold and read nothing: closed by close_timeout."""
    stream = await Stream.open(world.port("big"))
    stream.stop_reading()
    await world.rest(8)
    stream.reset()


async def too_many(world: World) -> None:
    """Open more connections than one source may have; the rest gets a line, or is refused for a while."""
    found = await _crowd(world, "few", CROWD)
    served = found.count(b"me")
    if served > PER_SOURCE:
        raise Wrong(f"expected {PER_SOURCE} of one source at most, found {served}")
    expect("answers", set(), set(found) - {b"me", b"", REFUSAL.encode() + b"\r\n"})


async def tarpit(world: World) -> None:
    """Open more connections than one source may have; the rest is held without an answer."""
    found = await _crowd(world, "tarpit", TRAPPED)
    expect("answers", [b""] * PER_SOURCE + [b"me"] * PER_SOURCE, sorted(found))


async def _crowd(world: World, service: str, source: str) -> list[bytes]:
    """Open twice the allowed connections; return what each of them received."""
    streams = [await Stream.open(world.port(service), source=source) for _ in range(2 * PER_SOURCE)]
    await asyncio.sleep(0.2)
    found = await asyncio.gather(*(_said(stream) for stream in streams))
    for stream in streams:
        await stream.close()
    await asyncio.sleep(0.2)
    return found


async def _said(stream: Stream) -> bytes:
    """Return what arrives until the end or an echo."""
    with suppress(ConnectionError):
        await stream.send(b"me")
        try:
            first = await stream.read(2)
        except EOFError:
            return b""
        return first if first == b"me" else first + await stream.outcome()
    return b""


PACES: Paces = [
    (reset, 0.5),
    (reset_tls, 3.0),
    (half_a_handshake, 2.0),
    (no_handshake, 5.0),
    (half_a_header, 3.0),
    (no_header, 3.0),
    (no_message, 3.0),
    (silence, 3.0),
    (for_too_long, 10.0),
    (denied, 4.0),
    (non_reader, 5.0),
    (slow_taker, 5.0),
    (too_many, 1.0),
    (tarpit, 5.0),
]

LASTING: Collection[Visit] = ()
"""Visits that an upgrade may end: none, because these expect any end."""
