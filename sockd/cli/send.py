"""`sockd send`: send files to a service of the plugin `files`, over its protocol `upload`."""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO

import click

from sockd.cli.address import Address, of_service, reason
from sockd.cli.tls import TlsSocket
from sockd.text import decoded, printable

_STDIN = 0
_CONNECT_TIMEOUT = 10.0
_GO_TIMEOUT = 30.0  # seconds; the server opens a file, and the connection may have waited to be accepted
_ANSWER_TIMEOUT = 300.0  # seconds; the last flush of a large file to a slow disk comes before the answer
_BATCH = 1 << 17  # bytes to read, hash and send at a time; they stay in the processor's cache
_MAX_ANSWER = 4096  # bytes; a correct server needs less than a third

Connection = socket.socket | TlsSocket


class NotSentError(Exception):
    """Failure to store a file on the server; the text tells why."""


class RefusedError(NotSentError):
    """Refusal of a file by the server, with its reason."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """File that the server has stored."""

    name: str
    size: int
    sha256: str


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@of_service
@click.option("--name", help="Name of the file on the server; required for standard input.")
def send(files: tuple[str, ...], address: Address, name: str | None) -> None:
    """Send files to the service at ADDRESS; '-' is standard input."""
    if not address.stream:
        raise click.UsageError(f"files go over tcp or unix, not over {address.kind}")
    if name is not None and len(files) > 1:
        raise click.UsageError("--name is for one file")
    if name is None and "-" in files:
        raise click.UsageError("standard input needs a --name")
    service = Service(address)
    sent = [_send(service, file, name or Path(file).name) for file in files]
    service.close()
    sys.exit(0 if all(sent) else 1)


class Service:
    """Service that takes files, over one connection until an error."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._socket: Connection | None = None

    def put(self, name: str, source: BufferedIOBase, size: int, advance: Callable[[int], object]) -> Receipt:
        """Send one file.

        Args:
            name: of the file on the server.
            source: read from its present position.
            size: bytes to read.
            advance: called with the number of bytes sent since the last call.
        """
        try:
            self._socket = self._socket or self._connect()
            return put(self._socket, name, source, size, advance)
        except BaseException:  # close the connection whatever was raised
            self.close()  # after an error the server takes nothing more
            raise

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self) -> Connection:
        return self.address.connect(_CONNECT_TIMEOUT)


def put(
    connection: Connection, name: str, source: BufferedIOBase, size: int, advance: Callable[[int], object]
) -> Receipt:
    """Send one file over a connection; see `Service.put`."""
    with connection.makefile("rb") as answers:
        _announce(connection, answers, name, size)
        try:
            digest = _transmit(connection, source, size, advance)
        except ConnectionError:
            digest = ""  # the server has closed; its last answer may tell why
        receipt = _receipt(_answer(answers))
    if (receipt.size, receipt.sha256) != (size, digest):
        raise NotSentError(f"the server has stored something else: {receipt.size} bytes, {receipt.sha256}")
    return receipt


def _announce(connection: Connection, answers: BinaryIO, name: str, size: int) -> None:
    """Announce a file, and wait until the server asks for it."""
    announced = _announced(name, size)
    connection.settimeout(_GO_TIMEOUT)
    try:
        connection.sendall(announced)
        if _answer(answers) != "go":
            raise NotSentError("the server speaks another protocol")
    except RefusedError:
        raise
    except BaseException as error:  # Ctrl-C too: nothing half-sent looks whole
        # A reset: a server that takes any bytes for a file would take a close for its end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(error, TimeoutError):
            raise NotSentError(
                f"no answer for {_GO_TIMEOUT:.0f} seconds; the server is busy, or this port speaks another"
                " protocol than 'upload' of the plugin 'files'"
            ) from None
        raise
    connection.settimeout(_ANSWER_TIMEOUT)


def _announced(name: str, size: int) -> bytes:
    try:
        line = f"put {size} sha256 {name}".encode()
    except UnicodeEncodeError:
        line = b"\n"
    if b"\n" in line:
        raise NotSentError("its name is not one line of UTF-8: give another one with --name")
    return line + b"\n"


def _transmit(
    connection: Connection, source: BufferedIOBase, size: int, advance: Callable[[int], object]
) -> str:
    """Send the data, then the digest, so that the file is read only once."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(size, _BATCH)))
    left = size
    while left:
        batch = buffer[: source.readinto(buffer[:left])]
        if not batch:
            raise NotSentError("the file became shorter while it was sent")
        if _has_answered(connection):
            return ""  # an answer before the end can only be an error
        digest.update(batch)
        connection.sendall(batch)
        advance(len(batch))
        left -= len(batch)
    connection.sendall(f"sha256={digest.hexdigest()}\n".encode())
    return digest.hexdigest()


def _has_answered(connection: Connection) -> bool:
    if isinstance(connection, TlsSocket):
        return connection.readable()
    return bool(select.select([connection], [], [], 0)[0])


def _answer(answers: BinaryIO) -> str:
    """Return the next line of the server; raise `RefusedError` for an error."""
    line = b""
    with suppress(ConnectionError):
        line = answers.readline(_MAX_ANSWER)
    if not line.endswith(b"\n"):
        raise NotSentError("the server closed the connection without an answer")
    text = decoded(line[:-1])
    if text.startswith("error "):
        code, _, why = text.removeprefix("error ").partition(" ")
        raise RefusedError(f"refused ({code}): {why}")
    return text


def _receipt(answer: str) -> Receipt:
    try:
        ok, rest = answer.split(" ", 1)
        name, size, digest = rest.rsplit(" ", 2)
        if ok != "ok" or not digest.startswith("sha256="):
            raise ValueError
        return Receipt(name, int(size), digest.removeprefix("sha256="))
    except ValueError:
        raise NotSentError(f"expected 'ok NAME SIZE sha256=HEX', found '{answer}'") from None


def _send(service: Service, file: str, name: str) -> bool:
    """Send one file and report it; return whether the server has stored it."""
    try:
        with _opened(file) as (source, size), _progress(file, size) as advance:
            receipt = service.put(name, source, size, advance)
    except (NotSentError, OSError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        click.echo(printable(f"cannot send {file} to {service.address}: {why}"), err=True)
        return False
    renamed = "" if receipt.name == Path(file).name else f" as {receipt.name}"
    click.echo(printable(f"sent {file}{renamed} ({_human(size)}, sha256 {receipt.sha256})"))
    return True


@contextmanager
def _opened(file: str) -> Iterator[tuple[BufferedIOBase, int]]:
    """Open a file, and tell its size; a pipe is copied first, because its size is not known before."""
    with open(_STDIN if file == "-" else file, "rb", closefd=file != "-") as source:
        status = os.fstat(source.fileno())
        if stat.S_ISREG(status.st_mode):
            yield source, status.st_size - source.tell()
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(source, copy)
            size = copy.tell()
            copy.seek(0)
            yield copy, size


@contextmanager
def _progress(file: str, size: int) -> Iterator[Callable[[int], object]]:
    """Show a progress bar, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(printable(file), total=size)
        yield lambda count: progress.advance(task, count)


def _human(size: float) -> str:
    if size < 1024:
        return f"{size} bytes"
    for unit in ("KiB", "MiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} GiB"
