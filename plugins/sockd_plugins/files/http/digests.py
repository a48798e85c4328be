"""Digests of HTTP (RFC 9530): what a client tells of a file, and what it is told.

A client tells the digest in `Repr-Digest` or, of a body that is the whole file, in `Content-Digest`, before
the body or after it as a trailer; or, which is easier to write in a shell, in the query: `?sha256=HEX`.
Algorithms that are not known here do not count.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

import http_sf

from sockd_plugins.files.http.head import Headers
from sockd_plugins.files.http.request import Request
from sockd_plugins.files.storage.refused import FileRefused

_LENGTHS: Mapping[str, int] = {"sha-256": 32, "sha-512": 64}
"""Bytes of the digests that are checked, by the names of RFC 9530, 7.2."""

_HEX = re.compile("[0-9A-Fa-f]{64}")


def told_digests(request: Request, *fields: str) -> dict[str, str]:
    """Return the digests that a client has told in header fields, in the query, and in trailers so far.

    Args:
        request: whose body may be unread.
        fields: names of the header fields.

    Returns:
        Hexadecimal digits by algorithm, such as "sha256".

    Raises:
        FileRefused: a field is malformed, or two differ.
    """
    told: dict[str, str] = {}
    for headers in (request.headers, request.trailers):
        for field in fields:
            _add(told, digests_of(headers, field))
    if (hexadecimal := request.query.get("sha256")) is not None:
        if not _HEX.fullmatch(hexadecimal):
            raise FileRefused("bad-request", "expected sha256 as 64 hexadecimal digits in the query")
        _add(told, {"sha256": hexadecimal.lower()})
    return told


def digests_of(headers: Headers, field: str) -> dict[str, str]:
    """Return the digests of a header field, in hexadecimal digits by algorithm.

    Raises:
        FileRefused: the field is malformed.
    """
    if not (value := headers.get(field)):
        return {}
    try:
        parsed = http_sf.parse(value.encode("latin-1"), tltype="dictionary")
    except http_sf.StructuredFieldError as error:
        raise FileRefused("bad-request", f"expected {field} as in RFC 9530: {error}") from None
    found: dict[str, str] = {}
    for name, length in _LENGTHS.items():
        if not isinstance(parsed, dict) or name not in parsed:
            continue
        digest, _ = cast("tuple[object, object]", parsed[name])
        if not isinstance(digest, bytes) or len(digest) != length:
            raise FileRefused("bad-request", f"expected {length} bytes of {name} in {field}")
        found[name.replace("-", "")] = digest.hex()
    return found


def wanted_algorithm(headers: Headers) -> str | None:
    """Return the algorithm by which a client wants digests (`Want-Repr-Digest`); None if it wants none here.

    Without the field, or with a malformed one, it is "sha256".
    """
    preferences = {"sha-256": 0.5}  # the least one that is wished is 1
    with suppress(http_sf.StructuredFieldError):
        parsed = http_sf.parse((headers.get("want-repr-digest") or "").encode("latin-1"), tltype="dictionary")
        for name in _LENGTHS:
            if isinstance(parsed, dict) and name in parsed:
                value, _ = cast("tuple[object, object]", parsed[name])
                if type(value) is int:
                    preferences[name] = value
    best = max(preferences, key=lambda name: preferences[name])
    return best.replace("-", "") if preferences[best] > 0 else None


def repr_digest(algorithm: str, digest: str) -> tuple[str, str]:
    """Return the field `Repr-Digest` with a digest in hexadecimal digits."""
    coded = base64.b64encode(bytes.fromhex(digest)).decode()
    return "Repr-Digest", f"{algorithm[:3]}-{algorithm[3:]}=:{coded}:"


def _add(told: dict[str, str], more: Mapping[str, str]) -> None:
    for algorithm, digest in more.items():
        if told.setdefault(algorithm, digest) != digest:
            raise FileRefused("bad-request", f"expected one digest by {algorithm}, found two")
