"""Hooks: programs elsewhere that speak in a room, and sign what they send with a secret that they share.

    POST /hooks/NAME

Either of two signatures is expected:

- `webhook-id`, `webhook-timestamp` and `webhook-signature` (Standard Webhooks): `v1,` and the HMAC-SHA-256 of
  `ID.TIMESTAMP.BODY` in base64. The time may differ by `REPLAY_SECONDS`, and an id is taken once.
- `X-Hub-Signature-256`, as GitHub, Gitea and Forgejo send it, or `Sockd-Signature`, as sockd sends it:
  `sha256=` and the HMAC-SHA-256 of the body in hexadecimal digits. It has no time; so that nobody sends a
  message again that was overheard, each of the last `MOST_REMEMBERED` bodies is taken once.

The message is `text`, `content` or `message` of a JSON object, or the whole body. It is a notice, which
programs never answer.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.web.options import Hook
from sockd_plugins.chat.web.request import Answer, Problem, Request, answer_json
from sockd_plugins.chat.web.rooms import Speaker, problem_of, say_lines
from sockd_plugins.chat.web.session import Salon
from sockd_plugins.chat.web.sources import Sources

REPLAY_SECONDS = 300.0
"""Seconds by which the sender's clock may differ, and for which an id is remembered."""

MOST_REMEMBERED = 1000
"""Signatures of each hook that are remembered."""


class Hooks:
    """Hooks of a chat.

    Args:
        hooks: by their names.
        salon: the chat.
        sources: rates by address.
        now: returns the time in seconds since 1970.
    """

    def __init__(
        self, hooks: Mapping[str, Hook], salon: Salon, sources: Sources, now: Callable[[], float]
    ) -> None:
        self._hooks = hooks
        self._salon = salon
        self._sources = sources
        self._now = now
        self._seen: dict[str, OrderedDict[bytes, None]] = {name: OrderedDict() for name in hooks}

    async def answer(self, request: Request) -> Answer:
        """Answer the POST of a program."""
        if request.method != "POST":
            raise Problem(405, "bad_method", "expected POST", [("Allow", "POST")])
        name = request.path.removeprefix("/hooks/")
        hook = self._hooks.get(name)
        try:
            self._sources.check(request.host)
            if hook is None:
                raise Problem(404, "no_such_hook", "there is no such hook")
            proof = self._verified(hook, request)
            self._check_new(name, proof)
            said = await say_lines(
                self._salon,
                hook.room,
                lambda: None,
                Speaker(hook.name or name),
                _text(request),
                "notice",
            )
        except ChatRefused as refused:
            raise problem_of(refused) from None
        last = said[-1]
        return answer_json({"room": last.room, "number": last.number, "id": last.id, "count": len(said)}, 201)

    def _verified(self, hook: Hook, request: Request) -> bytes:
        """Return what tells this request from every other one of the hook, once its signature is verified."""
        headers = request.headers
        denied = Problem(401, "denied", "expected a signature of the hook's secret (X-Hub-Signature-256)")
        if (shown := headers.get("webhook-signature")) is not None:
            id_, time = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
            signed = b"%b.%b.%b" % (_octets(id_), _octets(time), request.body)
            digest = base64.b64encode(hmac.digest(hook.key, signed, hashlib.sha256))
            if not any(hmac.compare_digest(b"v1," + digest, _octets(each)) for each in shown.split(" ")[:10]):
                raise denied
            if not (time.isascii() and time.isdigit() and len(time) < 16):
                raise denied
            if abs(self._now() - int(time)) > REPLAY_SECONDS:
                raise Problem(403, "expired", f"the time differs by more than {REPLAY_SECONDS:g} seconds")
            return b"id " + _octets(id_)
        shown = headers.get("x-hub-signature-256") or headers.get("sockd-signature") or ""
        digest = hmac.digest(hook.key, request.body, hashlib.sha256)
        if not hmac.compare_digest(b"sha256=" + digest.hex().encode(), _octets(shown.lower())):
            raise denied
        return digest

    def _check_new(self, name: str, proof: bytes) -> None:
        """Refuse what has come before."""
        seen = self._seen[name]
        if proof in seen:
            raise Problem(409, "repeated", "this was taken before")
        seen[proof] = None
        if len(seen) > MOST_REMEMBERED:
            seen.popitem(last=False)


def _octets(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _text(request: Request) -> Any:
    """Return the message of a request."""
    text = request.body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict):
        for name in ("text", "content", "message"):
            if isinstance(value.get(name), str):
                return value[name]
        raise Problem(400, "bad_request", "expected 'text', 'content' or 'message' in the JSON object")
    return text
