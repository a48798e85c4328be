"""Answers that tell of stored files: a line of text each, or JSON for those who accept it."""

from __future__ import annotations

import json
from urllib.parse import quote

from sockd_plugins.files.http.digests import repr_digest, wanted_algorithm
from sockd_plugins.files.http.refusals import TEXT, accepts
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.receipt.receipts import Receipt
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored

JSON = "application/json"


async def created(request: Request, site: Site, stored: Stored, sender: Sender) -> Answer:
    """Return the answer to a file that was just stored: its name, and in JSON its receipt."""
    if accepts(request, JSON):
        told = as_json(stored, await site.receipt(stored, sender))
        return Answer(201, [("Content-Type", JSON)], json.dumps(told).encode() + b"\n")
    return Answer(201, [("Content-Type", TEXT)], as_line(stored).encode())


async def digest_field(request: Request, site: Site, stored: Stored) -> list[tuple[str, str]]:
    """Return the field with the digest of a stored file, by the algorithm that the client wants."""
    algorithm = wanted_algorithm(request.headers)
    if algorithm is None:
        return []
    digest: str | None = stored.sha256
    if algorithm != "sha256" or (not digest and "want-repr-digest" in request.headers):
        digest = await site.digests.of_path(stored.path, algorithm)
    return [repr_digest(algorithm, digest)] if digest else []


def as_json(stored: Stored, receipt: Receipt | None = None) -> dict[str, object]:
    """Return what JSON tells of a stored file."""
    algorithm, _, digest = stored.digest.partition("=")
    digests = {"sha256": stored.sha256} if stored.sha256 else {algorithm: digest}
    told = {"id": stored.id, "name": stored.name, "size": stored.size}
    signed = {} if receipt is None else {"receipt": receipt}
    return {**told, **digests, "duplicate": stored.duplicate, **signed}


def as_line(stored: Stored) -> str:
    """Return what a line tells of a stored file, as `upload` does."""
    return f"ok {stored.name} {stored.size} {stored.digest}\n"


def address(name: str) -> str:
    """Return the address of a file, relative to that of its request.

    A relative address stays right behind a proxy that serves the site in a folder of its own.
    """
    return quote(name.rpartition("/")[2])
