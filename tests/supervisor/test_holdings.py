"""What the supervisor holds open, from one configuration to the next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sockd.config import Config, load
from sockd.limits import SharedPlaces
from sockd.sockets.open import open_socket
from sockd.supervisor.holdings import Holdings

SEATS = 4


def config(folder: Path, **services: str) -> Config:
    text = "".join(
        f'[service.{name}]\nplugin = "x"\nlisten = [{listen}]\n' for name, listen in services.items()
    )
    (folder / "sockd.toml").write_text(text)
    return load(folder / "sockd.toml")


def held(config: Config, before: Holdings | None = None) -> Holdings:
    return (before or Holdings()).for_config(config, open_socket, SEATS)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


PORT = '"tcp:0:interface=127.0.0.1"'


def test_what_is_needed_again_is_kept_and_the_rest_is_closed(tmp_path: Path) -> None:
    first = held(config(tmp_path, a=f'{PORT}, "unix:a.sock"', b='"unix:b.sock"'))
    second = held(config(tmp_path, a=f'"unix:a.sock", {PORT}', c='"unix:c.sock"'), first)
    first.close_beside(second)
    assert second.sockets["a", 1].bound is first.sockets["a", 0].bound
    assert second.sockets["a", 0].bound is first.sockets["a", 1].bound
    assert second.places["a"] is first.places["a"]
    assert sorted(path.name for path in tmp_path.glob("*.sock")) == ["a.sock", "c.sock"]
    second.close()
    assert not list(tmp_path.glob("*.sock"))


def test_places_of_a_service_that_is_gone_are_kept_as_long_as_connections_hold_some(tmp_path: Path) -> None:
    first = held(config(tmp_path, a='"unix:a.sock"', b='"unix:b.sock"'))
    worker = SharedPlaces(os.dup(first.places["b"].descriptor), 1)
    assert worker.take(10) is None
    second = held(config(tmp_path, a='"unix:a.sock"'), first)
    first.close_beside(second)
    third = held(config(tmp_path, a='"unix:a.sock"', b='"unix:b.sock"'), second)
    assert third.places["b"].total == 1, "it has come again"
    worker.give()
    fourth = held(config(tmp_path, a='"unix:a.sock"'), third)
    assert list(fourth.places) == ["a"]
    third.close_beside(fourth)
    fourth.close()


def test_a_service_of_another_name_takes_over_the_socket_of_a_former_one(tmp_path: Path) -> None:
    first = held(config(tmp_path, a='"unix:a.sock"'))
    second = held(config(tmp_path, b='"unix:a.sock"'), first)
    assert second.sockets["b", 0].bound is first.sockets["a", 0].bound
    first.close_beside(second)
    assert (tmp_path / "a.sock").exists()
    second.close()


def test_if_one_cannot_be_opened_nothing_stays_open_and_nothing_is_closed(tmp_path: Path) -> None:
    first = held(config(tmp_path, a='"unix:a.sock"'))
    before = open_descriptors()
    with pytest.raises(ExceptionGroup) as failed:
        held(config(tmp_path, a='"unix:a.sock"', b=f'{PORT}, "unix:/proc/no/b.sock"', c=PORT), first)
    assert ["service 'b'" in str(error) for error in failed.value.exceptions] == [True]
    assert open_descriptors() == before
    assert (tmp_path / "a.sock").exists()
    first.close()


def test_names_go_with_the_descriptors_in_their_order(tmp_path: Path) -> None:
    holdings = held(config(tmp_path, a=f'{PORT}, "unix:a.sock"', b='"unix:b.sock"'))
    message = holdings.message()
    assert [(service, index) for service, index, *_ in message["sockets"]] == [("a", 0), ("a", 1), ("b", 0)]
    assert message["sockets"][1][2] == f"unix:{tmp_path}/a.sock"
    assert message["places"] == ["a", "b"]
    assert len(holdings.descriptors()) == 5
    holdings.close()
