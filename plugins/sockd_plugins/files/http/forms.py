"""Forms with files: several files in one body, each stored on its own.

    curl -F f=@FILE -F f=@OTHER http://HOST:PORT/

The answer has an entry for each file, in their order. A file that is refused does not keep others from being
stored: the status is 207 then, or that of the refusal if none was stored. The digest of a file may be told by
`Content-Digest` or `Repr-Digest` in the header of its part.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from multipart import MultipartSegment

from sockd_plugins.files.http.digests import digests_of
from sockd_plugins.files.http.form_parts import FormBroken, FormParts
from sockd_plugins.files.http.head import Headers
from sockd_plugins.files.http.paths import file_name
from sockd_plugins.files.http.refusals import TEXT, accepts, status_of
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.http.told import JSON, as_json, as_line
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.stored import Stored

_MOST_DROPPED = 16 << 20
"""Bytes of a refused file to read past, so that those behind it are stored; a larger one ends the form."""

_STEP = 1 << 16


@dataclass(frozen=True, slots=True)
class _Refused:
    """File of a form that was refused; the name is empty if the form itself broke."""

    name: str
    refused: FileRefused


_Entry = Stored | _Refused


async def receive_form(request: Request, site: Site) -> Answer:
    """Receive the files of a form; where it breaks, those before are stored."""
    sender = await site.sender(request)
    parts = FormParts(request)
    entries: list[_Entry] = []
    try:
        while (part := await parts.next()) is not None:
            if part.filename:
                entries.append(await _entry(part, parts, request, site, sender))
            if not await _drop(parts):
                break
    except FormBroken as broken:
        entries.append(_Refused("", broken.refused))
    if not entries:
        raise FileRefused("bad-request", "expected a file in the form, found none")
    told = [await _json(entry, site, sender) for entry in entries] if accepts(request, JSON) else None
    return _answer(entries, told)


async def _entry(
    part: MultipartSegment, parts: FormParts, request: Request, site: Site, sender: Sender
) -> _Entry:
    """Store a file, or tell why not."""
    name = part.filename or ""
    try:
        return await _store(part, parts, request, site, sender)
    except FileRefused as refused:
        site.refused(request, refused)
        return _Refused(name, refused)


async def _store(
    part: MultipartSegment, parts: FormParts, request: Request, site: Site, sender: Sender
) -> Stored:
    headers = Headers([(name.lower().encode(), value.encode()) for name, value in part.headerlist])
    digests = digests_of(headers, "content-digest") | digests_of(headers, "repr-digest")
    name = file_name(request, part.filename or "")
    async with await site.engine.begin(Facts(name), sender) as upload:
        upload.on_taken(request.interrupt)
        while data := await parts.read(upload.window, upload.within):
            await upload.write(data)
            del data  # they would stay in memory while the next are awaited
        stored = await upload.finish(digests=digests)
    site.stored(request, stored)
    return stored


async def _drop(parts: FormParts) -> bool:
    """Read past what is left of a part; return False if it is too much."""
    dropped = 0
    while data := await parts.read(_STEP):
        dropped += sum(map(len, data))
        if dropped > _MOST_DROPPED:
            return False
    return True


def _answer(entries: list[_Entry], told: list[dict[str, object]] | None) -> Answer:
    refused = [entry.refused for entry in entries if isinstance(entry, _Refused)]
    status = 201 if not refused else 207 if len(refused) < len(entries) else status_of(refused[0])
    if told is not None:
        return Answer(status, [("Content-Type", JSON)], json.dumps(told).encode() + b"\n")
    body = "".join(_line(entry) for entry in entries)
    return Answer(status, [("Content-Type", TEXT)], body.encode())


async def _json(entry: _Entry, site: Site, sender: Sender) -> dict[str, object]:
    if isinstance(entry, Stored):
        return as_json(entry, await site.receipt(entry, sender))
    return {"name": entry.name, "code": entry.refused.code, "detail": str(entry.refused)}


def _line(entry: _Entry) -> str:
    return as_line(entry) if isinstance(entry, Stored) else f"error {entry.refused.code}: {entry.refused}\n"
