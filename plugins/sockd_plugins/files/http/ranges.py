"""Uploads that are continued by PUT with Content-Range (RFC 9110, 14.5), which curl sends for `-C`.

    curl -I http://HOST:PORT/NAME                       # Upload-Offset: 3000000
    curl -C 3000000 -T FILE http://HOST:PORT/NAME

HEAD tells how much of an unfinished file of this name and sender is on the disk. A range that begins behind
that is refused with 416 and the offset. A part that ends before the file does is answered with 202 and the
offset, and kept for the next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sockd_plugins.files.http.bodies import finish
from sockd_plugins.files.http.checked import Checked
from sockd_plugins.files.http.digests import digests_of
from sockd_plugins.files.http.paths import file_name
from sockd_plugins.files.http.refusals import TEXT, problem
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.storage.engine import Incoming
from sockd_plugins.files.storage.pieces import Piece
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts

_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Range:
    """Range of a file: its first and last byte, and the bytes of the file."""

    first: int
    last: int
    total: int

    @property
    def is_whole(self) -> bool:
        """True if it is the whole file."""
        return self.first == 0 and self.last == self.total - 1


def range_of(request: Request) -> Range | None:
    """Return the range that the body of a request is; None if it is the whole file.

    Raises:
        FileRefused: it is malformed, or the body has another length.
    """
    if (value := request.headers.get("content-range")) is None:
        return None
    match = _RANGE.fullmatch(value)
    if match is None:
        raise FileRefused("bad-request", f"expected Content-Range: bytes FIRST-LAST/TOTAL, found {value!r}")
    found = Range(*map(int, match.groups()))
    if not found.first <= found.last < found.total or request.length != found.last - found.first + 1:
        raise FileRefused("bad-request", f"expected a body as long as its range {value!r}")
    return found


async def put_range(request: Request, site: Site, facts: Facts, sender: Sender, part: Range) -> Answer:
    """Receive a part of a file, from where the earlier ones end.

    Args:
        request: whose body is the part.
        site: of the request.
        facts: of the whole file.
        sender: of the request.
        part: where the body belongs.
    """
    if part.first == 0:
        upload = await site.engine.begin(facts, sender, keep=True)
    else:
        found = await site.engine.search(facts.name, sender)
        if found is None or found.facts.size not in (None, part.total):
            return _misplaced(request, 0, part)
        upload = await site.engine.find(found.id, sender, take_over=True)
    async with upload:
        answer = await _receive(request, site, upload, part)
        await upload.suspend()  # unless it is stored
        return answer


async def _receive(request: Request, site: Site, upload: Incoming, part: Range) -> Answer:
    if part.first > upload.received:
        return _misplaced(request, upload.received, part)
    if upload.facts.size is None:
        await upload.declare(part.total)
    checked = Checked(digests_of(request.headers, "content-digest"))
    if checked.expected:
        await upload.mark()
    known = upload.received - part.first  # bytes of the body that are there already
    upload.on_taken(request.interrupt)
    while pieces := await request.read(upload.window, upload.within):
        if checked.expected:
            await site.engine.run(checked.add, pieces)
        pieces, known = _behind(pieces, known)
        await upload.write(pieces)
        del pieces  # they would stay in memory while the next are awaited
    if checked.expected:
        if (fault := checked.fault()) is not None:
            await upload.rewind()
            return problem(request, 400, fault, "digest-mismatch")
        await upload.unmark()
    if upload.received == part.total:
        return await finish(request, site, upload, "repr-digest")
    return _kept(await upload.sync(), part)


def _behind(pieces: list[Piece], skipped: int) -> tuple[list[Piece], int]:
    """Return what comes behind so many bytes, and how many are still to skip."""
    left = []
    for piece in pieces:
        rest = memoryview(piece)[skipped:] if skipped else piece
        skipped = max(skipped - len(piece), 0)
        if rest:
            left.append(rest)
    return left, skipped


def _misplaced(request: Request, offset: int, part: Range) -> Answer:
    text = f"expected a range that begins at {offset}, found one at {part.first}"
    headers = [*_progress(offset, part.total), ("Content-Range", f"bytes */{part.total}")]
    return problem(request, 416, text, "bad-request", headers, offset=offset)


def _kept(offset: int, part: Range) -> Answer:
    headers = [*_progress(offset, part.total), ("Content-Type", TEXT)]
    return Answer(202, headers, f"at {offset}\n".encode())


def _progress(offset: int, total: int | None) -> list[tuple[str, str]]:
    headers = [("Upload-Offset", str(offset)), ("Cache-Control", "no-store")]
    return headers if total is None else [*headers, ("Upload-Length", str(total))]


async def tell_progress(request: Request, site: Site) -> Answer:
    """Tell how much of an unfinished file is on the disk."""
    found = await site.engine.search(file_name(request), await site.sender(request))
    if found is None:
        return problem(request, 404, "there is no unfinished file of this name and sender", "unknown")
    offset, size = found.durable, found.facts.size
    if offset and offset == size:  # it ended before the file was stored: a client needs something to send
        offset -= 1
    return Answer(204, _progress(offset, size))
