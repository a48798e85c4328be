"""Resumable uploads of the IETF (draft-ietf-httpbis-resumable-upload), in the dialects of `dialects.py`.

    POST or PUT with Upload-Complete    create an upload; 104 and the answer have its address in Location
    PATCH /-/uploads/ID                 append; with Upload-Complete: ?1 the file is whole afterwards
    HEAD /-/uploads/ID                  ask where to go on
    DELETE /-/uploads/ID                give it up

The address of the creation names the file, as in PUT /NAME; if it is a folder's, the name is that of
Content-Disposition, or of Upload-Metadata as in tus, or the time. Repr-Digest of the creation, or of the
append that completes the file, must be that of the file; Content-Digest must be that of the content.

Each offset that is told is durable. A file whose length was told is stored when its last byte has come: there
are clients that compare the numbers, and never say that it is complete.
"""

from __future__ import annotations

from typing import Any

from sockd_plugins.files.http.checked import Checked
from sockd_plugins.files.http.conditions import NEW, check_conditions, wants_new
from sockd_plugins.files.http.dialects import NEWEST, PARTIAL, VERSION, Dialect, dialect_of
from sockd_plugins.files.http.digests import digests_of, told_digests
from sockd_plugins.files.http.fields import disposition_name, integer, metadata
from sockd_plugins.files.http.naming import name_in_folder
from sockd_plugins.files.http.paths import file_name
from sockd_plugins.files.http.refusals import TEXT, problem, refusal
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.resources import (
    NO_STORE,
    Fields,
    append,
    complete,
    find_finished,
    id_of,
    location,
    told,
)
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.http.told import created
from sockd_plugins.files.storage.finished import Finished
from sockd_plugins.files.storage.incoming import Incoming
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.stored import Stored

_PROBLEMS = "https://iana.org/assignments/http-problem-types#"
_WRONG_OFFSET = _PROBLEMS + "mismatching-upload-offset"
_WRONG_LENGTH = _PROBLEMS + "inconsistent-upload-length"
_COMPLETED = _PROBLEMS + "completed-upload"


def creates(request: Request) -> bool:
    """Tell whether a request is to create an upload of the draft."""
    get = request.headers.get
    return dialect_of(get).reads_complete(get) is not None


def abilities(site: Site) -> Fields:
    """Return the fields with which an answer to OPTIONS tells that uploads can be resumed."""
    return [("Accept-Patch", PARTIAL), *NEWEST.limits(site.engine.store.limits.max_size)]


async def create(request: Request, site: Site) -> Answer:
    """Create an upload, and receive what comes with the request."""
    get = request.headers.get
    dialect = dialect_of(get)
    whole = bool(dialect.reads_complete(get))
    sender = await site.sender(request)
    try:
        size = _size(request, 0, None, whole=whole)
    except FileRefused as refused:
        return _wrong_length(request, refused)
    extra = told_digests(request, "repr-digest")
    if wants_new(request):
        extra[NEW] = "1"
    facts = Facts(_name(request, site), size, extra=extra)
    await check_conditions(request, site, facts.name, sender)
    checked = _checked(request)
    upload = await site.engine.begin(facts, sender, keep=True)
    async with site.engine.parking.begun(upload):
        place = location(request, upload.id)
        if dialect.version is not None:
            await request.interim(104, [place, *_version(dialect), *_limits(dialect, site)])
        try:
            answer = await _append(request, upload, site, dialect, checked)
        except BaseException:  # whatever it was, nobody can go on with it
            if dialect.version is None:  # the client does not know where to go on
                await upload.abandon()
            raise
        answer.headers.insert(0, place)
        return answer


