"""Commands of an operator, carried out in all workers; the workers are made up."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from sockd.control.words import Code, Refused
from sockd.ipc.calls import NoAnswer
from sockd.supervisor.operator import CrewOperator
from sockd.supervisor.overrides import Overrides
from sockd.supervisor.supervisor import Supervisor


class FakeWorker:
    """Answers each command in the same way."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    async def ask(self, command: str, **arguments: Any) -> None:
        if self.error is not None:
            raise self.error


def pause(*errors: Exception | None, service: str | None = "echo") -> Exception | None:
    """Pause a service in workers that answer in these ways; returns the refusal."""
    crew = SimpleNamespace(serving=[FakeWorker(error) for error in errors], leaving=set())
    services: Mapping[str, Any] = {"echo": None}
    supervisor = SimpleNamespace(crew=crew, config=SimpleNamespace(services=services), overrides=Overrides())
    operator = CrewOperator(cast("Supervisor", supervisor), cast("Any", None), lambda level: None, None)
    results: list[Any] = []
    Deferred.fromCoroutine(operator.pause(service)).addBoth(results.append)
    [result] = results
    return None if result is None else cast("Exception", result.value)


def test_a_worker_without_a_part_in_the_service_is_no_fault() -> None:
    refused = Refused("there is no such service here", code=Code.UNKNOWN_SERVICE)
    assert pause(None, refused) is None


def test_a_worker_of_an_earlier_version_sends_no_code() -> None:
    assert pause(None, Refused("expected a service, found 'echo'")) is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("no", code=Code.FAULT), "fault"),
        (NoAnswer("the process is gone"), "no-answer"),
    ],
)
def test_any_other_refusal_is_passed_on_with_its_code(error: Exception, code: str) -> None:
    refused = pause(None, error)
    assert isinstance(refused, Refused)
    assert (str(refused), refused.code) == (str(error), code)


def test_a_service_that_nobody_has_is_refused_by_its_code() -> None:
    refused = pause(None, service="ecko")
    assert isinstance(refused, Refused)
    assert refused.code == "unknown-service"
    assert "did you mean 'echo'?" in str(refused)
