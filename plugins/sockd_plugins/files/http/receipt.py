"""Receipts of uploads that were sent over tus or the IETF draft, under `/-/uploads/ID/receipt`.

    curl -f http://HOST:PORT/-/uploads/ID/receipt > receipt.json

The answer that an upload is whole has this address in `Link`. A receipt is there for as long as unfinished
uploads are kept.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.resources import NO_STORE, RECEIPT, find_finished, id_of
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.http.told import JSON
from sockd_plugins.files.receipt.receipts import SUFFIX
from sockd_plugins.files.storage.refused import FileRefused


def asks_for_receipt(request: Request) -> bool:
    """Tell whether a request is for a receipt."""
    return request.path.endswith(RECEIPT)


async def send_receipt(request: Request, site: Site) -> Answer:
    """Send the receipt of a stored upload; of one that was joined to others, that of the file."""
    id, sender = id_of(request.path.removesuffix(RECEIPT)), await site.sender(request)  # noqa: A001
    finished = await find_finished(site, id, sender)
    if finished is not None and finished.stored.id != id:
        finished = await find_finished(site, finished.stored.id, sender)
    if finished is None:
        raise FileRefused("unknown", "there is no stored upload of this address")
    receipt = await site.receipt(finished.stored, finished.sender, finished.time)
    name = quote(finished.stored.name.rpartition("/")[2] + SUFFIX)
    headers = [
        ("Content-Type", JSON),
        ("Content-Disposition", f"attachment; filename*=UTF-8''{name}"),
        NO_STORE,
    ]
    return Answer(200, headers, json.dumps(receipt, ensure_ascii=False).encode() + b"\n")
