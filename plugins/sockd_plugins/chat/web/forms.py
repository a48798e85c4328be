"""Events of the chat as JSON, and JSON as frames of a WebSocket and as server-sent events.

An object has `type`, the name of its event in `hub/events.py` in lower case with underscores, and the fields
of the event. Times are seconds since 1970.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any, get_args

from websockets.frames import Frame, Opcode

from sockd_plugins.chat.hub.events import Event, Said
from sockd_plugins.chat.web.backlog import Skipped
from sockd_plugins.chat.web.request import in_json

_INNER_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_KINDS: dict[type, tuple[str, tuple[str, ...]]] = {
    kind: (_INNER_CAPITAL.sub("_", kind.__name__).lower(), tuple(each.name for each in fields(kind)))
    for kind in get_args(Event)
}
"""Types and fields of all events."""


def described(event: Event) -> dict[str, Any]:
    """Return an event as an object for JSON."""
    if isinstance(event, Said):
        return {"type": "said", **described_message(event)}
    name, names = _KINDS[type(event)]
    return {"type": name, **{each: _value(getattr(event, each)) for each in names}}


def described_message(said: Said) -> dict[str, Any]:
    """Return a message to a room as an object for JSON."""
    return {
        "room": said.room,
        "number": said.number,
        "id": said.id,
        "at": round(said.at, 3),
        "name": said.name,
        "account": said.account,
        "kind": said.kind,
        "text": said.text,
    }


def described_skipped(skipped: Mapping[str, Skipped]) -> Iterator[bytes]:
    """Yield in JSON what a client was not sent, for each room."""
    for room, each in skipped.items():
        yield in_json({"type": "skipped", "room": room, "count": each.count, "since": each.since})


def type_of(event: Event) -> str:
    """Return the `type` of an event."""
    return _KINDS[type(event)][0]


def frame(text: bytes) -> bytes:
    """Return text as a frame of a WebSocket (RFC 6455, 5.2)."""
    return Frame(Opcode.TEXT, text).serialize(mask=False)


def server_event(text: bytes) -> bytes:
    """Return a line of text as a server-sent event (HTML, 9.2.6)."""
    return b"data: " + text + b"\n\n"


def in_frame(event: Event) -> bytes:
    """Encode an event for WebSockets."""
    return frame(in_json(described(event)))


def in_server_event(event: Event) -> bytes:
    """Encode an event for the conversation in JSON over server-sent events."""
    return server_event(in_json(described(event)))


def _value(value: object) -> object:
    """Return a value of an event for JSON."""
    if isinstance(value, Said):
        return described_message(value)
    if isinstance(value, tuple):
        return [_value(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)  # type: ignore[call-overload]  # it is a dataclass
    if isinstance(value, float):
        return round(value, 3)
    return value
