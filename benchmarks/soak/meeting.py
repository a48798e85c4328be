"""Clients that meet others or store something: chat, desk and files."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from benchmarks.soak.load import Paces, Visit, World
from benchmarks.soak.stream import Datagrams, Place, Stream, Wrong, expect

_CLIENT = re.compile(r"(c\d+) \S+> (\S+)")
_CODE = re.compile(r"/here (\w+)")


@asynccontextmanager
async def _member(place: Place, name: str) -> AsyncIterator[Stream]:
    stream = await Stream.open(place)
    try:
        expect("greeting", "* welcome; your name?", await stream.line())
        await stream.send(f"{name}\n".encode())
        await stream.line_like(f"* you are {name} in lobby")
        yield stream
    finally:
        await stream.close()


async def chat_party(world: World) -> None:
    """Let some members meet in a room of their own; each reads every other's messages in order."""
    room = world.name()
    names = [world.name() for _ in range(world.random.randint(2, 5))]
    async with AsyncExitStack() as leaving:
        streams = [await leaving.enter_async_context(_member(world.either("chat"), name)) for name in names]
        for index, (name, stream) in enumerate(zip(names, streams, strict=True)):
            await stream.send(f"/join {room}\n".encode())
            await stream.line_like(f"* you are {name} in {room}")
            for other in streams[:index]:
                expect("joined", f"* {name} joined {room}", await other.line())
        for name, stream in zip(names, streams, strict=True):
            for text in ("first", "second"):
                await stream.send(f"{text} of {name}\n".encode())
            for other in streams:
                if other is not stream:
                    expect("said", f"<{name}> first of {name}", await other.line())
                    expect("said", f"<{name}> second of {name}", await other.line())
        await streams[0].send(f"/msg {names[1]} psst\n".encode())
        expect("told", f"[{names[0]} -> you] psst", await streams[1].line())
        await streams[-1].send(b"/quit\n")
        expect("after /quit", b"", await streams[-1].rest())
        for other in streams[:-1]:
            expect("left", f"* {names[-1]} left (quit)", await other.line())


async def chat_all_along(world: World) -> None:
    """Stay in the first room for the whole run, read everything and write little."""
    async with _member(world.either("chat"), world.name()) as stream:
        while await world.rest(5):
            token = world.name()
            await stream.send(f"{token}\n/who\n".encode())
            await stream.line_like("* in lobby: ")


async def chat_by_datagram(world: World) -> None:
    """Let a member over UDP and one over TCP talk; sometimes the former vanishes without leaving."""
    name, other, room = world.name(), world.name(), world.name()
    datagrams = Datagrams(world.port("chat"))
    try:
        async with _member(world.port("chat"), other) as stream:
            welcome = (await datagrams.ask(name.encode())).decode()
            expect("welcome", f"* you are {name} in lobby", welcome.partition(";")[0])
            code = _CODE.search(welcome)
            expect("a code in the welcome", True, code is not None)
            datagrams.send(code[0].encode() if code else b"")
            await _datagram_like(datagrams, "* you are shown all now")
            datagrams.send(f"/join {room}".encode())
            await _datagram_like(datagrams, f"* you are {name} in {room}")
            await stream.send(f"/join {room}\n".encode())
            await stream.line_like(f"* you are {other} in {room}, with {name}")
            await _datagram_like(datagrams, f"* {other} joined {room}")
            await stream.send(b"over TCP\n")
            await _datagram_like(datagrams, f"<{other}> over TCP")
            datagrams.send(b"over UDP")
            expect("said", f"<{name}> over UDP", await stream.line())
            if world.random.random() < 0.7:
                datagrams.send(b"/quit")
                expect("left", f"* {name} left (quit)", await stream.line())
    finally:
        datagrams.close()


async def _datagram_like(datagrams: Datagrams, wanted: str) -> None:
    while wanted not in (await datagrams.next()).decode():
        pass


