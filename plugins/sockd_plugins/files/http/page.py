"""Page for browsers, to drop files on: the files of page/, and what the service tells them.

The page is `/` to those who accept HTML. It sends over tus; without JavaScript it is a form. Its addresses
are relative, so that they hold behind a token in the path or a proxy. It loads nothing from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sockd_plugins.files.http.refusals import accepts
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.http.told import JSON

_HTML = "text/html"
_FOLDER = Path(__file__).parent / "page"
_TYPES: Mapping[str, str] = {
    "page.html": f"{_HTML}; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "page.svg": "image/svg+xml",
}
_PARTS = {name: (_FOLDER / name).read_bytes() for name in _TYPES}

PLACES = [f"/-/{name}" for name in (*_TYPES, "page.json")]
"""Paths of the page's parts. No name of a file begins with a dash."""

_HEADERS = [
    ("Cache-Control", "no-store"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "same-origin"),  # the address may have a token
    ("X-Content-Type-Options", "nosniff"),
    ("Vary", "Accept"),
]


def asks_for_page(request: Request) -> bool:
    """Tell whether a browser asks for the page."""
    return request.path == "/" and request.method in ("GET", "HEAD") and accepts(request, _HTML)


async def show_page(request: Request, site: Site) -> Answer:  # noqa: ARG001  # as all routes have it
    """Return the page; its relative addresses need the slash behind a token."""
    if not request.is_folder:
        return Answer(308, [*_HEADERS, ("Location", f"{request.token}/")])
    return _part("page.html")


async def show_part(request: Request, site: Site) -> Answer:
    """Return a part of the page, or what it has to know of the service."""
    name = request.path.rpartition("/")[2]
    if name == "page.json":
        limits = site.engine.store.limits
        known = {"folders": limits.folders, "max_size": limits.max_size, "serve": site.options.serve}
        return Answer(200, [*_HEADERS, ("Content-Type", JSON)], json.dumps(known).encode())
    return _part(name)


def _part(name: str) -> Answer:
    return Answer(200, [*_HEADERS, ("Content-Type", _TYPES[name])], _PARTS[name])
