"""Routes of the protocol, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Sequence

from sockd_plugins.files.http import resumable
from sockd_plugins.files.http.downloads import get
from sockd_plugins.files.http.page import PLACES, asks_for_page, show_page, show_part
from sockd_plugins.files.http.puts import post, put
from sockd_plugins.files.http.receipt import asks_for_receipt, send_receipt
from sockd_plugins.files.http.resources import PLACE
from sockd_plugins.files.http.routes import Route
from sockd_plugins.files.http.tus import abilities, is_tus, serve_tus

_TUS = dict.fromkeys(("POST", "PUT", "HEAD", "PATCH", "DELETE"), serve_tus)

_UPLOAD = {
    "HEAD": resumable.head,
    "PATCH": resumable.patch,
    "DELETE": resumable.delete,
    "GET": resumable.get,
}

ROUTES: Sequence[Route] = (
    Route("/", {"GET": show_page}, asks_for_page),
    *(Route(place, {"GET": show_part}) for place in PLACES),
    Route("/", _TUS, is_tus, abilities),
    Route(PLACE, {"GET": send_receipt}, asks_for_receipt),
    Route(PLACE, _UPLOAD),
    Route("/", dict.fromkeys(("PUT", "POST"), resumable.create), resumable.creates, resumable.abilities),
    Route("/", {"PUT": put, "POST": post, "GET": get}),
)
