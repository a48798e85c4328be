"""Answers that tell of stored files: a line of text each, or JSON for those who accept it."""

from __future__ import annotations

import json
from urllib.parse import quote

from sockd_plugins.files.http.digests import repr_digest
from sockd_plugins.files.http.refusals import TEXT, accepts
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.receipt.receipts import Receipt
from sockd_plugins.files.storage.stored import Stored

JSON = "application/json"


def created(request: Request, stored: Stored, receipt: Receipt | None = None) -> Answer:
    """Return the answer to a file that is stored, with its address, its digest, and in JSON its receipt."""
    headers = [("Location", address(stored.name))]
    if stored.sha256:
        headers.append(("Repr-Digest", repr_digest(stored.sha256)))
    if accepts(request, JSON):
        return Answer(
            201, [*headers, ("Content-Type", JSON)], json.dumps(as_json(stored, receipt)).encode() + b"\n"
        )
    return Answer(201, [*headers, ("Content-Type", TEXT)], as_line(stored).encode())


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
