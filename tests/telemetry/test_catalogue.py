"""The code writes the events of the catalogue, and docs/events.md is generated from them."""

from __future__ import annotations

import ast
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, capturedLogs
from twisted.python.failure import Failure

from sockd.telemetry import catalogue
from sockd.telemetry.catalogue import EVENTS, Event
from sockd.telemetry.events import ALIKE_PERIOD, DaemonEvents, ServerEvents, ServiceEvents
from sockd.telemetry.supervision import SupervisorEvents
from sockd.telemetry.watchdog import Block

ROOT = Path(__file__).parents[2]
REFERENCE: dict[str, Any] = runpy.run_path(str(ROOT / "docs/events.py"))
NAMED = {name: value for name, value in vars(catalogue).items() if isinstance(value, Event)}

WRITES = {"debug", "info", "warn", "error", "critical", "failure", "emit"}
"""Methods of a logger."""


def calls(path: Path) -> Iterator[ast.Call]:
    """Yield the calls of methods in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node


def method(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr


def target(call: ast.Call) -> str:
    """Return the last name of the object whose method is called."""
    assert isinstance(call.func, ast.Attribute)
    owner = call.func.value
    if isinstance(owner, ast.Attribute):
        return owner.attr
    return owner.id if isinstance(owner, ast.Name) else ""


def is_logged(call: ast.Call) -> bool:
    return method(call) in WRITES and target(call) in {"log", "_log", "logger", "_logger"}


def test_the_page_is_what_the_code_gives() -> None:
    page = (ROOT / "docs/events.md").read_text()
    assert page == REFERENCE["page"](), "docs/events.md is not what `make docs` writes"


def test_only_the_catalogue_names_events() -> None:
    """The reactor is apart: it knows no event, it writes messages as Twisted's reactors do."""
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in ROOT.glob("sockd/**/*.py")
        if path.name != "catalogue.py" and "uvreactor" not in path.parts
        for call in calls(path)
        if is_logged(call)
    ]
    assert not found, found


def test_each_event_of_the_catalogue_is_written_somewhere_with_fields_that_it_declares() -> None:
    written = set()
    for path in ROOT.glob("sockd/**/*.py"):
        for call in calls(path):
            event = NAMED.get(target(call))
            if event is not None and method(call) in {"write", "write_failure"}:
                written.add(event.name)
                given = {keyword.arg for keyword in call.keywords}
                where = f"{path.relative_to(ROOT)}:{call.lineno}"
                assert given - {None} <= set(event.fields), where
                required = {name for name, field in event.fields.items() if not field.optional}
                assert required <= given or None in given, where
                assert event.fails == (method(call) == "write_failure"), where
            elif method(call) in {"announce", "_write_seldom"}:
                written.add(NAMED[getattr(call.args[0], "attr", getattr(call.args[0], "id", ""))].name)
    assert written == set(EVENTS)


def failure() -> Failure:
    try:
        raise ValueError("no")
    except ValueError:
        return Failure()


PLAN = {key: ["echo"] for key in catalogue.RELOADED.fields}


def reported_by_a_server(server: ServerEvents, clock: Clock) -> None:
    server.ready(1, 2, "UVReactor")
    server.reactor_fallback("no uvloop")
    server.reloaded(PLAN)
    server.broker_connected("nats://10.0.0.1:4222")
    server.broker_away("refused")
    server.broker_fault(failure())
    server.stopping(3, 30.0)
    server.stopped(0)
    server.descriptors_short(1024)
    server.descriptors_short(1024)
    clock.advance(ALIKE_PERIOD)
    server.descriptors_short(1024)


def reported_by_a_daemon(daemon: DaemonEvents) -> None:
    daemon.not_reloaded("broken")
    daemon.not_upgraded("no workers")
    daemon.own_port_listening("control", "unix:/run/x")
    daemon.own_port_lost("control", "unix:/run/x", "taken")
    daemon.blocked(Block(0.5, False, "x.py:1 in y", "x < y"))
    daemon.blocked(Block(0.5, True, "x.py:1 in y", ""))


