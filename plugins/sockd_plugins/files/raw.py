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
    io             the disk failed

After an error the server drops what comes for up to 10 seconds, so that the peer can read the line.

A connection that is reset or times out leaves nothing behind. But a sender that crashes closes its connection
in order, and the part that it has sent is stored as a file: this protocol cannot tell the difference. Use
`upload` where that matters.

A peer that announces a file as in `upload` (see `put.py`) and then waits for 2 seconds, or ends its side, is
told that this port speaks `raw`; the announcement is not stored.
"""

from __future__ import annotations

import secrets
import time

from sockd.plugin import first_message_received
from sockd_plugins.files.disk import Disk
from sockd_plugins.files.peer import BATCH, Peer
from sockd_plugins.files.put import announces
from sockd_plugins.files.refused import FileRefused

_WAIT_FOR_GO = 2.0
"""Seconds after which a silent peer is taken for one that speaks `upload` and waits for an answer."""


async def receive_raw(peer: Peer, disk: Disk) -> None:
    """Receive one file."""
    if await peer.sends_only(announces, _WAIT_FOR_GO):
        raise FileRefused(
            "bad-request",
            "this port speaks 'raw', where a connection is a file, as nc sends it;"
            " 'sockd send' needs one that speaks 'upload'",
        )
    data = await peer.read(BATCH)
    if not data:
        raise FileRefused("bad-request", "nothing was sent")
    first_message_received(peer.transport)  # the file is the only message
    async with disk.upload(_name()) as upload:
        while data:
            await disk.run(upload.write, data)
            del data  # it would stay in memory while the next is awaited
            data = await peer.read(BATCH)
        stored = await disk.run(upload.commit)
    peer.acknowledge(stored)


def _name() -> str:
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}.bin"
