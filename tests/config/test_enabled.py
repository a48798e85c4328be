"""Services that are not enabled."""

from __future__ import annotations

from collections.abc import Callable

from sockd.config import Config

Load = Callable[[str], Config]
Messages = Callable[[str], list[str]]

OFF = '[service.off]\nplugin = "chat"\nlisten = ["tcp:1"]\nenabled = false\n'
ON = '[service.on]\nplugin = "echo"\nlisten = ["tcp:1"]\n'


def test_a_service_that_is_not_enabled_is_not_served_and_its_port_is_free(config: Load) -> None:
    found = config(OFF + ON)
    assert list(found.services) == ["on"]
    assert found.disabled == ("off",)


def test_a_service_that_is_not_enabled_is_checked_all_the_same(messages: Messages) -> None:
    assert len(messages(f"{OFF}[service.off.options]\nhistry = 1\n")) == 1
    assert len(messages(OFF + OFF.replace("off", "on").replace("false", '"no"'))) == 1
    assert len(messages(OFF.replace("tcp:1", "tcp:x"))) == 1


def test_whether_a_service_is_enabled_may_come_from_outside(config: Load) -> None:
    assert list(config(ON.replace("tcp:1", "tcp:2") + OFF.replace("false", '"${YES}"')).services) == [
        "on",
        "off",
    ]
