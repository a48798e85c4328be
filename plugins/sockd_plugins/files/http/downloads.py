"""Received files over HTTP: listed and sent back, where the option `serve` permits it.

    curl http://HOST:PORT/                  # JSON: name, size and time of each file
    curl -O http://HOST:PORT/NAME           # with ranges (RFC 9110, 14), so that -C - continues

Each client sees the folder that its files go into. A file is sent as bytes to be stored, never as a page to
be shown: whoever has sent it must not act in the name of this service.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from email.utils import formatdate
from urllib.parse import quote

from sockd_plugins.files.http.digests import repr_digest, wanted_algorithm
from sockd_plugins.files.http.paths import file_name
from sockd_plugins.files.http.ranges import tell_progress
from sockd_plugins.files.http.refusals import problem
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.http.told import JSON
from sockd_plugins.files.storage.engine import Engine
from sockd_plugins.files.storage.names import safe_path
from sockd_plugins.files.storage.received import list_received, open_received
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.stream.peer import Gone

_STEP = 256 << 10  # bytes to read at once: few changes of threads, and little memory for a slow client

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))", re.ASCII | re.IGNORECASE)


async def get(request: Request, site: Site) -> Answer:
    """Send a file, or list a folder; to HEAD, tell how much of an unfinished file is there."""
    if not site.options.serve:
        return await _without_files(request, site)
    sender = await site.reader(request)
    if request.path.endswith("/"):
        return await _list(request, site, sender.folder)
    path = _within(sender.folder, file_name(request))
    try:
        file, status = await site.engine.run(open_received, site.engine.store, path)
    except FileRefused as refused:
        if refused.code == "unknown" and request.method == "HEAD":
            return await tell_progress(request, site)
        raise
    try:
        return _send(request, site, file, status, await _wanted(request, site, file, status))
    except BaseException:  # whatever it was, no descriptor stays
        os.close(file)
        raise


async def _without_files(request: Request, site: Site) -> Answer:
    if request.method == "HEAD" and not request.path.endswith("/"):
        return await tell_progress(request, site)
    text = "this service receives files, and sends none: expected PUT or POST"
    return problem(request, 404 if request.method == "HEAD" else 403, text, "denied")


async def _wanted(request: Request, site: Site, file: int, status: os.stat_result) -> list[tuple[str, str]]:
    """Return the field with the digest of a file, if the client wants it."""
    algorithm = wanted_algorithm(request.headers) if "want-repr-digest" in request.headers else None
    digest = algorithm and await site.digests.of(file, status, algorithm)
    return [repr_digest(algorithm, digest)] if algorithm and digest else []


def _within(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder else path


async def _list(request: Request, site: Site, folder: str) -> Answer:
    try:
        path = safe_path(request.path.strip("/")) if request.path != "/" else ""
    except ValueError as error:
        raise FileRefused("bad-name", str(error)) from error
    try:
        found = await site.engine.run(list_received, site.engine.store, _within(folder, path).rstrip("/"))
    except FileRefused as refused:
        if refused.code != "unknown" or path:
            raise
        found = []  # nothing came from this sender yet
    entries = [
        {"name": f"{entry.name}/", "modified": entry.modified}
        if entry.size is None
        else {"name": entry.name, "size": entry.size, "modified": entry.modified}
        for entry in found
    ]
    headers = [("Content-Type", JSON), ("Cache-Control", "no-store")]
    return Answer(200, headers, json.dumps(entries).encode() + b"\n")


def _send(
    request: Request, site: Site, file: int, status: os.stat_result, more: list[tuple[str, str]]
) -> Answer:
    """Return the answer with an open file, which it closes."""
    size = status.st_size
    tag = f'"{status.st_mtime_ns:x}-{size:x}"'
    headers = [
        ("ETag", tag),
        ("Last-Modified", formatdate(status.st_mtime, usegmt=True)),
        ("Accept-Ranges", "bytes"),
        ("Cache-Control", "private, no-cache"),
        ("Content-Type", "application/octet-stream"),
        ("Content-Disposition", f"attachment; filename*=UTF-8''{quote(request.path.rpartition('/')[2])}"),
        ("Content-Security-Policy", "sandbox; default-src 'none'"),
        ("X-Content-Type-Options", "nosniff"),
        *more,
    ]
    if _names(request.headers.get("if-none-match"), tag):
        os.close(file)
        return Answer(304, headers)
    first, end = 0, size
    asked = _asked(request)
    partial = asked is not None and request.headers.get("if-range") in (None, tag)
    if asked is not None and partial:
        first, end = _bounds(asked, size)
        if first >= end:
            os.close(file)
            unsatisfied = [("Content-Range", f"bytes */{size}")]
            return problem(request, 416, f"expected a range of {size} bytes", headers=unsatisfied)
        headers.append(("Content-Range", f"bytes {first}-{end - 1}/{size}"))
    headers.append(("Content-Length", str(end - first)))
    return Answer(206 if partial else 200, headers, _File(site.engine, file, first, end))


def _asked(request: Request) -> re.Match[str] | None:
    """Return the range that a client asks for; None for none, or an invalid one (RFC 9110, 14.1.1)."""
    if request.method != "GET":
        return None
    asked = _RANGE.fullmatch(request.headers.get("range") or "")
    return None if asked and asked[2] is not None and int(asked[2]) < int(asked[1]) else asked


def _bounds(asked: re.Match[str], size: int) -> tuple[int, int]:
    """Return the first byte of a range and the one behind its last; nothing if they do not exist."""
    first, last, suffix = asked.groups()
    if suffix is not None:
        return max(size - int(suffix), 0), size
    return int(first), size if last is None else min(int(last) + 1, size)


def _names(field: str | None, tag: str) -> bool:
    """Tell whether a list of entity tags has one."""
    return field is not None and (field.strip() == "*" or tag in re.findall(r'"[^"]*"', field))


class _File:
    """Bytes of an open file, read in threads.

    Args:
        engine: has the threads.
        file: the descriptor, which belongs to this object.
        first: the first byte.
        end: the one behind the last.
    """

    def __init__(self, engine: Engine, file: int, first: int, end: int) -> None:
        self._engine = engine
        self._file = file
        self._first = first
        self._end = end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = self._first
        while position < self._end:
            length = min(_STEP, self._end - position)
            try:
                piece = await self._engine.run(os.pread, self._file, length, position)
            except OSError:
                piece = b""
            if not piece:  # the disk fails, or the file has become shorter
                raise Gone  # only a broken connection tells that now
            position += len(piece)
            yield piece

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
