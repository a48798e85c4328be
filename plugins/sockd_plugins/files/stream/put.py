r"""Protocol `upload`: files with their names, sizes and digests, one after another.

    (printf 'put %d - %s\n' $(stat -c %s FILE) FILE; cat FILE) | nc -N HOST PORT

For each file the peer sends a line, the data, and in one case a second line:

    put SIZE DIGEST NAME            up to 1024 bytes, UTF-8, ended by LF or CR LF
    SIZE bytes
    sha256=HEX                      only if DIGEST was `sha256`

SIZE is decimal. DIGEST is `sha256=HEX`, or `sha256` if it comes after the data, or `-` for none. NAME is the
rest of the line, with its spaces: at most 200 bytes, no control character, nothing that has another meaning
on some system (see `storage/names.py`). With the option `folders` it may be a relative path, with `/`.

The server answers each file with

    go                              name, size and room are fine; the data may come, or has come already
    ok NAME SIZE sha256=HEX         the file is on the disk, under this name

NAME differs from the requested one if that was taken: an existing file is kept, and the new one becomes
`name (2).ext`, unless they have the same bytes. The digest is that of the stored file. Lines and data may be
sent without waiting for any answer. The peer ends by closing its side, or the connection.

A file can be sent in several connections:

    keep SIZE DIGEST NAME           in place of `put`; what has arrived is kept when the connection breaks
    resume ID                       then, in a new connection, in place of both

The server answers either with the first of

    go ID OFFSET                    the data may come, from OFFSET on
    at OFFSET                       so much is on the disk, and survives a power cut

and repeats the second as the file grows. It keeps the data for the service's `keep_parts`, counted from the
last byte, also after `error`, unless the code is `digest-mismatch`. The digest is that of the whole file. The
peer must read these lines while it sends. `resume` ends an older connection that still has the file.

    (printf 'keep %d - %s\n' $(stat -c %s FILE) FILE; cat FILE) | nc -N HOST PORT
    (echo resume ID; tail -c +$((OFFSET + 1)) FILE) | nc -N HOST PORT

Either line may be replaced by

    error CODE TEXT                 nothing of this file is kept; earlier files are

which ends the conversation: the server drops what comes for up to 10 seconds, so that the peer can read the
line, and closes. CODE is one of

    bad-request        not a line as above
    bad-name           a name that is not accepted; TEXT tells why
    too-large          more bytes than the service's max_size
    too-slow           minutes behind the service's min_rate
    disk-full          the disk is full, or would have less free than the service's reserve
    quota              more than the service's quota, or the source's; TEXT has the numbers
    too-many           the source has as many unfinished files as it may
    exists             999 files of this name are there already
    incomplete         the peer ended within the data
    digest-mismatch    the data does not have the digest
    unknown            there is no file of this ID to resume
    busy               another connection sends the file of this ID, and does not leave it
    taken              another connection goes on with this file
    denied             the file of this ID is another sender's
    io                 the disk failed
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sockd_plugins.files.access.access import Access, certificate_of
from sockd_plugins.files.storage.engine import Engine, Incoming
from sockd_plugins.files.storage.names import safe_path
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.stream.peer import Peer

_MAX_LINE = 1024
"""Bytes of a line. A correct line has less than 300; more of a wrong one is shown in the error."""

ANNOUNCEMENT = _MAX_LINE + 1
"""Bytes that `announces` has to see."""

_START = b"put "
_PUT = re.compile(r"(put|keep) (\d{1,18}) (-|sha256|sha256=[0-9A-Fa-f]{64}) (.*)", re.ASCII | re.DOTALL)
_RESUME = re.compile(r"resume ([0-9a-f]{16})", re.ASCII)
_DIGEST = re.compile(rb"sha256=([0-9A-Fa-f]{64})")


@dataclass(frozen=True, slots=True)
class Put:
    """Announcement of a file; the digest of `facts` is as written: `-`, `sha256` or `sha256=HEX`."""

    facts: Facts
    keep: bool


async def receive_puts(peer: Peer, engine: Engine, access: Access) -> None:
    """Receive file after file, until the peer ends."""
    while (line := await peer.line(_MAX_LINE, first=True)) is not None:
        async with await _open(peer, engine, access, line) as upload:
            stored = await _receive(peer, upload)
        peer.acknowledge(stored)  # when the part does not count any more


async def _open(peer: Peer, engine: Engine, access: Access, line: bytes) -> Incoming:
    """Begin the file that a line announces, or go on with it, and answer."""
    put = _parse(line)
    sender = await access.sender(peer.host, certificate=certificate_of(peer.transport))
    if isinstance(put, str):
        upload = await engine.find(put, sender, take_over=True)
    else:
        upload = await engine.begin(put.facts, sender, keep=put.keep)
    upload.on_taken(peer.interrupt)
    peer.say(f"go {upload.id} {upload.durable}" if upload.kept else "go")
    return upload


async def _receive(peer: Peer, upload: Incoming) -> Stored:
    """Receive the data of a file, and what may follow it."""
    facts = upload.facts
    told = upload.durable
    while left := (facts.size or 0) - upload.received:
        pieces = await peer.read(min(left, upload.window), upload.within)
        if not pieces:
            break
        await upload.write(pieces)
        del pieces  # they would stay in memory while the next are awaited
        if upload.kept and upload.durable > told:
            told = upload.durable
            peer.say(f"at {told}")
    return await upload.finish(await _digest(peer, facts.digest, left))


def announces(data: bytes) -> bool | None:
    """Tell whether bytes are one announcement and nothing else; None if they may be the beginning of one."""
    start = data.startswith(_START[: len(data)])
    if start and b"\n" not in data and len(data) <= _MAX_LINE:
        return None
    text = data.decode(errors="replace") if len(data) <= _MAX_LINE else ""
    return text.endswith("\n") and _PUT.fullmatch(text.removesuffix("\n").removesuffix("\r")) is not None


def _parse(line: bytes) -> Put | str:
    """Return the announcement, or the id of the upload to go on with."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise FileRefused("bad-request", "expected UTF-8, found something else") from error
    if resumed := _RESUME.fullmatch(text):
        return resumed[1]
    match = _PUT.fullmatch(text)
    if match is None:
        raise FileRefused("bad-request", f"expected 'put SIZE DIGEST NAME', found {text!r}")
    command, size, digest, name = match.groups()
    try:
        return Put(Facts(safe_path(name), int(size), digest), keep=command == "keep")
    except ValueError as error:
        raise FileRefused("bad-name", str(error)) from error


async def _digest(peer: Peer, digest: str, left: int) -> str | None:
    """Return the digest to check; None if there is none, or if the peer has ended within the data."""
    if digest == "-" or left:
        return None
    if digest != "sha256":
        return digest.removeprefix("sha256=").lower()
    line = await peer.line(_MAX_LINE) or b""
    match = _DIGEST.fullmatch(line)
    if match is None:
        raise FileRefused("bad-request", f"expected 'sha256=HEX' after the data, found {line!r}")
    return match[1].decode().lower()
