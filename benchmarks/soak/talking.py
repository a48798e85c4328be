"""Clients that behave: echo, text, time, banners, TLS, proxies and datagrams, each answer checked."""

from __future__ import annotations

import hashlib
import itertools
import socket
import ssl
import struct
import time
from collections.abc import Collection
from contextlib import suppress

from benchmarks.processes import HOST
from benchmarks.soak.configuration import (
    BIG,
    CLIENT,
    CLIENT_KEY,
    HOST_6,
    STRANGER,
    STRANGER_KEY,
    TEXTS,
)
from benchmarks.soak.load import Paces, Visit, World
from benchmarks.soak.stream import UNVERIFIED, Datagrams, Place, Stream, Wrong, expect, unverified

TEXT = "straße, naïve, ὀδυσσεύς, 1234"

CLOCK = 2.0
"""Seconds that a time may be off, because its answer takes some."""

PROXIED = 250
"""Clients behind the proxy."""

_numbers = itertools.count()


async def short_echo(world: World) -> None:
    """Exchange some messages, then end from either side."""
    stream = await Stream.open(world.any("echo"))
    for _ in range(world.random.randint(1, 3)):
        await stream.echo(world.data())
    if world.random.random() < 0.5:
        stream.end()
        expect("after the end", b"", await stream.rest())
    await stream.close()


async def long_echo(world: World) -> None:
    """Exchange small messages for some minutes, over reloads that do not change the service."""
    stream = await Stream.open(world.any("echo"))
    for _ in range(world.random.randint(20, 120)):
        await stream.echo(world.data(most=4096))
        if not await world.rest(world.random.uniform(0.5, 1.5)):
            break
    await stream.close()


async def endless_echo(world: World) -> None:
    """Use one connection for the whole run."""
    stream = await Stream.open(world.any_port("echo"))
    while await world.rest(1):
        await stream.echo(world.data(most=4096))
    await stream.close()


async def endless_tls(world: World) -> None:
    """Use one encrypted connection for the whole run, over all changes of certificates."""
    stream = await Stream.open(world.port("tls"), tls=UNVERIFIED)
    while await world.rest(2):
        await stream.echo(world.data(most=16_384))
    await stream.close()


async def endless_upper(world: World) -> None:
    """Use one connection for the whole run, to a service whose limits change."""
    stream = await Stream.open(world.any("upper"))
    while await world.rest(2):
        await _upper(stream)
    await stream.close()


async def upper(world: World) -> None:
    """Send text, and end our side."""
    stream = await Stream.open(world.any("upper"))
    await _upper(stream)
    stream.end()
    expect("after the end", b"", await stream.rest())
    await stream.close()


async def _upper(stream: Stream) -> None:
    expected = TEXT.upper().encode()
    await stream.send(TEXT.encode())
    expect("upper case", expected, await stream.read(len(expected)))


async def time_of_day(world: World) -> None:
    """Ask for two formats on one connection; the service's ports change, this connection stays."""
    stream = await Stream.open(world.any_port("time"))
    await stream.send(b"%s\n%Q\n")
    _near(await stream.line())
    expect("unknown directive", "error: ", (await stream.line())[:7])
    await stream.close()


def _near(seconds: str) -> None:
    if abs(time.time() - int(seconds)) > CLOCK:
        raise Wrong(f"expected a time near {time.time():.0f}, found {seconds}")


async def banner(world: World) -> None:
    """Expect the text of either version."""
    stream = await Stream.open(world.port("banner"))
    _one_of_texts(await stream.rest())
    await stream.close()


def _one_of_texts(found: bytes) -> None:
    if found.decode() not in TEXTS:
        raise Wrong(f"expected one of {TEXTS}, found {found!r}")


async def big_banner(world: World) -> None:
    """Expect half a megabyte."""
    stream = await Stream.open(world.port("big"))
    expect("digest", hashlib.sha256(BIG).digest(), hashlib.sha256(await stream.rest()).digest())
    await stream.close()


async def discard(world: World) -> None:
    """Send data to a service that answers nothing."""
    stream = await Stream.open(world.port("discard"))
    await stream.send(world.data())
    stream.end()
    expect("discard", b"", await stream.rest())
    await stream.close()


async def extra(world: World) -> None:
    """Use a service that exists in one version only: once it has answered, it answers to the end."""
    with suppress(ConnectionError):
        stream = await Stream.open(world.port("extra"))
        try:
            await stream.echo(b"?")
        except (ConnectionError, EOFError):
            return await stream.close()  # removed between the connection and its acceptance
        for _ in range(20):
            if not await world.rest(1):
                break
            await stream.echo(world.data(most=4096))
        await stream.close()
    return None


