"""Pages of other origins in a browser: refused, or permitted by the option `origins` (Fetch Standard, CORS).

A browser lets any page send a form anywhere, also to a server that only the user's network can reach; it says
in `Origin` which page it was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sockd_plugins.files.http.refusals import problem
from sockd_plugins.files.http.request import Answer, Request

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

_EXPOSED = (
    "Location, Content-Location, Link, ETag, Repr-Digest, Retry-After, Upload-Offset, Upload-Length,"
    " Upload-Metadata, Upload-Expires, Upload-Concat, Upload-Defer-Length, Upload-Complete, Upload-Limit,"
    " Upload-Draft-Interop-Version, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size,"
    " Tus-Checksum-Algorithm"
)
"""Header fields that a page of another origin may read, beside those that it always may."""

_FIELDS = re.compile(r"[-\w, ]{0,1000}", re.ASCII)
_REMEMBERED = "86400"  # seconds for which a browser asks no more
_SAFE = {"GET", "HEAD", "OPTIONS"}


def answer_page(request: Request, origins: Sequence[str]) -> Answer | None:
    """Answer a page that may not send, and one that asks whether it may; None if the request goes on.

    Args:
        request: any.
        origins: that are permitted, beside the service's own; "*" for all.
    """
    origin = request.headers.get("origin")
    if origin is None or _is_own(origin, request):
        return None
    permitted = "*" in origins or origin.lower() in origins
    if request.method == "OPTIONS" and "access-control-request-method" in request.headers and permitted:
        return Answer(204, _preflight(request))
    if permitted or request.method in _SAFE:
        return None
    text = "pages of this origin may not send files here; the option 'origins' permits it"
    return problem(request, 403, text, "denied")


def let_page_read(request: Request, origins: Sequence[str], answer: Answer) -> None:
    """Add to an answer what lets a page of a permitted origin read it."""
    origin = request.headers.get("origin")
    if not origins or origin is None:
        return
    answer.headers.append(("Vary", "Origin"))
    if origin.isascii() and ("*" in origins or origin.lower() in origins):
        answer.headers.append(("Access-Control-Allow-Origin", origin))
        answer.headers.append(("Access-Control-Expose-Headers", _EXPOSED))


def _preflight(request: Request) -> list[tuple[str, str]]:
    fields = request.headers.get("access-control-request-headers") or ""
    headers = [("Access-Control-Allow-Methods", _METHODS), ("Access-Control-Max-Age", _REMEMBERED)]
    if _FIELDS.fullmatch(fields):
        headers.append(("Access-Control-Allow-Headers", fields))
    if request.headers.get("access-control-request-private-network") == "true":
        headers.append(("Access-Control-Allow-Private-Network", "true"))
    return headers


def _is_own(origin: str, request: Request) -> bool:
    """Tell whether a page came from this service, whatever proxies added TLS."""
    host = (request.headers.get("host") or "").lower()
    return host != "" and origin.partition("://")[2].lower() == host
