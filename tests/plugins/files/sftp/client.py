"""Client of SFTP in memory: requests to a session, and its answers."""

from __future__ import annotations

import struct
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sockd_plugins.files.sftp import packets
from sockd_plugins.files.sftp.fields import Fields, long, number, string
from sockd_plugins.files.sftp.session import SftpSession
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.store import Limits, Store
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.stream.inbox import Inbox

GIB = 1 << 30
WRITE = packets.TO_WRITE | packets.TO_CREATE
TRUNCATE = WRITE | packets.TO_TRUNCATE
APPEND = WRITE | packets.TO_APPEND

Answer = tuple[int, int, Fields]
"""Kind, number of the request, and the fields behind it."""


class Service:
    """Service of one folder in memory, whose disk needs no time."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.clock = Clock()
        self.engine = Engine(self.clock)
        self.run(self.engine.open(lambda: Store.open(folder, Limits(GIB, **limits))))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        results: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(results.append)
        while not results:
            self.clock.advance(0.1)
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]

    def client(self, sender: Sender | None = None, *, serve: bool = False) -> Client:
        return Client(self, sender or Sender("192.0.2.1"), serve=serve)


class Client:
    """Session of a client."""

    def __init__(self, service: Service, sender: Sender, *, serve: bool) -> None:
        self.service = service
        self.stored: list[Stored] = []
        self.refused: list[FileRefused] = []
        self.inbox = Inbox()
        self.output = b""
        self.status: int | None = None
        self.session = SftpSession(
            service.engine,
            sender,
            self.receive,
            service.clock,
            self.stored.append,
            self.refused.append,
            serve=serve,
        )
        self._next = 0
        self.feed(packets.packet(packets.INIT, number(3)))
        self.version = self.output[5:]
        self.output = b""

    def receive(self, data: bytes) -> None:
        self.output += data

    def feed(self, data: bytes, *, ended: bool = False) -> None:
        if data:
            self.inbox.append(data)
        self.status = self.service.run(self.session.advance(self.inbox, ended=ended))

    def request(self, kind: int, *fields: bytes) -> bytes:
        """Return a request with a number of its own."""
        self._next += 1
        return packets.packet(kind, number(self._next), *fields)

    def answers(self) -> list[Answer]:
        """Return the answers that have come."""
        found: list[Answer] = []
        while self.output:
            length, kind, request = struct.unpack(">IBI", self.output[:9])
            found.append((kind, request, Fields(self.output[9 : 4 + length])))
            self.output = self.output[4 + length :]
        return found

    def ask(self, kind: int, *fields: bytes) -> Answer:
        """Send a request and return its answer."""
        self.feed(self.request(kind, *fields))
        (answer,) = self.answers()
        assert answer[1] == self._next
        return answer

    def code(self, kind: int, *fields: bytes) -> int:
        """Send a request and return the code of its answer."""
        answered, _, rest = self.ask(kind, *fields)
        assert answered == 101
        return rest.number()

    def open(self, name: str, flags: int = TRUNCATE) -> bytes:
        """Open a file and return its handle."""
        kind, _, rest = self.ask(packets.OPEN, string(name), number(flags), number(0))
        assert kind == 102, (rest.number(), rest.text())
        return rest.string()

    def limits(self) -> int:
        """Ask for the limits; return the bytes of a WRITE at most."""
        _, _, rest = self.ask(packets.EXTENDED, string(b"limits@openssh.com"))
        return [rest.long() for _ in range(4)][2]

    def write(self, handle: bytes, offset: int, data: bytes) -> int:
        return self.code(packets.WRITE, string(handle), long(offset), string(data))

    def close(self, handle: bytes) -> int:
        return self.code(packets.CLOSE, string(handle))

    def put(self, name: str, data: bytes, flags: int = TRUNCATE) -> int:
        """Send a file; return the code of its end."""
        handle = self.open(name, flags)
        self.write(handle, 0, data)
        return self.close(handle)

    def size(self, name: str) -> int | None:
        """Return the size of a file; None if there is none."""
        kind, _, rest = self.ask(packets.STAT, string(name))
        if kind == 101:
            assert rest.number() == packets.NO_SUCH_FILE
            return None
        return packets.read_attributes(rest).size

    def list(self, path: str) -> list[str]:
        """Return the names in a folder."""
        kind, _, rest = self.ask(packets.OPENDIR, string(path))
        assert kind == 102
        handle = rest.string()
        names = []
        while True:
            kind, _, rest = self.ask(packets.READDIR, string(handle))
            if kind == 101:
                assert rest.number() == packets.END
                break
            for _ in range(rest.number()):
                names.append(rest.text())
                rest.string()
                packets.read_attributes(rest)
        assert self.close(handle) == packets.OK
        return names

    def lose(self) -> None:
        """Lose the connection."""
        self.service.run(self.session.leave())
