"""Upload resources: unfinished uploads under addresses of their own, which tus and the IETF draft share.

An upload begun over one of them can be continued over the other, and over any protocol that takes its id.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from sockd_plugins.files.http.checked import Checked
from sockd_plugins.files.http.conditions import NEW
from sockd_plugins.files.http.request import Request
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.http.told import digest_field
from sockd_plugins.files.storage.digests import KNOWN
from sockd_plugins.files.storage.finished import Finished
from sockd_plugins.files.storage.incoming import Incoming
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored

PLACE = "/-/uploads/"
"""Path of the resources. No name of a file begins with a dash."""

RECEIPT = "/receipt"
"""End of the path of a receipt, behind that of its upload."""

NO_STORE = ("Cache-Control", "no-store")

_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)

Fields = list[tuple[str, str]]
"""Fields of a header."""

Tell = Callable[[int], Awaitable[None]]
"""Tells the client how many bytes are durable."""


def location(request: Request, id: str) -> tuple[str, str]:  # noqa: A002
    """Return the field with the address of an upload."""
    return "Location", _relative(request, PLACE.removeprefix("/") + id)


def _relative(request: Request, path: str) -> str:
    """Return an address relative to that of a request: right also behind a proxy that adds a folder to it."""
    return "../" * (request.path.count("/") - 1) + path


def id_of(path: str) -> str:
    """Return the id of an upload from its path, or from its whole address.

    Raises:
        FileRefused: it has none.
    """
    id = path.rpartition("/")[2]  # noqa: A001
    if not _ID.fullmatch(id) or not path.endswith(PLACE + id):
        raise FileRefused("unknown", "there is no upload of this address")
    return id


def expiry(site: Site) -> float:
    """Return the Unix time at which an upload expires that gets a byte now."""
    return time.time() + site.engine.store.limits.keep_for


async def told(request: Request, site: Site, stored: Stored) -> Fields:
    """Return the fields that tell where a file is stored, what its digest is, and where its receipt is."""
    receipt = _relative(request, f"{PLACE.removeprefix('/')}{stored.id}{RECEIPT}")
    return [
        ("Content-Location", _relative(request, quote(stored.name))),
        *await digest_field(request, site, stored),
        ("Link", f'<{receipt}>; rel="describedby"; type="application/json"'),
    ]


async def find_finished(site: Site, id: str, sender: Sender) -> Finished | None:  # noqa: A002
    """Return what became of an upload that is over; None if it is not, or not known.

    Raises:
        FileRefused: it is another sender's, or the disk fails.
    """
    return None if site.engine.parking.has(id) else await site.engine.finished(id, sender)


async def append(
    request: Request, upload: Incoming, site: Site, checked: Checked | None = None, tell: Tell | None = None
) -> str | None:
    """Append the content of a request to an upload.

    Content with a wrong digest, and content of unknown length that proves too long, is dropped as a whole. Of
    other content that breaks off the beginning is kept.

    Args:
        request: what has the content.
        upload: to append to.
        site: of both.
        checked: digest of the content; None if it has none.
        tell: called when more is durable.

    Returns:
        What is wrong with the digest of the content; None if nothing is.

    Raises:
        FileRefused: there is more than the upload may have, another connection has taken the upload, the
            client has ended too early, or the disk fails.
        Gone: the connection broke.
    """
    size = upload.facts.size
    if size is not None and request.length is not None and request.length > size - upload.received:
        left = size - upload.received
        raise FileRefused("overrun", f"expected at most {left} more bytes, found {request.length}")
    marked = checked is not None or request.length is None
    if marked:
        await upload.mark()
    try:
        await _receive(request, upload, site, checked, tell)
    except BaseException as error:  # whatever it was, the mark must not outlive the request
        if checked is not None or (isinstance(error, FileRefused) and error.code == "overrun"):
            await upload.rewind()
        await upload.unmark()
        raise
    fault = None if checked is None else checked.fault()
    if fault is not None:
        await upload.rewind()
    if marked:
        await upload.unmark()
    return fault


async def _receive(
    request: Request, upload: Incoming, site: Site, checked: Checked | None, tell: Tell | None
) -> None:
    durable = upload.durable
    upload.on_taken(request.interrupt)
    while pieces := await request.read(upload.window, upload.within):
        size = upload.facts.size
        if size is not None and upload.received + sum(map(len, pieces)) > size:
            raise FileRefused("overrun", f"expected {size} bytes in all, found more")
        if checked is not None:
            await site.engine.run(checked.add, pieces)
        await upload.write(pieces)
        del pieces  # they would stay in memory while the next are awaited
        if tell is not None and upload.durable > durable:
            durable = upload.durable
            await tell(durable)
    upload.on_taken(_go_on)


def _go_on() -> None:
    """Do nothing: what remains to be done takes but a moment."""


async def complete(
    request: Request, upload: Incoming, site: Site, digests: Mapping[str, str] | None = None
) -> Stored:
    """Store the file of an upload that is whole.

    Args:
        request: that has completed it.
        upload: to store.
        site: of the request.
        digests: that the file must have, beside those that were announced at its creation.

    Raises:
        FileRefused: it has another digest, or cannot be stored.
    """
    extra = upload.facts.extra
    expected = {name: extra[name] for name in KNOWN if name in extra} | dict(digests or {})
    stored = await upload.finish(digests=expected, noted=True, new=NEW in extra)
    site.stored(request, stored)
    return stored
