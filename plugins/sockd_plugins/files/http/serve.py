"""Conversation of HTTP/1.1: request after request on a connection, one answer for each, in their order.

A request that is refused before its body was read gets the answer at once; then the server ends its side and
drops what still comes for a while, so that clients that do not look up while they send get it too.
"""

from __future__ import annotations

from collections.abc import Sequence

from sockd.plugin import first_message_received
from sockd_plugins.files.http.head import Malformed, read_head
from sockd_plugins.files.http.origins import answer_page, let_page_read
from sockd_plugins.files.http.refusals import problem, refusal, status_of
from sockd_plugins.files.http.request import Answer, Request, phrase
from sockd_plugins.files.http.routes import Route, answer
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.stream.peer import Gone, Peer

_DRAIN_SECONDS = 60.0
"""Seconds for which what a refused client still sends is dropped. wget reads no answer before it has sent
all, and begins anew if it cannot."""

_REFUSALS = 400  # the least status of an answer that refuses


async def serve_http(peer: Peer, routes: Sequence[Route], site: Site) -> None:
    """Answer the requests of a connection, until one of both ends it."""
    while True:
        try:
            head = await read_head(peer)
        except Malformed as malformed:
            site.context.logger.info(
                "file refused", code="bad-request", reason=str(malformed), peer=peer.host
            )
            peer.write(_bare(malformed))
            await peer.linger(_DRAIN_SECONDS)
            return
        except FileRefused as refused:  # it ended within the head, or was too slow
            peer.write(_bare(Malformed(status_of(refused), str(refused))))
            return
        if head is None:
            return
        first_message_received(peer.transport)
        request = Request(peer, head)
        answered = await _answer(request, routes, site)
        if answered.status >= _REFUSALS and not request.refusal_is_logged:
            site.context.logger.info(
                "request refused",
                status=answered.status,
                method=request.method,
                path=request.path,
                peer=peer.host,
            )
        let_page_read(request, site.options.origins, answered)
        if not await request.send(answered):
            if not request.over:
                await peer.linger(_DRAIN_SECONDS)
            return


async def _answer(request: Request, routes: Sequence[Route], site: Site) -> Answer:
    """Return the answer to a request; there is one even after a fault."""
    try:
        return answer_page(request, site.options.origins) or await answer(routes, request, site)
    except FileRefused as refused:
        site.refused(request, refused)
        return refusal(request, refused)
    except Gone:
        raise
    except Exception:  # a fault of one request must not end others
        site.context.logger.failure("plugin fault", peer=request.sender_host)
        return problem(request, 500, "the server has failed; its log tells why")


def _bare(malformed: Malformed) -> bytes:
    """Return the answer to what cannot be read as a request."""
    refused = problem(None, malformed.status, str(malformed))
    body = refused.body if isinstance(refused.body, bytes) else b""
    head = (
        f"HTTP/1.1 {malformed.status} {phrase(malformed.status)}\r\nConnection: close\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
