"""Rooms as pipes for scripts.

GET  /rooms                       list of the rooms, as JSON
GET  /rooms/ops                   the room as a stream (`room_stream`); server-sent events for those who
                                  accept them, else lines
GET  /rooms/ops?since=17&limit=50 the messages behind number 17, at most 50, and the end of the answer; as
                                  JSON for those who accept it, else lines
POST /rooms/ops?name=backup       a message for each line of the body; the answer is JSON with the number
                                  and the id of the last one, once it is stored
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

from sockd_plugins.chat.hub.events import Kind, Said
from sockd_plugins.chat.hub.refused import ChatRefused
from sockd_plugins.chat.web.forms import described_message
from sockd_plugins.chat.web.login import account_of
from sockd_plugins.chat.web.lookups import list_rooms
from sockd_plugins.chat.web.request import EVENTS, JSON, TEXT, Answer, Problem, Request, answer_json
from sockd_plugins.chat.web.room_stream import RoomStream, Wanted, in_line
from sockd_plugins.chat.web.session import Salon
from sockd_plugins.chat.web.sources import Sources

MOST_MESSAGES = 1000
"""Messages in an answer."""

USUAL_MESSAGES = 100
"""Messages in an answer to those who name no limit."""

MOST_LINES = 20
"""Messages of one POST."""

_STATUS: Mapping[str, int] = {
    "bad_name": 400,
    "no_text": 400,
    "bad_command": 400,
    "no_such_room": 404,
    "no_such_name": 404,
    "no_such_message": 404,
    "login": 401,
    "denied": 401,
    "taken": 409,
    "confusable": 409,
    "too_long": 413,
    "too_fast": 429,
    "full": 503,
    "closed": 503,
    "busy": 503,
    "away": 503,
    "too_many_rooms": 503,
    "unavailable": 503,
    "not_stored": 507,
}
"""Status by the code of a refusal; 403 for all others."""

_RETRY_SECONDS: Mapping[int, int] = {429: 1, 503: 5, 507: 60}


def problem_of(refused: ChatRefused) -> Problem:
    """Return the refusal of a request that the chat has refused."""
    status = _STATUS.get(refused.code, 403)
    seconds = _RETRY_SECONDS.get(status)
    headers = [("Retry-After", str(seconds))] if seconds else []
    if status == 401:
        headers.append(("WWW-Authenticate", 'Basic realm="chat", charset="UTF-8"'))
    return Problem(status, refused.code, str(refused) or "too fast", headers)


async def answer_rooms(request: Request, salon: Salon, sources: Sources, origin: str) -> Answer | RoomStream:
    """Answer a request for `/rooms` or a room.

    Args:
        request: any.
        salon: the chat.
        sources: rates of those who are in no room.
        origin: header lines for a page of another origin.
    """
    name = request.path.removeprefix("/rooms").removeprefix("/")
    try:
        if request.method == "POST" and name:
            return await _speak(request, salon, name, lambda: sources.check(request.host))
        if request.method not in ("GET", "HEAD"):
            allow = "GET, HEAD, POST" if name else "GET, HEAD"
            raise Problem(405, "bad_method", f"expected one of {allow}", [("Allow", allow)])
        sources.check(request.host)
        if not name:
            return answer_json({"rooms": list_rooms(salon.hub)})
        if "limit" in request.query or request.accepts(JSON) or request.method == "HEAD":
            return await _list(request, salon, name)
        return await _follow(request, salon, name, origin)
    except ChatRefused as refused:
        raise problem_of(refused) from None


async def _speak(request: Request, salon: Salon, room: str, check: Callable[[], None]) -> Answer:
    """Say the lines of a body in a room."""
    account = await account_of(salon.accounts, request)
    name, kind = request.query.get("name") or account or "guest", request.query.get("kind", "said")
    key, text = request.query.get("key", ""), ""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        text = request.body.decode()
        if content_type == JSON:
            value = json.loads(text)
            text = value["text"]
            name, kind = value.get("name", name), value.get("kind", kind)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise Problem(400, "bad_request", "expected text in UTF-8, or JSON with 'text'") from None
    said = await say_lines(salon, room, check, Speaker(name, account, key), text, kind)
    last = said[-1]
    return answer_json({"room": last.room, "number": last.number, "id": last.id, "count": len(said)}, 201)


@dataclass(frozen=True, slots=True)
class Speaker:
    """Program that speaks in a room without being there.

    Attributes:
        name: under which it speaks, if that is a text.
        account: that it has proved; empty for none.
        key: word that the room may ask for.
    """

    name: object
    account: str = ""
    key: str = ""


async def say_lines(
    salon: Salon, room: str, check: Callable[[], None], speaker: Speaker, text: object, kind: object
) -> list[Said]:
    """Say each line of a text in a room, in the name of somebody who is in none; return the messages.

    Args:
        salon: the chat.
        room: name of the room.
        check: counts a message, and refuses it if there are too many.
        speaker: who speaks.
        text: one line or more.
        kind: of the messages.
    """
    name = speaker.name
    if not isinstance(name, str) or not isinstance(text, str):
        raise Problem(400, "bad_request", "expected texts as 'name' and 'text'")
    chosen = next((each for each in get_args(Kind) if each == kind), None)
    if chosen is None:
        raise Problem(400, "bad_request", f"expected one of {', '.join(get_args(Kind))} as 'kind'")
    clean = text.encode("utf-8", "replace").decode()  # without lone surrogates
    lines = [line for each in clean.split("\n") if (line := each.rstrip("\r")).strip()]
    if not lines:
        raise ChatRefused("no_text", "there is no text to send")
    if len(lines) > MOST_LINES:
        raise Problem(413, "too_large", f"expected at most {MOST_LINES} lines, found {len(lines)}")
    said = []
    for line in lines:
        check()
        said.append(await salon.hub.post(name, room, line, chosen, speaker.account, speaker.key))
    return said


async def _list(request: Request, salon: Salon, room: str) -> Answer:
    """List messages behind a number."""
    since = _number(request, "since") or 0
    limit = _number(request, "limit")
    most = min(USUAL_MESSAGES if limit is None else limit, MOST_MESSAGES)
    account, key = await account_of(salon.accounts, request), request.query.get("key", "")
    found = await salon.hub.read(room, since, most, account, key) if most else ()
    if request.accepts(JSON):
        return answer_json({"room": room, "messages": [described_message(said) for said in found]})
    headers = [("Content-Type", TEXT), ("Cache-Control", "no-store")]
    return Answer(200, headers, b"".join(map(in_line, found)))


async def _follow(request: Request, salon: Salon, room: str, origin: str) -> RoomStream:
    """Begin a stream of a room."""
    since = _number(request, "since")
    last = request.headers.get("last-event-id", "")
    if last.isascii() and last.isdigit() and len(last) < 16:
        since = int(last)
    stream = RoomStream(salon.hub, salon.clock, Wanted(room, since, request.accepts(EVENTS)), origin)
    account, key = await account_of(salon.accounts, request), request.query.get("key", "")
    name = request.query.get("name") or account or f"guest-{secrets.token_hex(3)}"
    stream.enter(name, request.host, account, key)
    return stream


def _number(request: Request, name: str) -> int | None:
    value = request.query.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise Problem(400, "bad_request", f"expected a whole number as '{name}'")
    return int(value)
