r"""Protocol `upload`: files with their names, sizes and digests, one after another.

    (printf 'put %d - %s\n' $(stat -c %s FILE) FILE; cat FILE) | nc -N HOST PORT

For each file the peer sends a line, the data, and in one case a second line:

    put SIZE DIGEST NAME            up to 2048 bytes, UTF-8, ended by LF or CR LF
    SIZE bytes
    sha256=HEX                      only if DIGEST was `sha256`

SIZE is decimal. DIGEST is `sha256=HEX`, or `sha256` if it comes after the data, or `-` for none; `blake3` in
place of `sha256` has the server compute that. NAME is the rest of the line, with its spaces: at most 200
bytes, no control character, nothing that has another meaning on some system (see `storage/names.py`). With
the option `folders` it may be a relative path, with `/`.

If SIZE is `-`, the data comes in chunks: the size of each in decimal, on a line of its own, then as many
bytes; and a last one of `0`.

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
line, and closes.

A peer may say at first who it is, and ask what the server can:

    token TOKEN                     a drop token; in place of it `user NAME PASSWORD`
    hello upload                    a server of before ends the conversation with `error bad-request`
    hello WORD ...                  the answer, unless it is an error

WORD is one of

    blake3         digests by BLAKE3
    chunks         files of a size that is not known
    folders        names with `/`
    continue       `continue ID SIZE DIGEST NAME` in place of `keep`: goes on with the upload of this ID, or,
                   if ID is `-` or there is none, with the newest of this name, size and sender that no
                   connection has, or begins one. As after every `hello`, `go ID OFFSET ALGORITHM=HEX` has the
                   digest of the bytes before OFFSET, by which the peer finds out whether its file is still
                   the same. The peer waits for this line, or for `had` if the upload of this ID is over
    drop           `drop ID` removes an unfinished upload, and is not answered
    tokens         `token` and `user`
    receipts       after `hello upload receipts`, `receipt JSON` with a signed receipt of the file stands
                   before each `ok` and `had` (`receipt/receipts.py`)
    max=SIZE       bytes of a file at most

After `hello` the server does not answer `put` with `go`, and files that follow each other without a wait are
made durable together. `ok` is replaced by

    had NAME SIZE ALGORITHM=HEX     the same file was there already; nothing was stored twice

and `error`, where the data of the refused file was dropped and the next file is welcome, by

    refused CODE TEXT               nothing of this file is kept; the answers go on with the next one

So the answers come in the order of the announcements, and after `error` none of the later files is stored.

CODE is one of

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
    denied             the file of this ID is another sender's, or the peer may not send files
    expired            the token has expired, or is used up
    io                 the disk failed

A peer that sends nothing for 10 seconds after it has connected, or begins with another protocol, is told what
this port speaks.
"""

from __future__ import annotations

from dataclasses import replace

from sockd_plugins.files.access.access import Access, certificate_of
from sockd_plugins.files.receipt.receipts import Receipts, as_line
from sockd_plugins.files.storage.batch import Small
from sockd_plugins.files.storage.digests import has_blake3
from sockd_plugins.files.storage.engine import Engine, Incoming
from sockd_plugins.files.storage.pieces import Piece
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.stream.announcement import (
    ANNOUNCEMENT,
    MAX_LINE,
    Credentials,
    Drop,
    Hello,
    Put,
    Resume,
    parse,
)
from sockd_plugins.files.stream.answers import acknowledge, refuse
from sockd_plugins.files.stream.body import Body
from sockd_plugins.files.stream.foreign import LONGEST, answer_to_foreign
from sockd_plugins.files.stream.peer import Peer

_SILENCE = 10.0
"""Seconds for the first byte. Peers that wait for the server to begin speak another protocol."""

_SMALL = 1 << 16  # bytes of a file that is stored together with others
_BATCH = 1 << 18  # bytes of files that are stored together
_BATCH_FILES = 64

_FATAL = {"bad-request", "too-slow", "taken", "incomplete", "denied", "expired"}
"""Refusals after which the conversation cannot go on."""

