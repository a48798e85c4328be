"""Protocol `raw`: a connection is a file.

    nc -N HOST PORT < FILE          socat -u FILE:FILE TCP:HOST:PORT

The peer sends bytes and ends its side, by a half-close or a close. All bytes up to there are one file. The
server names it by the time in UTC and four random bytes: `20261120T101500Z-9f86d081.bin`.

A peer that only half-closed gets one line, and then the connection is closed:

    ok NAME SIZE sha256=HEX         the file is on the disk
    error CODE TEXT                 nothing is kept

CODE is one of

    bad-request    nothing was sent, or the peer speaks `upload`
    too-large      more bytes than the service's max_size
    too-slow       minutes behind the service's min_rate
    disk-full      the disk is full, or would have less free than the service's reserve
    quota          more than the service's quota, or the source's
    too-many       the source has as many unfinished files as it may
    io             the disk failed

After an error the server drops what comes for up to 10 seconds, so that the peer can read the line.

A connection that is reset or times out leaves nothing behind. But a sender that crashes closes its
connection in order, and the part that it has sent is stored as a file: this protocol cannot tell the
difference. With the option `unverified` such files go to a folder of that name, and NAME begins with it. A
file is whole, and gets its name in the directory itself, if its digest follows as the last 72 bytes:

    (cat FILE; echo sha256=$(sha256sum < FILE | cut -c 1-64)) | nc -N HOST PORT
    (cat FILE; echo sha256=$(sha256sum < FILE | cut -c 1-64)) | socat -u - TCP:HOST:PORT

The line is not stored. If it is not the digest of what precedes it, the answer is `error digest-mismatch`.
Without `unverified` the line is data as any other.

A peer that announces a file as in `upload` (see `put.py`) and then waits for 2 seconds, or ends its side, is
told that this port speaks `raw`; the announcement is not stored.
"""

from __future__ import annotations

import re

from sockd.plugin import first_message_received
from sockd_plugins.files.access.access import Access, certificate_of
from sockd_plugins.files.storage.engine import LEAST_WINDOW, Engine
from sockd_plugins.files.storage.names import timed_name
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.stream.announcement import ANNOUNCEMENT, announces
from sockd_plugins.files.stream.answers import acknowledge
from sockd_plugins.files.stream.inbox import Inbox
from sockd_plugins.files.stream.peer import Peer

_WAIT_FOR_GO = 2.0
"""Seconds after which a silent peer is taken for one that speaks `upload` and waits for an answer."""

_DIGEST = re.compile(rb"sha256=([0-9a-f]{64})\n")
_DIGEST_LENGTH = 72


async def receive_raw(peer: Peer, engine: Engine, access: Access) -> None:
    """Receive one file."""
    if await _announces_only(peer):
        raise FileRefused(
            "bad-request",
            "this port speaks 'raw', where a connection is a file, as nc sends it;"
            " 'sockd send' needs one that speaks 'upload'",
        )
    pieces = await peer.read(LEAST_WINDOW)
    if not pieces:
        raise FileRefused("bad-request", "nothing was sent")
    first_message_received(peer.transport)  # the file is the only message
    kept_back = _DIGEST_LENGTH if engine.store.limits.unverified else 0
    last = Inbox()  # what may be the digest
    sender = await access.sender(peer.host, certificate=certificate_of(peer.transport))
    async with await engine.begin(Facts(timed_name()), sender) as upload:
        upload.on_taken(peer.interrupt)
        while pieces:
            for piece in pieces:
                last.append(piece)
            del pieces  # they would stay in memory while the next are awaited
            if len(last) > kept_back:
                await upload.write(last.take(len(last) - kept_back))
            pieces = await peer.read(upload.window, upload.within)
        digest = _DIGEST.fullmatch(last.head(kept_back)) if kept_back else None
        if digest is None and last:
            await upload.write(last.take(len(last)))
        stored = await upload.finish(digest and digest[1].decode(), verified=digest is not None)
    acknowledge(peer, stored)


async def _announces_only(peer: Peer) -> bool:
    """Tell whether a peer sends what `upload` begins with, and then waits."""
    while (found := announces(peer.unread(ANNOUNCEMENT))) is None:
        if not await peer.more():
            return False
    return found and not await peer.more(_WAIT_FOR_GO)