async def patch(request: Request, site: Site) -> Answer:
    """Append to an upload."""
    get = request.headers.get
    dialect = dialect_of(get)
    kind = (get("content-type") or "").partition(";")[0].strip().lower()
    if dialect.typed and kind != PARTIAL:
        accepted = [("Accept-Patch", PARTIAL)]
        return problem(request, 415, f"expected Content-Type: {PARTIAL}", headers=accepted)
    offset, whole = integer(get("upload-offset")), dialect.reads_complete(get)
    if offset is None or whole is None:
        name = dialect.complete(True)[0]
        raise FileRefused("bad-request", f"expected Upload-Offset with a number, and {name} with ?0 or ?1")
    id, sender = id_of(request.path), await site.sender(request)  # noqa: A001
    if (finished := await find_finished(site, id, sender)) is not None:
        return await _again(request, site, dialect, offset, finished)
    async with site.engine.parking.found(id, sender) as upload:
        if offset != upload.received:
            return _wrong_offset(request, dialect, upload.received, offset)
        try:
            size = _size(request, offset, upload.facts.size, whole=whole)
        except FileRefused as refused:
            return _wrong_length(request, refused)
        if size is not None:
            await upload.declare(size)
        return await _append(request, upload, site, dialect, _checked(request))


async def head(request: Request, site: Site) -> Answer:
    """Tell how much of an upload is durable."""
    dialect = dialect_of(request.headers.get)
    id, sender = id_of(request.path), await site.sender(request)  # noqa: A001
    if (finished := await find_finished(site, id, sender)) is not None:
        return await _finished(request, site, dialect, finished.stored)
    async with site.engine.parking.found(id, sender) as upload:
        if upload.received == upload.facts.size:  # the end of the daemon came between
            stored = await complete(request, upload, site)
            return await _finished(request, site, dialect, stored)
        fields = [("Upload-Offset", str(upload.received)), dialect.complete(False)]
        if upload.facts.size is not None:
            fields.append(("Upload-Length", str(upload.facts.size)))
        return Answer(204, [*fields, *_limits(dialect, site), NO_STORE])


async def get(request: Request, site: Site) -> Answer:
    """Tell a person how much of an upload has come, and leave the connection that sends it alone."""
    id = id_of(request.path)  # noqa: A001
    sender = await site.sender(request)
    if (finished := await find_finished(site, id, sender)) is not None:
        stored = finished.stored
        text = f"{stored.name}: stored, {stored.size} bytes, {stored.digest}\n"
    else:
        look = await site.engine.look(id)
        size = "an unknown number of" if look.facts.size is None else look.facts.size
        text = f"{look.facts.name}: {look.durable} of {size} bytes are durable\n"
    return Answer(200, [("Content-Type", TEXT), NO_STORE], text.encode())


async def delete(request: Request, site: Site) -> Answer:
    """Remove an upload."""
    id, sender = id_of(request.path), await site.sender(request)  # noqa: A001
    if await find_finished(site, id, sender) is not None:
        return problem(request, 403, "the file is stored, and is not removed over this protocol")
    await site.engine.end(id, sender)
    return Answer(204)


async def _append(
    request: Request, upload: Incoming, site: Site, dialect: Dialect, checked: Checked | None
) -> Answer:
    """Append the content of a request; store the file if it is whole then."""

    async def tell(durable: int) -> None:
        await request.interim(104, [("Upload-Offset", str(durable)), *_version(dialect)])

    whole = bool(dialect.reads_complete(request.headers.get))
    try:
        fault = await append(request, upload, site, checked, tell if dialect.progress else None)
    except FileRefused as refused:
        if refused.code != "overrun":
            raise
        if request.length is None:
            await upload.abandon()  # the draft wants it invalid: more has come than was announced
        return _wrong_length(request, refused)
    if fault is not None:
        fields = [("Upload-Offset", str(upload.received)), dialect.complete(False)]
        return problem(request, 400, f"{fault}; nothing of it is kept", "digest-mismatch", fields)
    if whole or upload.received == upload.facts.size:
        return await _complete(request, upload, site, dialect)
    fields = [("Upload-Offset", str(upload.received)), dialect.complete(False), *_limits(dialect, site)]
    return Answer(201 if request.method != "PATCH" else dialect.appended, fields)


