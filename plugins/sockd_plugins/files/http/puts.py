"""PUT and POST of a file as a body: the rest of the path is its name.

    curl -T FILE http://HOST:PORT/
    wget -O- --method=PUT --body-file=FILE http://HOST:PORT/NAME
    curl -T FILE "http://HOST:PORT/NAME?sha256=$(sha256sum < FILE | cut -c 1-64)"

The answer, once the file is on the disk, is 201 with its address, and a line of text or, for those who accept
it, JSON. A body of at least a megabyte is kept when its connection breaks, and can be continued
(`ranges.py`).
"""

from __future__ import annotations

from contextlib import suppress

from sockd_plugins.files.http.bodies import finish, receive_body
from sockd_plugins.files.http.conditions import check_conditions
from sockd_plugins.files.http.digests import told_digests
from sockd_plugins.files.http.form_parts import is_form
from sockd_plugins.files.http.forms import receive_form
from sockd_plugins.files.http.paths import file_name
from sockd_plugins.files.http.ranges import put_range, range_of
from sockd_plugins.files.http.refusals import problem
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts

KEEP_FROM = 1 << 20
"""Bytes of a body from which it is kept when its connection breaks: a smaller one is sent again soon."""

_DIGESTS = ("content-digest", "repr-digest")  # the same of a body that is the whole file

_BY = "by"
_PUT = "put"


async def post(request: Request, site: Site) -> Answer:
    """Receive a form with files, or a file."""
    return await (receive_form if is_form(request) else put)(request, site)


async def put(request: Request, site: Site) -> Answer:
    """Receive the body as a file of the path's name, or as a part of it."""
    if (answer := _unfit(request)) is not None:
        return answer
    name = file_name(request)
    told_digests(request, *_DIGESTS)  # a malformed one is refused before the body
    part = range_of(request)
    sender = await site.sender(request)
    await check_conditions(request, site, name, sender)
    keep = part is not None or (request.length or 0) >= KEEP_FROM
    if keep and (part is None or part.first == 0):
        await _forget_earlier(site, name, sender)
    facts = Facts(name, request.length if part is None else part.total, extra={_BY: _PUT})
    if part is not None and not part.is_whole:
        return await put_range(request, site, facts, sender, part)
    async with await site.engine.begin(facts, sender, keep=keep) as upload:
        await receive_body(request, upload)
        return await finish(request, site, upload, *_DIGESTS)


def _unfit(request: Request) -> Answer | None:
    """Answer a request whose body is not to be stored as it is."""
    if is_form(request):
        return problem(request, 415, "expected the file itself as the body, found a form, which POST takes")
    if (request.headers.get("content-encoding") or "identity").lower() != "identity":
        return problem(request, 415, "expected the file as it is, found a Content-Encoding")
    if "content-length" not in request.headers and request.length is not None:
        return problem(request, 411, "expected Content-Length or chunks, found neither")
    if "range" in request.headers:  # some clients continue an upload so; the rest alone would be stored
        return problem(request, 400, "expected Content-Range with the rest of a file, found Range")
    return None


async def _forget_earlier(site: Site, name: str, sender: Sender) -> None:
    """Remove what a client has left that begins anew: tries without end must not fill its quota."""
    earlier = await site.engine.search(name, sender)
    if earlier is not None and not earlier.busy and earlier.facts.extra.get(_BY) == _PUT:
        with suppress(FileRefused):  # it has ended by itself
            await site.engine.end(earlier.id)
