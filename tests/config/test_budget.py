"""File descriptors that a configuration may come to need, against those that there are."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from sockd.config import Config, descriptors_available, descriptors_needed, load
from sockd.errors import ConfigError, Fault

Load = Callable[[str], Config]


def service(name: str, port: int, limits: str = "") -> str:
    return f'[service.{name}]\nplugin = "echo"\nlisten = ["tcp:{port}", "unix:{name}"]\n{limits}\n'


def told(tmp_path: Path, text: str, available: int) -> tuple[Fault, ...]:
    """The faults of a text on a machine that has so many descriptors."""
    path = tmp_path / "sockd.toml"
    path.write_text(text)
    try:
        load(path, descriptors=available)
    except ConfigError as error:
        return error.faults
    return ()


def test_written_numbers_are_counted_with_the_listeners_and_a_reserve(config: Load) -> None:
    text = service("a", 1, "limits.max_connections = 100") + service("b", 2, "limits.max_connections = 20")
    assert descriptors_needed(config(text)) == 100 + 20 + 2 + 2 + 64


def test_a_default_is_no_promise(config: Load) -> None:
    assert descriptors_needed(config(service("a", 1) + service("b", 2))) == 2 + 2 + 64


def test_a_number_for_all_services_is_promised_once(config: Load) -> None:
    text = "limits.max_connections = 100\n" + service("a", 1) + service("b", 2)
    own = service("c", 3, "limits.max_connections = 100")
    assert descriptors_needed(config(text)) == 100 + 2 + 2 + 64
    assert descriptors_needed(config(text + own)) == 100 + 100 + 2 + 2 + 2 + 64


def test_a_number_for_all_services_does_not_count_where_all_have_their_own(config: Load) -> None:
    text = "limits.max_connections = 100\n" + service("a", 1, "limits.max_connections = 5")
    assert descriptors_needed(config(text)) == 5 + 2 + 64


def test_datagrams_need_no_descriptor_for_each_peer(config: Load) -> None:
    text = '[service.u]\nplugin = "echo"\nlisten = ["udp:1"]\nlimits.max_connections = 100'
    assert descriptors_needed(config(text)) == 1 + 64


def test_the_largest_number_that_was_written_is_the_fault(tmp_path: Path) -> None:
    text = service("a", 1, "limits.max_connections = 100") + service("b", 2, "limits.max_connections = 200")
    [fault] = told(tmp_path, text, 489)
    assert fault.message == (
        "service 'b': limits.max_connections: all services together need 368 descriptors "
        "(their connections, listeners and 64 more), but the process may have 489 (ulimit -n), "
        "of which it keeps 122 free"
    )
    assert (fault.line, fault.source[fault.column - 1 :][: fault.length]) == (8, "200")
    assert told(tmp_path, text, 490) == ()


def test_a_number_for_all_services_is_the_fault_at_its_place(tmp_path: Path) -> None:
    text = (
        "[limits]\nmax_connections = 100\n" + service("a", 1) + service("b", 2, "limits.max_connections = 5")
    )
    [fault] = told(tmp_path, text, 100)
    assert fault.message.startswith("limits.max_connections: all services together need 173 descriptors")
    assert fault.line == 2


def test_the_fault_stands_in_the_file_that_was_included(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text(service("b", 2, "limits.max_connections = 200"))
    [fault] = told(tmp_path, 'daemon.include = ["*.toml"]\n' + service("a", 1), 100)
    assert (fault.file, fault.line) == (str(tmp_path / "b.toml"), 4)


def test_nothing_is_told_where_nothing_was_written(tmp_path: Path) -> None:
    assert told(tmp_path, service("a", 1), 10) == ()


@pytest.mark.parametrize(("hard", "available"), [(20_000, 20_000), (resource.RLIM_INFINITY, None)])
def test_the_hard_limit_is_what_a_process_may_have(
    monkeypatch: pytest.MonkeyPatch, hard: int, available: int | None
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, hard))
    assert descriptors_available() == available