_SPOKEN = "'upload', which 'sockd send' speaks"


async def receive_puts(peer: Peer, engine: Engine, access: Access, receipts: Receipts) -> None:
    """Receive file after file, until the peer ends.

    Args:
        peer: sends them.
        engine: stores them.
        access: tells who may send.
        receipts: signs them for those who ask.
    """
    silent = FileRefused("bad-request", f"nothing came for {_SILENCE:.0f} s; this port speaks {_SPOKEN}")
    silence = peer.clock.callLater(_SILENCE, peer.interrupt, silent)
    try:
        beginning = await peer.peek(LONGEST)
    finally:
        if silence.active():
            silence.cancel()
    if (answer := answer_to_foreign(beginning, _SPOKEN)) is not None:
        peer.write(answer)
        await peer.linger()
        return
    puts = _Puts(peer, engine, access, receipts)
    while (line := await peer.line(MAX_LINE, first=True)) is not None:
        await puts.take(line)


class _Puts:
    """Conversation with one peer, line by line."""

    def __init__(self, peer: Peer, engine: Engine, access: Access, receipts: Receipts) -> None:
        self._peer = peer
        self._engine = engine
        self._access = access
        self._receipts = receipts
        self._signs = False
        self._sender: Sender | None = None
        self._greeted = False
        self._body: Body | None = None  # data that comes, whether its file is accepted or not

    async def take(self, line: bytes) -> None:
        """Do what a line asks for."""
        self._body = None
        try:
            await self._take(line)
        except FileRefused as refused:
            if not self._greeted or refused.code in _FATAL:
                raise
            if self._body is not None and not await self._body.skip():
                raise
            refuse(self._peer, refused)

    async def _take(self, line: bytes) -> None:
        asked = parse(line)
        if isinstance(asked, Credentials):
            self._sender = await self._identify(asked)
            return
        sender = self._sender = self._sender or await self._identify(Credentials())
        if isinstance(asked, Hello):
            self._greet(asked)
        elif isinstance(asked, Drop):
            await self._drop(sender, asked.id)
        elif isinstance(asked, Resume):
            upload = await self._engine.find(asked.id, sender, take_over=True)
            facts = upload.facts
            put = Put("resume", upload.id, facts.size, facts.digest, facts.algorithm, facts.name)
            await self._receive(put, upload)
        elif asked.command == "continue":
            if asked.id and (stored := await self._finished(asked, sender)):
                await self._answer(stored, sender)
            else:
                await self._receive(asked, await self._continued(sender, asked))
        elif asked.command == "keep":
            await self._receive(asked, await self._engine.begin(asked.facts(), sender, keep=True))
        elif self._greeted and _is_small(asked):
            await self._receive_small(sender, asked)
        else:
            self._body = Body(self._peer, asked)
            await self._receive(asked, await self._engine.begin(asked.facts(), sender))

    async def _identify(self, shown: Credentials) -> Sender:
        """Find out who the peer is; refuse one that may not send."""
        return await self._access.sender(
            self._peer.host,
            token=shown.token,
            user=shown.user,
            password=shown.password,
            certificate=certificate_of(self._peer.transport),
            again=True,
        )

    def _greet(self, asked: Hello) -> None:
        """Tell what the server can."""
        limits = self._engine.store.limits
        words = ["hello", "chunks", "continue", "drop", "tokens", "receipts", f"max={limits.max_size}"]
        if has_blake3():
            words.append("blake3")
        if limits.folders:
            words.append("folders")
        self._greeted = True
        self._signs = "receipts" in asked.words
        self._peer.say(" ".join(words))

    async def _drop(self, sender: Sender, id: str) -> None:  # noqa: A002
        try:
            await self._engine.end(id, sender)
        except FileRefused:
            return  # it has ended already

    async def _finished(self, put: Put, sender: Sender) -> Stored | None:
        """Return the file of an upload that is over, whose answer the peer has lost."""
        try:
            finished = await self._engine.finished(put.id, sender)
        except FileRefused as refused:
            if refused.code != "denied":
                raise
            return None  # the file is sent anew
        if finished is None or finished.facts.name != put.facts().name:
            return None
        if put.size not in (None, finished.stored.size):
            return None
        return replace(finished.stored, duplicate=True)

    async def _continued(self, sender: Sender, put: Put) -> Incoming:
        """Find the unfinished upload of an announcement, or begin one."""
        facts = put.facts()
        if put.id:
            try:
                found = await self._engine.look(put.id)
                if (found.facts.name, found.facts.size) == (facts.name, facts.size):
                    return await self._engine.find(put.id, sender, take_over=True)
            except FileRefused as refused:
                if refused.code not in ("unknown", "denied"):
                    raise
        if facts.size is not None:
            newest = await self._engine.search(facts.name, sender, facts.size)
            try:
                if newest is not None:
                    return await self._engine.find(newest.id, sender)
            except FileRefused as refused:
                if refused.code not in ("unknown", "denied", "busy"):
                    raise
        return await self._engine.begin(facts, sender, keep=True)

    async def _receive(self, put: Put, upload: Incoming) -> None:
        """Receive the data of a file, and answer."""
        async with upload:
            upload.on_taken(self._peer.interrupt)
            told = upload.durable
            if upload.received > told:
                told = await upload.sync()
            if upload.kept:
                digest = f" {upload.digest}" if self._greeted else ""
                self._peer.say(f"go {upload.id} {told}{digest}")
            elif not self._greeted:
                self._peer.say("go")
            self._body = body = Body(self._peer, put, told)
            while pieces := await body.read(upload.window, upload.within):
                await upload.write(pieces)
                del pieces  # they would stay in memory while the next are awaited
                if upload.kept and upload.durable > told:
                    told = upload.durable
                    self._peer.say(f"at {told}")
            digests = await body.digests(upload.facts.algorithm)
            stored = await upload.finish(digests=digests, noted=upload.kept)
        await self._answer(stored, upload.sender)  # when the part does not count any more

    async def _receive_small(self, sender: Sender, put: Put) -> None:
        """Receive a small file, and with it those that have come whole meanwhile."""
        self._body = body = Body(self._peer, put)
        facts = put.facts()
        pieces: list[Piece] = []
        while more := await body.read(_SMALL):  # in pieces, where memory is short
            pieces += more
        if (size := sum(map(len, pieces))) != put.size:
            raise FileRefused("incomplete", f"expected {put.size} bytes, found {size}")
        files = [Small(facts, pieces, put.digests)]
        while len(files) < _BATCH_FILES and size < _BATCH and (following := await self._whole_file()):
            files.append(following)
            size += following.facts.size or 0
        self._peer.read_ahead(_BATCH)
        for result in await self._engine.store_small(files, sender):
            if isinstance(result, Stored):
                await self._answer(result, sender)
            else:
                refuse(self._peer, result)

    async def _whole_file(self) -> Small | None:
        """Take a small file with its announcement, if it has come whole."""
        line, end, _ = self._peer.unread(ANNOUNCEMENT).partition(b"\n")
        if not end or not line.startswith(b"put "):
            return None
        try:
            put = parse(line.removesuffix(b"\r"))
            if not isinstance(put, Put) or not _is_small(put):
                return None
            facts = put.facts()
        except FileRefused:
            return None  # its turn comes later
        before, size = len(line) + 1, put.size or 0
        if self._peer.waiting < before + size:
            return None
        await self._peer.some(before, more=True)
        data = await self._peer.some(size, more=True) if size else []
        return Small(facts, data or [], put.digests)

    async def _answer(self, stored: Stored, sender: Sender) -> None:
        if self._signs:
            receipt = await self._engine.run(self._receipts.issue, stored, sender)
            self._peer.say(f"receipt {as_line(receipt)}")
        acknowledge(self._peer, stored, "had" if stored.duplicate and self._greeted else "ok")


def _is_small(put: Put) -> bool:
    return put.size is not None and put.size <= _SMALL and not put.digest_follows
