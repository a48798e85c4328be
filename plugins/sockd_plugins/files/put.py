r"""Protocol `upload`: files with their names, sizes and digests, one after another.

    (printf 'put %d - %s\n' $(stat -c %s FILE) FILE; cat FILE) | nc -N HOST PORT

For each file the peer sends a line, the data, and in one case a second line:

    put SIZE DIGEST NAME            up to 1024 bytes, UTF-8, ended by LF or CR LF
    SIZE bytes
    sha256=HEX                      only if DIGEST was `sha256`

SIZE is decimal. DIGEST is `sha256=HEX`, or `sha256` if it comes after the data, or `-` for none. NAME is the
rest of the line, with its spaces: at most 200 bytes, no path, no control character, nothing that has another
meaning on some system (see `names.py`).

The server answers each file with

    go                              name, size and room are fine; the data may come, or has come already
    ok NAME SIZE sha256=HEX         the file is on the disk, under this name

NAME differs from the requested one if that was taken: an existing file is kept, and the new one becomes
`name (2).ext`. The digest is that of the stored file. Lines and data may be sent without waiting for any
answer. The peer ends by closing its side, or the connection.

Either line may be replaced by

    error CODE TEXT                 nothing of this file is kept; earlier files are

which ends the conversation: the server drops what comes for up to 10 seconds, so that the peer can read the
line, and closes. CODE is one of

    bad-request        not a line as above
    bad-name           a name that is not accepted; TEXT tells why
    too-large          more bytes than the service's max_size
    too-slow           minutes behind the service's min_rate
    disk-full          the disk is full, or would have less free than the service's reserve
    exists             999 files of this name are there already
    incomplete         the peer ended within the data
    digest-mismatch    the data does not have the digest
    io                 the disk failed
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sockd_plugins.files.disk import Disk
from sockd_plugins.files.names import safe_name
from sockd_plugins.files.peer import BATCH, Peer
from sockd_plugins.files.refused import FileRefused

_MAX_LINE = 1024
"""Bytes of a line. A correct line has less than 300; more of a wrong one is shown in the error."""

_START = b"put "
_PUT = re.compile(r"put (\d{1,18}) (-|sha256|sha256=[0-9A-Fa-f]{64}) (.*)", re.ASCII | re.DOTALL)
_DIGEST = re.compile(rb"sha256=([0-9A-Fa-f]{64})")


@dataclass(frozen=True, slots=True)
class Put:
    """Announcement of a file; `digest` is as written: `-`, `sha256` or `sha256=HEX`."""

    size: int
    digest: str
    name: str


async def receive_puts(peer: Peer, disk: Disk) -> None:
    """Receive file after file, until the peer ends."""
    while (line := await peer.line(_MAX_LINE, first=True)) is not None:
        put = _parse(line)
        async with disk.upload(put.name, put.size) as upload:
            peer.say("go")
            left = put.size
            while left and (data := await peer.read(min(left, BATCH))):
                await disk.run(upload.write, data)
                left -= len(data)
                del data  # it would stay in memory while the next is awaited
            stored = await disk.run(upload.commit, await _digest(peer, put, left))
        peer.acknowledge(stored)


def announces(data: bytes | bytearray) -> bool | None:
    """Tell whether bytes are one announcement and nothing else; None if they may be the beginning of one."""
    start = data.startswith(_START[: len(data)])
    if start and b"\n" not in data and len(data) <= _MAX_LINE:
        return None
    text = data.decode(errors="replace") if len(data) <= _MAX_LINE else ""
    return text.endswith("\n") and _PUT.fullmatch(text.removesuffix("\n").removesuffix("\r")) is not None


def _parse(line: bytes) -> Put:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise FileRefused("bad-request", "expected UTF-8, found something else") from error
    match = _PUT.fullmatch(text)
    if match is None:
        raise FileRefused("bad-request", f"expected 'put SIZE DIGEST NAME', found {text!r}")
    size, digest, name = match.groups()
    try:
        return Put(int(size), digest, safe_name(name))
    except ValueError as error:
        raise FileRefused("bad-name", str(error)) from error


async def _digest(peer: Peer, put: Put, left: int) -> str | None:
    """Return the digest to check; None if there is none, or if the peer has ended within the data."""
    if put.digest == "-" or left:
        return None
    if put.digest != "sha256":
        return put.digest.removeprefix("sha256=").lower()
    line = await peer.line(_MAX_LINE) or b""
    match = _DIGEST.fullmatch(line)
    if match is None:
        raise FileRefused("bad-request", f"expected 'sha256=HEX' after the data, found {line!r}")
    return match[1].decode().lower()
