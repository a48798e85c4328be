"""Routes of the protocol, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Sequence

from sockd_plugins.files.http.puts import post, put
from sockd_plugins.files.http.ranges import tell_progress
from sockd_plugins.files.http.routes import Route

ROUTES: Sequence[Route] = (Route("/", {"PUT": put, "POST": post, "HEAD": tell_progress}),)
