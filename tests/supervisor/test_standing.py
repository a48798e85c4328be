"""What an operator has asked for, as workers that begin later are told it."""

from __future__ import annotations

import json

import pytest

from sockd.supervisor.standing import Standing


@pytest.fixture
def standing() -> Standing:
    return Standing()


def test_a_pause_stands_until_the_service_is_resumed(standing: Standing) -> None:
    standing.pause(["echo", "chat"])
    standing.pause(["echo"])
    assert standing.orders() == [("pause", {"service": "chat"}), ("pause", {"service": "echo"})]
    standing.resume(["chat"])
    assert standing.orders() == [("pause", {"service": "echo"})]


def test_of_several_values_of_a_limit_the_last_one_stands(standing: Standing) -> None:
    standing.set(None, "max_per_source", "5")
    standing.set("echo", "max_per_source", "6")
    standing.set("chat", "idle_timeout", "1m")
    assert standing.sets("echo") == [("max_per_source", "5"), ("max_per_source", "6")]
    assert standing.sets("chat") == [("max_per_source", "5"), ("idle_timeout", "1m")]
    standing.set(None, "max_per_source", "7")
    assert standing.sets("echo") == [("max_per_source", "7")]
    assert len(standing.orders()) == 2


def test_only_the_last_level_of_the_log_stands(standing: Standing) -> None:
    standing.log("debug")
    standing.log("warn")
    assert standing.orders() == [("log", {"level": "warn"})]


def test_a_reload_brings_back_what_the_file_says_but_wakes_no_paused_service(standing: Standing) -> None:
    standing.pause(["echo", "gone"])
    standing.set(None, "idle_timeout", "1m")
    standing.log("debug")
    standing.reloaded(["echo", "chat"])
    assert standing.orders() == [("pause", {"service": "echo"})]


def test_it_can_be_handed_on_as_json(standing: Standing) -> None:
    standing.pause(["echo"])
    standing.set("echo", "idle_timeout", "1m")
    assert Standing(json.loads(json.dumps(standing.orders()))).orders() == standing.orders()
