"""Routes of the protocol, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Sequence

from sockd_plugins.files.http.downloads import get
from sockd_plugins.files.http.puts import post, put
from sockd_plugins.files.http.routes import Route

ROUTES: Sequence[Route] = (Route("/", {"PUT": put, "POST": post, "GET": get}),)
