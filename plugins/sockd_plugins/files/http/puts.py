"""PUT and POST of a file as a body: the rest of the path is its name.

    curl -T FILE http://HOST:PORT/
    wget -O- --method=PUT --body-file=FILE http://HOST:PORT/NAME

The answer, once the file is on the disk, is 201 with its address, and a line of text or, for those who accept
it, JSON.
"""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from sockd_plugins.files.http.refusals import TEXT, accepts, problem
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.storage.names import safe_name
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.state import Facts
from sockd_plugins.files.storage.stored import Stored

JSON = "application/json"


async def put(request: Request, site: Site) -> Answer:
    """Receive the body as a file of the path's name."""
    name = file_name(request)
    if (request.headers.get("content-type") or "").lower().startswith("multipart/"):
        return problem(request, 415, "expected the file itself as the body, found a form")
    if "content-length" not in request.headers and request.length is not None:
        return problem(request, 411, "expected Content-Length or chunks, found neither")
    async with await site.engine.begin(Facts(name, request.length), await site.sender(request)) as upload:
        while pieces := await request.read(upload.window, upload.within):
            await upload.write(pieces)
            del pieces  # they would stay in memory while the next are awaited
        stored = await upload.finish(verified=request.length is not None)
    site.stored(request, stored)
    return created(request, stored)


def file_name(request: Request) -> str:
    """Return the name of the file that a path means.

    Raises:
        FileRefused: it is not accepted.
    """
    try:
        return safe_name(request.path.removeprefix("/"))
    except ValueError as error:
        raise FileRefused("bad-name", str(error)) from error


def created(request: Request, stored: Stored) -> Answer:
    """Return the answer to a file that is stored."""
    headers = [
        ("Location", request.base + quote(f"/{stored.name}")),
        ("Repr-Digest", f"sha-256=:{base64.b64encode(bytes.fromhex(stored.sha256)).decode()}:"),
    ]
    if accepts(request, JSON):
        body = json.dumps({"name": stored.name, "size": stored.size, "sha256": stored.sha256})
        return Answer(201, [*headers, ("Content-Type", JSON)], body.encode() + b"\n")
    text = f"ok {stored.name} {stored.size} sha256={stored.sha256}\n"
    return Answer(201, [*headers, ("Content-Type", TEXT)], text.encode())
