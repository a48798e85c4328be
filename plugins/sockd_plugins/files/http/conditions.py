"""Conditions of requests that store a file (RFC 9110, 13): a client may want its name to be free.

    curl -T FILE -H 'If-None-Match: *' http://HOST:PORT/NAME

The answer is 412 then if there is a file of this name, in place of a second name for the new one.
"""

from __future__ import annotations

from sockd_plugins.files.http.request import Request
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.storage.received import is_taken
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender

NEW = "new"
"""Key among what is kept of an upload whose name must be free."""


def wants_new(request: Request) -> bool:
    """Tell whether a client wants its file to be the first of its name."""
    return (request.headers.get("if-none-match") or "").strip() == "*"


async def check_conditions(request: Request, site: Site, name: str, sender: Sender) -> None:
    """Check the conditions of a request before its body.

    Args:
        request: to store a file.
        site: of the request.
        name: of the file.
        sender: of the request.

    Raises:
        FileRefused: one of them does not hold.
    """
    if "if-match" in request.headers:
        raise FileRefused("exists", "expected no If-Match: no file is ever replaced here")
    if wants_new(request):
        path = f"{sender.folder}/{name}" if sender.folder else name
        if await site.engine.run(is_taken, site.engine.store, path):
            raise FileRefused("exists", f"there is a file {name} already")
