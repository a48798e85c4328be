"""Page for browsers: the files of page/. It loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sockd_plugins.chat.web.request import Answer, Problem, Request

_FOLDER = Path(__file__).parent / "page"
_TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_PARTS = {
    file.name: (_TYPES[file.suffix.removeprefix(".")], file.read_bytes())
    for file in sorted(_FOLDER.iterdir())
    if file.suffix.removeprefix(".") in _TYPES
}

_HEADERS = [
    ("Cache-Control", "no-cache"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
]


def answer(request: Request) -> Answer:
    """Answer with the page, or with the part of it that the path names."""
    if request.method not in ("GET", "HEAD"):
        raise Problem(405, "bad_method", "expected GET or HEAD", [("Allow", "GET, HEAD")])
    name = "page.html" if request.path == "/" else request.path.removeprefix("/-/")
    part = _PARTS.get(name)
    if part is None:
        raise Problem(404, "no_such_path", "there is no such path")
    content_type, content = part
    return Answer(200, [*_HEADERS, ("Content-Type", content_type)], content)