def reported_by_a_service(service: ServiceEvents, clock: Clock) -> None:
    service.listening("tcp:7", "default")
    service.certificates_loaded("tcp:7")
    service.opened(("127.0.0.1", 1), 1)
    service.closed(("127.0.0.1", 1), 1, "peer closed", 0.5, 3, 4)
    for seconds in (0.0, ALIKE_PERIOD, 0.0):  # written, counted, and written with the count
        clock.advance(seconds / 2)
        service.certificates_faulty("tcp:7", "expired")
        service.refused(("127.0.0.1", 1), "max_connections")
        service.dropped(("127.0.0.1", 1), "loop")
        service.dropped(None, "port lost")
        service.plugin_fault("dataReceived", failure(), ("127.0.0.1", 1))
        clock.advance(seconds / 2)


def reported_by_a_supervisor(supervisor: SupervisorEvents) -> None:
    supervisor.listening("echo", "tcp:7", "default")
    supervisor.alone("chat")
    supervisor.ready(1, 2, "UVReactor", 4)
    supervisor.started(0, 4711, 1)
    supervisor.ended(0, 4711, "exit code 1")
    supervisor.left(0, 4711, "exit code 0")
    supervisor.hung(0, 4711)
    supervisor.not_started(0, "broken", 1.0)
    supervisor.no_spare("broken", 1.0)
    supervisor.reloaded(PLAN)
    supervisor.not_reloaded("broken")
    supervisor.replaced("1.0")
    supervisor.upgraded(2)
    supervisor.not_upgraded("broken")
    supervisor.stopping(4, 30.0)
    supervisor.stopped(0)


def reported() -> list[dict[str, Any]]:
    clock = Clock()
    with capturedLogs() as events:
        reported_by_a_server(ServerEvents(clock.seconds), clock)
        reported_by_a_daemon(DaemonEvents())
        reported_by_a_service(ServiceEvents("echo", clock.seconds, each_connection=True), clock)
        reported_by_a_supervisor(SupervisorEvents())
        log = Logger(namespace="sockd")
        catalogue.PAGE_FAILED.write_failure(log, failure(), path="/metrics")
        catalogue.CALL_FAULT.write_failure(log, failure(), command="status")
        catalogue.CONTROL_FAULT.write_failure(log, failure())
        catalogue.CHANNEL_FAULT.write_failure(log, failure())
        catalogue.REQUEST_FAULT.write_failure(log, failure())
    return [dict(event) for event in events]


def own_fields(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if not key.startswith("log_")}


def test_each_event_has_the_level_the_fields_and_the_types_that_the_catalogue_declares() -> None:
    seen: dict[str, set[str]] = {}
    for event in reported():
        declared = EVENTS[event["log_format"]]
        fields = own_fields(event)
        assert event["log_level"] is declared.level, declared.name
        assert fields.keys() <= declared.fields.keys(), declared.name
        assert ("log_failure" in event) == declared.fails, declared.name
        for name, value in fields.items():
            assert type(value) is declared.fields[name].kind, (declared.name, name)
        seen.setdefault(declared.name, set()).update(fields)
    by_the_sink = {catalogue.LINES_DROPPED.name, catalogue.LOG_NOT_REOPENED.name}
    assert seen == {name: set(event.fields) for name, event in EVENTS.items() if name not in by_the_sink}


REPORTS: list[tuple[type, Callable[..., None]]] = [
    (ServerEvents, reported_by_a_server),
    (DaemonEvents, reported_by_a_daemon),
    (ServiceEvents, reported_by_a_service),
    (SupervisorEvents, reported_by_a_supervisor),
]


@pytest.mark.parametrize(("reports", "sample"), REPORTS)
def test_the_samples_above_call_every_report(reports: type, sample: Callable[..., None]) -> None:
    counted = {"handshake"}  # it is a count without an event
    assert isinstance(sample, FunctionType)
    public = {name for name, value in vars(reports).items() if callable(value) and name[0] != "_"} - counted
    assert public <= set(sample.__code__.co_names)


def test_the_reference_lists_each_event_of_the_built_in_plugins() -> None:
    declared: dict[tuple[str, str], Event] = REFERENCE["OF_PLUGINS"]
    found: dict[tuple[str, str], tuple[str, set[str]]] = {}
    for path in ROOT.glob("plugins/sockd_plugins/**/*.py"):
        plugin = path.relative_to(ROOT / "plugins/sockd_plugins").parts[0].removesuffix(".py")
        for call in calls(path):
            if is_logged(call):
                name = ast.literal_eval(call.args[0])
                level = "critical" if method(call) == "failure" else method(call)
                found[plugin, name] = level, {str(keyword.arg) for keyword in call.keywords}
    assert found == {key: (event.level.name, set(event.fields)) for key, event in declared.items()}
