"""Concatenation of tus: a file from uploads that were sent side by side.

The parts are whole uploads that stay unpublished. When the file is stored they are removed, and each leaves a
note which file it has become a part of: a client that has lost the answer and asks again gets it again.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote, urlsplit

from sockd_plugins.files.http.request import Request
from sockd_plugins.files.http.resources import Fields, complete, id_of, told
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.storage.finished import Finished
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.stored import Stored
from sockd_plugins.files.storage.unfinished import Unfinished

PARTIAL = "partial"
"""Value of Upload-Concat with which a part is created."""

FINAL = "final;"
"""Beginning of the value with which the file is created; the addresses of the parts follow."""

_MOST = 100  # parts; clients send a handful


async def concatenate(request: Request, site: Site, sender: Sender, facts: Facts) -> tuple[str, Fields]:
    """Store a file that is made of other uploads.

    Args:
        request: of the client.
        site: of the request.
        sender: who asks.
        facts: what is announced of the file, with the addresses of its parts.

    Returns:
        The id of the file's upload, and the fields about the stored file.

    Raises:
        FileRefused: a part is missing or not whole, or the file is not accepted.
    """
    addresses = facts.extra["concat"].removeprefix(FINAL).split()
    if not 1 <= len(addresses) <= _MOST:
        text = f"expected the addresses of 1 to {_MOST} uploads, found {len(addresses)}"
        raise FileRefused("bad-request", text)
    ids = [id_of(unquote(urlsplit(address).path)) for address in addresses]
    if (former := await _former(site, ids, sender)) is not None:
        return former.id, await told(request, site, former)
    looks = [await _part(site, id) for id in ids]  # noqa: A001
    facts = replace(facts, size=sum(look.durable for look in looks))
    async with await site.engine.begin(facts, sender) as upload:
        for id in ids:  # noqa: A001
            await upload.append(id)
        stored = await complete(request, upload, site)
    for look in looks:
        note = Finished(look.facts, replace(stored, size=look.durable), look.sender)
        await site.engine.note(look.id, note)
        await site.engine.end(look.id, sender)
    return stored.id, await told(request, site, stored)


async def _former(site: Site, ids: list[str], sender: Sender) -> Stored | None:
    """Return the file that was made of these parts before; None if there is none."""
    notes = [await site.engine.finished(id, sender) for id in ids]  # noqa: A001
    finals = {note.stored.id for note in notes if note is not None}
    if len(finals) != 1:
        return None
    former = await site.engine.finished(finals.pop(), sender)
    return None if former is None else former.stored


async def _part(site: Site, id: str) -> Unfinished:  # noqa: A002
    """Look at a part.

    Raises:
        FileRefused: it is missing, not whole, or no part.
    """
    look = await site.engine.look(id)
    if look.facts.extra.get("concat") != PARTIAL:
        raise FileRefused("bad-request", f"expected uploads with Upload-Concat: partial, found {id}")
    if look.facts.size != look.durable:
        raise FileRefused("incomplete", f"expected whole uploads, found {look.durable} bytes of {id}")
    return look
