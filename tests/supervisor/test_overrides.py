"""What an operator has asked for, as workers that begin later are told it."""

from __future__ import annotations

import json

import pytest

from sockd.supervisor.overrides import Overrides


@pytest.fixture
def overrides() -> Overrides:
    return Overrides()


def test_a_pause_stands_until_the_service_is_resumed(overrides: Overrides) -> None:
    overrides.pause(["echo", "chat"])
    overrides.pause(["echo"])
    assert overrides.orders() == [("pause", {"service": "chat"}), ("pause", {"service": "echo"})]
    overrides.resume(["chat"])
    assert overrides.orders() == [("pause", {"service": "echo"})]


def test_of_several_values_of_a_limit_the_last_one_stands(overrides: Overrides) -> None:
    overrides.set(None, "max_per_source", "5")
    overrides.set("echo", "max_per_source", "6")
    overrides.set("chat", "idle_timeout", "1m")
    assert overrides.sets("echo") == [("max_per_source", "5"), ("max_per_source", "6")]
    assert overrides.sets("chat") == [("max_per_source", "5"), ("idle_timeout", "1m")]
    overrides.set(None, "max_per_source", "7")
    assert overrides.sets("echo") == [("max_per_source", "7")]
    assert len(overrides.orders()) == 2


def test_only_the_last_level_of_the_log_stands(overrides: Overrides) -> None:
    overrides.log("debug")
    overrides.log("warn")
    assert overrides.orders() == [("log", {"level": "warn"})]


def test_a_reload_brings_back_what_the_file_says_but_wakes_no_paused_service(overrides: Overrides) -> None:
    overrides.pause(["echo", "gone"])
    overrides.set(None, "idle_timeout", "1m")
    overrides.log("debug")
    overrides.reloaded(["echo", "chat"])
    assert overrides.orders() == [("pause", {"service": "echo"})]


def test_it_can_be_handed_on_as_json(overrides: Overrides) -> None:
    overrides.pause(["echo"])
    overrides.set("echo", "idle_timeout", "1m")
    assert Overrides(json.loads(json.dumps(overrides.orders()))).orders() == overrides.orders()