async def desk(world: World) -> None:
    """Let a client write and an operator answer."""
    operator = await Stream.open(world.path("operator"))
    client = await Stream.open(world.port("desk"))
    question, answer = world.name(), world.name()
    await operator.send(b"/list\n")  # the answer shows that the operator is connected
    await operator.line_like("* ")
    await client.send(f"{question}\n".encode())
    while (found := _CLIENT.fullmatch(await operator.line())) is None or found[2] != question:
        pass
    await operator.send(f"{found[1]} {answer}\n".encode())
    expect("answer", answer, await client.line())
    await client.send(b"q\n")
    expect("after q", b"", await client.rest())
    await operator.line_like(f"* {found[1]} ")
    await operator.send(b"/quit\n")
    rest = (await operator.rest()).decode()  # other clients may come and go meanwhile
    expect("after /quit", False, f"* {found[1]} " in rest)
    await client.close()
    await operator.close()


async def upload(world: World) -> None:
    """Upload files on one connection; check and remove each on the disk.

    A service that drains ends the conversation between two files.
    """
    stream = await Stream.open(world.port("upload"))
    await _upload_one(world, stream)
    if world.random.randint(0, 1):
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await _upload_one(world, stream)
    await stream.close()


async def _upload_one(world: World, stream: Stream) -> None:
    """Upload a file; raise IncompleteReadError or ConnectionError only if there is no answer at all."""
    name, data = f"{world.name()}.bin", world.data(most=300_000)
    digest = hashlib.sha256(data).hexdigest()
    await stream.send(f"put {len(data)} sha256={digest} {name}\n".encode() + data)
    expect("go", "go", await stream.line())
    try:
        answer = await stream.line()
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise Wrong("the connection ended within a file") from error
    expect("ok", f"ok {name} {len(data)} sha256={digest}", answer)
    _take(world, name, data)


async def upload_raw(world: World) -> None:
    """Upload a file as a connection."""
    data = world.data(most=300_000)
    stream = await Stream.open(world.port("raw"))
    await stream.send(data)
    stream.end()
    answer, name, size, digest = (await stream.line()).split()
    expect("answer", ("ok", str(len(data))), (answer, size))
    expect("digest", f"sha256={hashlib.sha256(data).hexdigest()}", digest)
    _take(world, name, data)
    await stream.close()


def _take(world: World, name: str, data: bytes) -> None:
    file = _received(world) / name
    expect("file", data, file.read_bytes())
    file.unlink()


async def upload_wrong(world: World) -> None:
    """Send data that does not have the digest: the file must not exist."""
    name, data = f"{world.name()}.bin", world.data(most=20_000)
    stream = await Stream.open(world.port("upload"))
    await stream.send(f"put {len(data)} sha256={'0' * 64} {name}\n".encode() + data)
    expect("go", "go", await stream.line())
    expect("error", "error digest-mismatch", " ".join((await stream.line()).split()[:2]))
    stream.end()
    await stream.rest()
    await stream.close()
    expect("a file of wrong data", False, (_received(world) / name).exists())


async def upload_cut(world: World) -> None:
    """Send half of a file, then reset; the folder is checked at the end of the run."""
    stream = await Stream.open(world.port("upload"))
    await stream.send(f"put 100000 - {world.name()}\n".encode() + bytes(50_000))
    expect("go", "go", await stream.line())
    stream.reset()


def _received(world: World) -> Path:
    return world.places.folder / "received"


PACES: Paces = [
    *[(chat_party, 1.5)] * 2,
    *[(chat_all_along, 0.5)] * 3,
    (chat_by_datagram, 3.0),
    (desk, 2.0),
    (upload, 2.0),
    (upload_raw, 4.0),
    (upload_wrong, 10.0),
    (upload_cut, 8.0),
]

LASTING: Collection[Visit] = {chat_party, chat_all_along, chat_by_datagram, desk}
"""Visits that an upgrade may end: their members meet in the memory of one worker."""
