"""Protocol tus 1.0 (https://tus.io/protocols/resumable-upload), with all extensions but checksum-trailer.

    POST /                  create an upload; its address is in Location
    PATCH /-/uploads/ID     send the next bytes
    HEAD /-/uploads/ID      ask where to go on
    DELETE /-/uploads/ID    give it up

The name is `filename` or `name` of Upload-Metadata; without either the file is named by the time. With
`sha256` in it (or another digest, in hexadecimal digits) the file must have that digest. Where the service
permits folders, one may stand in the path of the POST, and `relativePath` may have them.

Each offset that is told is durable: a power cut after the answer takes nothing of it away.

A file is stored when its last byte has come. HEAD then still tells its length, for as long as unfinished
uploads are kept, so that a client that has lost the answer knows.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate

from sockd_plugins.files.http.checked import Checked
from sockd_plugins.files.http.concatenation import FINAL, PARTIAL, concatenate
from sockd_plugins.files.http.fields import integer, metadata
from sockd_plugins.files.http.naming import name_in_folder
from sockd_plugins.files.http.refusals import problem, status_of
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.resources import (
    NO_STORE,
    PLACE,
    Fields,
    append,
    complete,
    expiry,
    find_finished,
    id_of,
    location,
    told,
)
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.storage.digests import KNOWN
from sockd_plugins.files.storage.incoming import Incoming
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.state import Facts

VERSION = "1.0.0"

CHUNK = "application/offset+octet-stream"
"""Media type of what a PATCH, or a POST with data, carries."""

_EXTENSIONS = (
    "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination,concatenation"
)

_CHECKSUMS = ("sha1", "sha256", "sha512", "md5")

_STATUS: Mapping[str, int] = {"busy": 423, "digest-mismatch": 460}
"""Statuses that tus has words of its own for. Clients try again after 423, and not after 460."""

_HEX = {"md5": 32, "sha1": 40, "sha256": 64, "blake3": 64, "sha512": 128}  # digits of a digest


def is_tus(request: Request) -> bool:
    """Tell whether a request speaks tus."""
    return "tus-resumable" in request.headers or request.headers.get("content-type") == CHUNK


def abilities(site: Site) -> Fields:
    """Return the fields with which an answer to OPTIONS tells what tus can do here."""
    return [
        ("Tus-Resumable", VERSION),
        ("Tus-Version", VERSION),
        ("Tus-Extension", _EXTENSIONS),
        ("Tus-Max-Size", str(site.engine.store.limits.max_size)),
        ("Tus-Checksum-Algorithm", ",".join(_CHECKSUMS)),
    ]


async def serve_tus(request: Request, site: Site) -> Answer:
    """Answer a request, whatever its method is."""
    if request.headers.get("tus-resumable") != VERSION:
        text = f"expected Tus-Resumable: {VERSION}"
        return problem(request, 412, text, headers=[("Tus-Version", VERSION), ("Tus-Resumable", VERSION)])
    if request.method == "POST":
        request.method = request.headers.get("x-http-method-override") or request.method
    methods = _OF_UPLOADS if request.path.startswith(PLACE) else _OF_FOLDERS
    if (serve := methods.get(request.method)) is None:
        allow = ", ".join(methods)
        answer = problem(request, 405, f"expected one of {allow}", headers=[("Allow", allow)])
    else:
        try:
            answer = await serve(request, site)
        except FileRefused as refused:
            site.refused(request, refused)
            status = _STATUS.get(refused.code) or status_of(refused)
            answer = problem(request, status, str(refused), refused.code)
    answer.headers.append(("Tus-Resumable", VERSION))
    return answer


async def _create(request: Request, site: Site) -> Answer:
    """Create an upload, and receive its first bytes if the request has some."""
    get = request.headers.get
    sender = await site.sender(request)
    concat = get("upload-concat") or ""
    if concat.startswith(FINAL):
        facts = _facts(request, site, None, concat)
        id, fields = await concatenate(request, site, sender, facts)  # noqa: A001
        return Answer(201, [location(request, id), *fields])
    if concat not in ("", PARTIAL):
        raise FileRefused("bad-request", "expected Upload-Concat: partial, or final with addresses")
    checked = _checksum(request)
    facts = _facts(request, site, _length(request), concat)
    upload = await site.engine.begin(facts, sender, keep=True, joined=bool(concat))
    async with site.engine.parking.begun(upload):
        fields = [location(request, upload.id)]
        if get("content-type") == CHUNK:
            try:
                fault = await append(request, upload, site, checked)
            except BaseException:  # whatever it was, nobody can go on with it
                await upload.abandon()  # its address was not told
                raise
            if fault is not None:
                await upload.abandon()
                return _mismatch(request, fault)
        fields += await _settled(request, upload, site)
        return Answer(201, fields)


async def _patch(request: Request, site: Site) -> Answer:
    """Append to an upload."""
    get = request.headers.get
    if get("content-type") != CHUNK:
        return problem(request, 415, f"expected Content-Type: {CHUNK}")
    if (offset := integer(get("upload-offset"))) is None:
        raise FileRefused("bad-request", "expected Upload-Offset with a number")
    checked = _checksum(request)
    length = integer(get("upload-length"))
    id, sender = id_of(request.path), await site.sender(request)  # noqa: A001
    if (finished := await find_finished(site, id, sender)) is not None:
        if FINAL in finished.facts.extra.get("concat", ""):
            return problem(request, 403, "a file that was joined from others cannot be changed")
        if request.length or offset != finished.stored.size:
            return _conflict(request, finished.stored.size)
        fields = await told(request, site, finished.stored)
        return Answer(204, [("Upload-Offset", str(finished.stored.size)), *fields])
    async with site.engine.parking.found(id, sender) as upload:
        if offset != upload.received:
            return _conflict(request, upload.received)
        if length is not None:
            await upload.declare(length)
        if (fault := await append(request, upload, site, checked)) is not None:
            return _mismatch(request, fault)
        return Answer(204, await _settled(request, upload, site))


async def _head(request: Request, site: Site) -> Answer:
    """Tell how much of an upload is durable."""
    id, sender = id_of(request.path), await site.sender(request)  # noqa: A001
    if (finished := await find_finished(site, id, sender)) is not None:
        size = finished.stored.size
        fields = [
            ("Upload-Offset", str(size)),
            *_state(finished.facts, size),
            *await told(request, site, finished.stored),
        ]
        return Answer(200, [*fields, NO_STORE])
    async with site.engine.parking.found(id, sender) as upload:
        fields = await _settled(request, upload, site)
        return Answer(200, [*_state(upload.facts), *fields, NO_STORE])


async def _delete(request: Request, site: Site) -> Answer:
    """Remove an upload."""
    id, sender = id_of(request.path), await site.sender(request)  # noqa: A001
    if await find_finished(site, id, sender) is not None:
        return problem(request, 403, "the file is stored, and is not removed over this protocol")
    await site.engine.end(id, sender)
    return Answer(204)


_Serve = Callable[[Request, Site], Awaitable[Answer]]
_OF_FOLDERS: Mapping[str, _Serve] = {"POST": _create}
_OF_UPLOADS: Mapping[str, _Serve] = {"HEAD": _head, "PATCH": _patch, "DELETE": _delete}


async def _settled(request: Request, upload: Incoming, site: Site) -> Fields:
    """Return the fields about an upload after a request; store its file if it is whole."""
    fields = [("Upload-Offset", str(upload.received))]
    if upload.received != upload.facts.size:
        return [*fields, ("Upload-Expires", formatdate(expiry(site), usegmt=True))]
    if upload.facts.extra.get("concat") == PARTIAL:
        await upload.suspend()  # the next request for it is that which joins it with others
        return [*fields, ("Upload-Expires", formatdate(expiry(site), usegmt=True))]
    return [*fields, *await told(request, site, await complete(request, upload, site))]


def _state(facts: Facts, size: int | None = None) -> Fields:
    """Return the fields that HEAD must tell as the client has given them."""
    size = facts.size if size is None else size
    fields = [("Upload-Defer-Length", "1") if size is None else ("Upload-Length", str(size))]
    for name, key in (("Upload-Metadata", "metadata"), ("Upload-Concat", "concat")):
        if value := facts.extra.get(key):
            fields.append((name, value))
    return fields


def _facts(request: Request, site: Site, size: int | None, concat: str) -> Facts:
    """Return what a client announces of a new upload.

    Raises:
        FileRefused: the metadata is malformed, or has a name or a digest that is not accepted.
    """
    coded = request.headers.get("upload-metadata") or ""
    pairs = metadata(coded)
    extra = {"metadata": coded, "concat": concat} | {
        name: pairs[name].lower() for name in KNOWN if name in pairs
    }
    for name, digits in _HEX.items():
        if (digest := extra.get(name)) and not re.fullmatch(f"[0-9a-f]{{{digits}}}", digest, re.ASCII):
            text = f"expected {name} with {digits} hexadecimal digits, found {digest!r}"
            raise FileRefused("bad-request", text)
    given = pairs.get("filename") or pairs.get("name")
    path = pairs.get("relativePath") or ""
    if given and site.engine.store.limits.folders and path.endswith(f"/{given}"):
        given = path.lstrip("/")
    algorithm = "blake3" if "blake3" in extra else "sha256"
    return Facts(name_in_folder(request, given, site), size, algorithm=algorithm, extra=extra)


def _length(request: Request) -> int | None:
    """Return the length of a new upload; None if it is to be told later.

    Raises:
        FileRefused: it is neither told nor deferred.
    """
    length, deferred = request.headers.get("upload-length"), request.headers.get("upload-defer-length")
    size = integer(length)
    if (length is None) == (deferred is None) or (length is not None and size is None):
        raise FileRefused("bad-request", "expected Upload-Length with a number, or Upload-Defer-Length: 1")
    if deferred not in (None, "1"):
        raise FileRefused("bad-request", f"expected Upload-Defer-Length: 1, found {deferred!r}")
    return size


def _checksum(request: Request) -> Checked | None:
    """Return the digest that the content must have, from Upload-Checksum.

    Raises:
        FileRefused: it is malformed, or of another algorithm.
    """
    if (value := request.headers.get("upload-checksum")) is None:
        return None
    algorithm, _, coded = value.partition(" ")
    if algorithm not in _CHECKSUMS:
        known = ", ".join(_CHECKSUMS)
        raise FileRefused("bad-request", f"expected Upload-Checksum by one of {known}, found {algorithm!r}")
    try:
        return Checked({algorithm: b64decode(coded, validate=True).hex()})
    except (binascii.Error, ValueError):
        raise FileRefused("bad-request", f"expected base64 in Upload-Checksum, found {coded!r}") from None


def _conflict(request: Request, offset: int) -> Answer:
    text = f"expected the bytes from {offset} on"
    return problem(request, 409, text, headers=[("Upload-Offset", str(offset))])


def _mismatch(request: Request, fault: str) -> Answer:
    return problem(request, 460, f"{fault}; nothing of it is kept", "digest-mismatch")
