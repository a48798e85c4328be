"""Generator of `events.md`, the reference of log events and metrics. `make docs` runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from twisted.logger import LogLevel

from sockd.telemetry.catalogue import EVENTS, Event, Field
from sockd.telemetry.metrics import FAMILIES, Family

PAGE = Path(__file__).with_suffix(".md")

_HOST = Field(str, "address of the peer, without its port")

OF_PLUGINS: Mapping[tuple[str, str], Event] = {
    (plugin, event.name): event
    for plugin, event in (
        (
            "chat",
            Event(
                "rooms not kept",
                LogLevel.error,
                "Topics and modes of configured rooms could not be written; they hold until the next start.",
                {"file": Field(str, "path of the file"), "reason": Field(str, "cause, in one line")},
            ),
        ),
        (
            "chat",
            Event(
                "origin refused",
                LogLevel.info,
                "A page of another site may not use the chat; the option `origins` permits it. Behind a proxy"
                " that does not pass on the field Host, the chat's own page is refused too.",
                {"origin": Field(str, "as the browser has sent it"), "peer": _HOST},
            ),
        ),
        (
            "chat",
            Event(
                "plugin fault",
                LogLevel.critical,
                "A request over HTTP raised; it is answered with 500.",
                {"peer": _HOST},
                fails=True,
            ),
        ),
        (
            "chat",
            Event(
                "accounts not read",
                LogLevel.error,
                "The file of accounts has changed, and cannot be used; the accounts stay as they were.",
                {"file": Field(str, "path of the file"), "reason": Field(str, "cause, in one line")},
            ),
        ),
        (
            "chat",
            Event(
                "adapter failed",
                LogLevel.critical,
                "A task of a protocol of the chat has failed; the connections stay.",
                {},
                fails=True,
            ),
        ),
        (
            "chat",
            Event(
                "plugin fault",
                LogLevel.critical,
                "A request over the web has failed; it is answered with 500, or its connection aborted.",
                {"peer": _HOST},
                fails=True,
            ),
        ),
        (
            "chat",
            Event(
                "rooms failed",
                LogLevel.critical,
                "Topics and modes of configured rooms could not be written. This is a fault of the chat.",
                {},
                fails=True,
            ),
        ),
        (
            "chat",
            Event(
                "delivery failed",
                LogLevel.critical,
                "Events of the chat could not be delivered. This is a fault of the chat.",
                {},
                fails=True,
            ),
        ),
        (
            "chat",
            Event(
                "history failed",
                LogLevel.critical,
                "Messages were refused, because storing them failed in an unforeseen way.",
                {},
                fails=True,
            ),
        ),
        (
            "chat",
            Event(
                "history not read",
                LogLevel.critical,
                "Earlier messages could not be read; whoever asked for them is told.",
                {},
                fails=True,
            ),
        ),
        (
            "chat",
            Event(
                "history not tidied",
                LogLevel.warn,
                "Old messages could not be removed, or new ones not indexed; it is tried again in a minute.",
                {"error": Field(str, "cause, in one line")},
            ),
        ),
        (
            "chat",
            Event(
                "irc command failed",
                LogLevel.critical,
                "A command of an IRC client has failed; the connection stays.",
                {},
                fails=True,
            ),
        ),
        (
            "chat",
            Event(
                "messages not stored",
                LogLevel.warn,
                "Messages could not be stored; their speakers are told, and nobody else sees them. Once a"
                " minute at most for the same reason.",
                {"reason": Field(str, "cause, in one line")},
            ),
        ),
        (
            "chat",
            Event(
                "deed not understood",
                LogLevel.warn,
                "Another server of the chat has sent something that this version does not know.",
                {"reason": Field(str, "cause, in one line")},
            ),
        ),
        (
            "chat",
            Event(
                "joint chat failed",
                LogLevel.critical,
                "A person or a room of this server could not be told to the others.",
                {},
                fails=True,
            ),
        ),
        (
            "chat",
            Event(
                "message not understood",
                LogLevel.warn,
                "Another server of the chat has sent a message that cannot be read.",
                {"room": Field(str, "name of the room"), "reason": Field(str, "cause, in one line")},
            ),
        ),
        (
            "chat",
            Event(
                "messages missed",
                LogLevel.warn,
                "Messages of other servers are not kept any more; this one was away for too long.",
                {
                    "room": Field(str, "name of the room"),
                    "first": Field(int, "number of the first one"),
                    "last": Field(int, "number of the last one"),
                },
            ),
        ),
        (
            "chat",
            Event(
                "person not understood",
                LogLevel.warn,
                "Another server of the chat has described a person in a way that cannot be read.",
                {"name": Field(str, "name of the person"), "reason": Field(str, "cause, in one line")},
            ),
        ),
        (
            "chat",
            Event(
                "room not understood",
                LogLevel.warn,
                "Another server of the chat has described a room in a way that cannot be read.",
                {"name": Field(str, "key of the room"), "reason": Field(str, "cause, in one line")},
            ),
        ),
        (
            "chat",
            Event(
                "member_failed",
                LogLevel.critical,
                "A message could not be delivered to a member, who leaves the room.",
                {"member": Field(str, "name of the member")},
                fails=True,
            ),
        ),
        (
            "files",
            Event(
                "file received",
                LogLevel.info,
                "A file is stored, whole and durable.",
                {
                    "file": Field(str, "name under which it is stored"),
                    "size": Field(int, "length of the file", "bytes"),
                    "digest": Field(str, "digest of the file, such as sha256=HEX"),
                    "peer": _HOST,
                },
            ),
        ),
        (
            "files",
            Event(
                "file refused",
                LogLevel.info,
                "A file was refused; nothing of it is kept, unless its sender can resume it.",
                {
                    "code": Field(str, "code of the answer to the peer"),
                    "reason": Field(str, "cause, in one line"),
                    "peer": _HOST,
                },
            ),
        ),
        (
            "files",
            Event(
                "request refused",
                LogLevel.info,
                "A request of HTTP was refused that is not about a file.",
                {
                    "status": Field(int, "status of the answer"),
                    "method": Field(str, "method of the request"),
                    "path": Field(str, "path of the request"),
                    "peer": _HOST,
                },
            ),
        ),
        (
            "files",
            Event(
                "logged in",
                LogLevel.info,
                "A client of SSH has logged in.",
                {"peer": _HOST, "sender": Field(str, "user or token, such as user:ann; - for none")},
            ),
        ),
        (
            "files",
            Event(
                "login refused",
                LogLevel.info,
                "A client of SSH was refused with what it has shown; of several keys the last one is told.",
                {
                    "code": Field(str, "code of the refusal, such as denied"),
                    "reason": Field(str, "cause, in one line"),
                    "peer": _HOST,
                },
            ),
        ),
        (
            "files",
            Event(
                "host key",
                LogLevel.info,
                "The service has its host key, which clients of SSH compare.",
                {"fingerprint": Field(str, "digest of the key, as OpenSSH shows it")},
            ),
        ),
        (
            "files",
            Event(
                "received file not told",
                LogLevel.warn,
                "A recipient did not take the notice of a file; it is told again later.",
                {
                    "file": Field(str, "path of the file, in the directory"),
                    "recipient": Field(str, "program, webhook or bucket"),
                    "reason": Field(str, "cause, in one line"),
                    "again_in": Field(float, "time until the next attempt", "seconds"),
                },
            ),
        ),
        (
            "files",
            Event(
                "received file given up",
                LogLevel.error,
                "A recipient did not take the notice of a file for days; it is told no more.",
                {
                    "file": Field(str, "path of the file, in the directory"),
                    "recipient": Field(str, "program, webhook or bucket"),
                    "reason": Field(str, "cause, in one line"),
                },
            ),
        ),
        (
            "files",
            Event(
                "outbox not read",
                LogLevel.error,
                "The notices of received files cannot be read or written.",
                {"reason": Field(str, "cause, in one line")},
            ),
        ),
        (
            "files",
            Event(
                "receipt not written",
                LogLevel.warn,
                "The receipt of a file could not be written beside it; the file is stored all the same.",
                {
                    "file": Field(str, "path of the receipt, in the directory"),
                    "reason": Field(str, "cause, in one line"),
                },
            ),
        ),
        (
            "files",
            Event(
                "connection broken",
                LogLevel.debug,
                "A peer left before its file was whole; nothing of it is kept, unless it can be resumed.",
                {"peer": _HOST},
            ),
        ),
        (
            "files",
            Event(
                "directory was moved",
                LogLevel.warn,
                "Another folder has the path of the directory; files go there from now on.",
                {"folder": Field(str, "path of the directory")},
            ),
        ),
        (
            "files",
            Event(
                "not touched among the unfinished files",
                LogLevel.warn,
                "The folder of unfinished files holds entries of other programs.",
                {
                    "folder": Field(str, "path of the folder"),
                    "names": Field(str, "first names of the entries"),
                    "count": Field(int, "entries"),
                },
            ),
        ),
        (
            "files",
            Event(
                "plugin fault",
                LogLevel.critical,
                "An upload raised; its connection ends.",
                {"peer": _HOST},
                fails=True,
            ),
        ),
    )
}
"""Events of the plugins that come with sockd, by plugin and name. The plugins do not declare them."""

_TYPES = {str: "text", int: "whole number", float: "number", list: "list of texts"}

_HEAD = """\
# Log events and metrics