async def _complete(request: Request, upload: Incoming, site: Site, dialect: Dialect) -> Answer:
    """Store the file of an upload to which nothing follows."""
    if upload.facts.size is None:
        await upload.declare(upload.received)
    if upload.received != upload.facts.size:
        text = f"expected {upload.facts.size} bytes in all, found {upload.received}"
        return _wrong_length(request, FileRefused("incomplete", text))
    try:
        stored = await complete(request, upload, site, told_digests(request, "repr-digest"))
    except FileRefused as refused:
        if refused.code != "digest-mismatch":
            raise
        site.refused(request, refused)
        await upload.abandon()
        answer = refusal(request, refused)
        answer.headers.append(dialect.complete(True))  # sending more would be in vain
        return answer
    return await _stored(request, site, dialect, stored, upload.sender)


async def _stored(request: Request, site: Site, dialect: Dialect, stored: Stored, sender: Sender) -> Answer:
    answer = await created(request, site, stored, sender)
    answer.headers += await _done(request, site, dialect, stored)
    return answer


async def _finished(request: Request, site: Site, dialect: Dialect, stored: Stored) -> Answer:
    """Answer who asks where to go on with an upload that is complete."""
    fields = await _done(request, site, dialect, stored)
    return Answer(204, [*fields, *_limits(dialect, site), NO_STORE])


async def _again(request: Request, site: Site, dialect: Dialect, offset: int, finished: Finished) -> Answer:
    """Answer an append to an upload that is complete: a client that has lost the answer gets it again."""
    stored = finished.stored
    if request.length == 0 and offset == stored.size:
        return await _stored(request, site, dialect, stored, finished.sender)
    fields = [("Upload-Offset", str(stored.size)), dialect.complete(True)]
    return problem(request, 400, "the upload is complete", headers=fields, kind=_COMPLETED)


async def _done(request: Request, site: Site, dialect: Dialect, stored: Stored) -> Fields:
    """Return the fields about an upload that is complete."""
    size = str(stored.size)
    fields = await told(request, site, stored)
    return [("Upload-Offset", size), ("Upload-Length", size), dialect.complete(True), *fields]


def _version(dialect: Dialect) -> Fields:
    return [] if dialect.version is None else [(VERSION, str(dialect.version))]


def _limits(dialect: Dialect, site: Site) -> Fields:
    limits = site.engine.store.limits
    return dialect.limits(limits.max_size, limits.keep_for)


def _size(request: Request, offset: int, known: int | None, *, whole: bool) -> int | None:
    """Return the length of the file as far as a request tells it.

    Args:
        request: to create or to append.
        offset: of its content.
        known: length that was told before.
        whole: whether the content is the end of the file.

    Raises:
        FileRefused: it tells different lengths, or another than before.
    """
    told = [known, integer(request.headers.get("upload-length"))]
    if whole and request.length is not None:
        told.append(offset + request.length)
    lengths = sorted({length for length in told if length is not None})
    if len(lengths) > 1:
        raise FileRefused("bad-request", f"expected one length, found {' and '.join(map(str, lengths))}")
    return lengths[0] if lengths else None


def _wrong_length(request: Request, refused: FileRefused) -> Answer:
    return problem(request, 400, str(refused), refused.code, kind=_WRONG_LENGTH)


def _wrong_offset(request: Request, dialect: Dialect, expected: int, provided: int) -> Answer:
    fields = [("Upload-Offset", str(expected)), dialect.complete(False)]
    members: dict[str, Any] = {"expected-offset": expected, "provided-offset": provided}
    text = f"expected the bytes from {expected} on, found those from {provided} on"
    return problem(request, 409, text, headers=fields, kind=_WRONG_OFFSET, **members)


def _name(request: Request, site: Site) -> str:
    """Return the name of a new file."""
    get = request.headers.get
    if request.path.endswith("/") or request.method != "PUT":
        pairs = metadata(get("upload-metadata"))
        name = disposition_name(get("content-disposition")) or pairs.get("filename") or pairs.get("name")
        if name or request.path.endswith("/"):
            return name_in_folder(request, name, site)
    return file_name(request)


def _checked(request: Request) -> Checked | None:
    """Return the digests that the content must have."""
    told = digests_of(request.headers, "content-digest")
    return Checked(told) if told else None
