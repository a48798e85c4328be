"""Way of a request's body into an upload, and of the upload into its folder."""

from __future__ import annotations

from sockd_plugins.files.http.conditions import wants_new
from sockd_plugins.files.http.digests import told_digests
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.http.told import address, created, digest_field
from sockd_plugins.files.storage.engine import Incoming


async def receive_body(request: Request, upload: Incoming) -> None:
    """Add the rest of the body to an upload, until another connection takes it."""
    upload.on_taken(request.interrupt)
    while pieces := await request.read(upload.window, upload.within):
        await upload.write(pieces)
        del pieces  # they would stay in memory while the next are awaited


async def finish(request: Request, site: Site, upload: Incoming, *fields: str) -> Answer:
    """Store the file of a whole upload, and return the answer.

    Args:
        request: that has sent its last bytes.
        site: of the request.
        upload: to finish.
        fields: names of the header fields that tell the digest of the whole file.

    Raises:
        FileRefused: it is not as the client has told, or cannot be stored.
    """
    stored = await upload.finish(digests=told_digests(request, *fields), new=wants_new(request))
    site.stored(request, stored)
    answer = await created(request, site, stored, upload.sender)
    place = ("Location", address(stored.name))
    answer.headers[:0] = [place, *await digest_field(request, site, stored)]
    return answer