This page is generated: `make docs` writes it from `sockd/telemetry/catalogue.py` and
`sockd/telemetry/metrics.py`.

## Log events

Each line of the log is one event. In JSON every line has `time` (ISO 8601, UTC), `level` and `event`, the
name below; an event of a service has `service` too, and an event that a worker writes has `worker`, its
number. A line with `message` and `logger` in place of `event` comes from Twisted, from the reactor, or from
a library of a plugin. [What the daemon does](behaviour.md#the-log) tells what is written how often.

Levels: `debug` reports single connections, `info` is for a person who watches the daemon, `warn` needs the
operator, `error` needs the author of a plugin, `critical` is a fault of sockd or of a plugin that is a bug.

Fields in brackets are absent where they do not apply.
"""

_PLUGINS = """\
## Events of the plugins

A plugin chooses the names and fields of its events itself (`context.logger`, see [plugins](plugins.md)).
They are bounded by kind and source: the field `alike` counts the events that were held back, and
`sockd_log_events_held_total` counts them for each service. These are the events of the plugins that come
with sockd.
"""

_METRICS = """\
## Metrics

[Metrics, probes and the status page](operations-metrics.md) tells how they are read. No label holds a value
that a peer can choose; `event` has at most 100 values for each level. A sample with a reason, a result or a
callback exists once that has occurred.

With `workers` above 0 each metric is the total of all workers. Each worker has the same metrics with the
prefix `sockd_worker_` in place of `sockd_`, and with the label `worker`.
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join(
        [
            _HEAD,
            *_table(["event", "level", "fields", "meaning"], map(_event, EVENTS.values())),
            "",
            _PLUGINS,
            *_table(
                ["plugin", "event", "level", "fields", "meaning"],
                ([f"`{plugin}`", *_event(event)] for (plugin, _), event in OF_PLUGINS.items()),
            ),
            "",
            _METRICS,
            *_table(
                ["metric", "type", "labels", "unit", "meaning"], map(_metric, FAMILIES, FAMILIES.values())
            ),
            "",
        ]
    )


def _table(heads: list[str], rows: Iterator[list[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _event(event: Event) -> list[str]:
    """Return the cells of an event."""
    fields = [_field(name, field) for name, field in event.fields.items()]
    if event.fails:
        fields += ["`error`: text, type and message of the exception", "`traceback`: text"]
    return [f"`{event.name}`", event.level.name, "<br>".join(fields), event.meaning]


def _field(name: str, field: Field) -> str:
    """Return the name of a field with its type, unit and meaning."""
    kind = _TYPES[field.kind] + (f" in {field.unit}" if field.unit else "")
    return f"{f'[`{name}`]' if field.optional else f'`{name}`'}: {kind}, {field.meaning}"


def _metric(name: str, family: Family) -> list[str]:
    """Return the cells of a metric."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.kind, [""])
    names = "<br>".join(f"`sockd_{name}{suffix}`" for suffix in suffixes)
    labels = ", ".join(family.labels) + ("; the buckets have `le`, too" if family.kind == "histogram" else "")
    return [names, family.kind, labels, _unit(name), f"{family.help} {family.note}".rstrip()]


def _unit(name: str) -> str:
    """Return the unit that a metric's name ends in; times are in seconds since 1970."""
    if name.endswith(("time_seconds", "timestamp_seconds")):
        return "s since 1970"
    return {"seconds": "s", "bytes": "bytes"}.get(name.rpartition("_")[2], "")


if __name__ == "__main__":
    PAGE.write_text(page())
