"""Webhooks: a POST of JSON to an address of the operator's, which answers with a status of 200 to 299."""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import urlsplit

_MOST = 65536  # bytes of an answer that are read


class WebhookFailed(Exception):
    """Failure of a webhook. The text is the reason, in one line."""


def post(url: str, body: bytes, headers: dict[str, str], seconds: float) -> None:
    """Send a POST, and read the answer; redirections are not followed.

    Args:
        url: of http or https.
        body: JSON.
        headers: further fields.
        seconds: for the connection and for each answer of the server.

    Raises:
        WebhookFailed: there is no answer, or one with another status.
    """
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=seconds, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=seconds)
    try:
        connection.request("POST", target, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        answer.read(_MOST)
    except (OSError, http.client.HTTPException) as error:
        reason = (
            "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        )
        raise WebhookFailed(reason) from error
    finally:
        connection.close()
    if not 200 <= answer.status <= 299:
        raise WebhookFailed(f"the answer is {answer.status} {answer.reason}")
