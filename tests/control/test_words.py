"""The commands and their arguments."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from sockd.control.dialog import answer
from sockd.control.operator import COMMANDS, Operator
from sockd.control.words import Refused, arguments, unknown
from sockd.serving.operator import LocalOperator
from sockd.text import printable
from tests.control.serving import FakeOperator

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("operator", [Operator, LocalOperator, FakeOperator])
def test_an_operator_has_a_method_for_each_command_with_its_arguments(operator: type) -> None:
    for command, known in COMMANDS.items():
        if command != "ping":
            assert list(inspect.signature(getattr(operator, command)).parameters) == ["self", *known]


@pytest.mark.parametrize(
    ("command", "given", "complete"),
    [
        ("pause", {}, {"service": None}),
        ("pause", {"service": None}, {"service": None}),
        ("reload", {}, {"dry_run": False}),
        ("reload", {"dry_run": True}, {"dry_run": True}),
        ("set", {"key": "k", "value": "v"}, {"service": None, "key": "k", "value": "v"}),
    ],
)
def test_what_may_be_left_out_is_filled_in(
    command: str, given: dict[str, Any], complete: dict[str, Any]
) -> None:
    assert arguments(command, given) == complete


@pytest.mark.parametrize(
    ("command", "given", "reason"),
    [
        ("staus", {}, "expected a command, found 'staus'; did you mean 'status'?"),
        ("kick", {}, "kick: id: expected text, found nothing"),
        ("kick", {"id": 5}, "kick: id: expected text, found 5"),
        ("kick", {"ids": "x"}, "kick: expected an argument, found 'ids'; did you mean 'id'?"),
        ("ps", {"x": 1}, "ps: expected an argument, found 'x'; known here: none"),
        ("reload", {"dry_run": "yes"}, "reload: dry_run: expected true or false, found yes"),
        ("log", {"level": "wran"}, "log: level: expected a level, found 'wran'; did you mean 'warn'?"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(command: str, given: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as refused:
        arguments(command, given)
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        (b"[]", "invalid-request"),
        (b'{"command":"stp"}', "unknown-command"),
        (b'{"command":"set"}', "invalid-argument"),
    ],
)
def test_each_refused_request_is_answered_with_a_code(request_line: bytes, code: str) -> None:
    lines: list[bytes] = []
    Deferred.fromCoroutine(answer(FakeOperator(), request_line)).addCallback(lines.append)
    assert json.loads(lines[0])["code"] == code


def test_a_word_that_is_too_long_is_told_shortened() -> None:
    assert (
        unknown("a service", "x" * 1000, []) == f"expected a service, found '{'x' * 39}…'; known here: none"
    )


@given(
    st.binary(max_size=200)
    | st.builds(
        lambda command, more: json.dumps({**more, "command": command}).encode(),
        st.sampled_from(sorted(COMMANDS)) | JSON,
        st.dictionaries(
            st.sampled_from(["id", "service", "key", "value", "level", "dry_run"]) | st.text(), JSON
        ),
    )
)
def test_whatever_is_asked_the_answer_is_one_line_without_control_characters(request: bytes) -> None:
    lines: list[bytes] = []
    Deferred.fromCoroutine(answer(FakeOperator(), request)).addCallback(lines.append)
    [line] = lines
    assert b"\n" not in line
    found = json.loads(line)
    assert found["ok"] or (printable(found["error"]) == found["error"] and len(found["error"]) < 500)