async def tls_echo(world: World) -> None:
    """Make a handshake, exchange some messages, and end with close_notify."""
    stream = await Stream.open(world.any_port("tls"), tls=UNVERIFIED)
    for _ in range(world.random.randint(1, 3)):
        await stream.echo(world.data())
    await stream.close()


async def trusted_echo(world: World) -> None:
    """Exchange messages over TLS with a client certificate."""
    stream = await Stream.open(world.port("trusted"), tls=_showing(world, CLIENT, CLIENT_KEY))
    for _ in range(world.random.randint(1, 3)):
        await stream.echo(world.data())
    await stream.close()


async def mistrusted(world: World) -> None:
    """Show an unknown certificate, or none: refused, which a client of TLS 1.3 learns when it reads."""
    tls = world.random.choice((UNVERIFIED, _showing(world, STRANGER, STRANGER_KEY)))
    try:
        stream = await Stream.open(world.port("trusted"), tls=tls)
        await stream.send(b"?")
        found = await stream.outcome()
    except (ssl.SSLError, ConnectionError):
        return
    await stream.close()
    expect("served", b"", found)


_contexts: dict[str, ssl.SSLContext] = {}


def _showing(world: World, certificate: str, key: str) -> ssl.SSLContext:
    """Return a client context with a certificate."""
    if certificate not in _contexts:
        _contexts[certificate] = unverified()
        _contexts[certificate].load_cert_chain(world.places.folder / certificate, world.places.folder / key)
    return _contexts[certificate]


async def proxied_echo(world: World) -> None:
    """Send through a proxy, with either version of its header, sometimes encrypted."""
    tls = world.random.random() < 0.3
    client = f"{world.random.choice(('10.1.1.', '2001:db8::'))}{world.random.randrange(PROXIED)}"
    header = world.random.choice((_header_1, _header_2))(client)
    stream = await Stream.open(
        world.port("proxied-tls" if tls else "proxied"), first=header, tls=UNVERIFIED if tls else None
    )
    await stream.echo(world.data(most=4096))
    await stream.close()


def _header_1(client: str) -> bytes:
    kind, server = ("TCP6", HOST_6) if ":" in client else ("TCP4", HOST)
    return f"PROXY {kind} {client} {server} 40000 7007\r\n".encode()


def _header_2(client: str) -> bytes:
    family, kind, server = (
        (socket.AF_INET6, b"\x21", HOST_6) if ":" in client else (socket.AF_INET, b"\x11", HOST)
    )
    addresses = socket.inet_pton(family, client) + socket.inet_pton(family, server)
    addresses += struct.pack(">HH", 40000, 7007)
    return b"\r\n\r\n\0\r\nQUIT\n\x21" + kind + struct.pack(">H", len(addresses)) + addresses


async def udp(world: World) -> None:
    """Send one datagram to each service that has them."""
    token = world.name().encode()
    expect("echo", token, await _asked(world.any_port("echo"), token))
    expect("upper case", TEXT.upper().encode(), await _asked(world.any_port("upper"), TEXT.encode()))
    _near((await _asked(world.any_port("time"), b"%s")).decode())
    _one_of_texts(await _asked(world.port("banner"), b""))


async def _asked(place: Place, question: bytes) -> bytes:
    datagrams = Datagrams(place)
    try:
        return await datagrams.ask(question)
    finally:
        datagrams.close()


async def unix_datagrams(world: World) -> None:
    """Send some datagrams on one bound socket."""
    datagrams = Datagrams(
        world.path("echo-datagrams"), world.places.folder / "run" / f"client-{next(_numbers)}"
    )
    try:
        for _ in range(3):
            data = world.data(most=8192)
            expect("echo", data, await datagrams.ask(data))
    finally:
        datagrams.close()


PACES: Paces = [
    (short_echo, 0.15),
    *[(long_echo, 5.0)] * 4,
    (endless_echo, 0.1),
    (endless_tls, 0.1),
    (endless_upper, 0.1),
    (upper, 0.4),
    (time_of_day, 1.0),
    (banner, 0.4),
    (big_banner, 5.0),
    (discard, 1.0),
    (extra, 3.0),
    (tls_echo, 0.4),
    (trusted_echo, 0.6),
    (mistrusted, 2.0),
    (proxied_echo, 0.25),
    (udp, 0.4),
    (unix_datagrams, 0.8),
]

LASTING: Collection[Visit] = {long_echo, endless_echo, endless_tls, endless_upper, extra}
"""Visits that an upgrade may end, because they outlast `drain_timeout`."""
