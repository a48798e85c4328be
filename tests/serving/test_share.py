"""What of a configuration each worker serves."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel

from sockd.config import Config, load
from sockd.config.texts import load_texts, read_texts
from sockd.config.written import Rate
from sockd.endpoint import InetEndpoint
from sockd.serving.share import at_true_ports, divided, share


class Stateless(BaseModel):
    protocols: ClassVar[tuple[str, ...]] = ("default",)


class Stateful(Stateless):
    shared_state: ClassVar[bool] = True


def find(name: str) -> type[BaseModel]:
    return Stateful if name == "chat" else Stateless


TEXT = """
[daemon]
workers = 3
max_unread_output = "30MiB"
[service.echo]
plugin = "echo"
listen = ["tcp:0", "unix:echo.sock", "udp:7001", "udp:7002", "udp:7003", "udp:7004", "udp:7005", "udp:7006"]
[service.echo.limits]
connection_rate = "90/s"
datagram_rate = "10/m"
max_connections = 9
[service.chat]
plugin = "chat"
listen = ["tcp:7010", "udp:7010"]
limits.connection_rate = "90/s"
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "sockd.toml").write_text(TEXT)
    return load_texts(read_texts(tmp_path / "sockd.toml", ()), find)


def served(config: Config, service: str) -> list[str]:
    return [str(listener.endpoint) for listener in config.services[service].listen]


def test_streams_are_served_by_all_and_each_datagram_socket_by_one(config: Config) -> None:
    parts = [share(config, worker, 3) for worker in range(3)]
    endpoints = [endpoint for part in parts for endpoint in served(part, "echo")]
    assert endpoints.count("tcp:0") == 3
    assert sorted(each for each in endpoints if each.startswith("udp")) == [
        f"udp:{port}" for port in range(7001, 7007)
    ]


def test_a_service_with_state_is_the_first_workers(config: Config) -> None:
    parts = [share(config, worker, 3) for worker in range(3)]
    assert ["chat" in part.services for part in parts] == [True, False, False]
    assert served(parts[0], "chat") == ["tcp:7010", "udp:7010"]
    assert parts[0].services["chat"].limits == config.services["chat"].limits


def test_rates_are_divided_and_totals_are_not(config: Config) -> None:
    limits = share(config, 0, 3).services["echo"].limits
    assert limits.connection_rate == Rate(30, 1.0)
    assert limits.max_connections == 9
    assert share(config, 0, 3).daemon.max_unread_output == 10 * 2**20
    assert share(config, 0, 1).services["echo"].limits == config.services["echo"].limits


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("count", [1, 5, 90, 1000])
def test_the_parts_of_a_rate_are_together_the_whole(config: Config, workers: int, count: int) -> None:
    service = config.services["echo"]
    limits = service.limits.model_copy(update={"connection_rate": Rate(count, 2.0)})
    part = divided(service, limits, workers).connection_rate
    assert part is not None
    assert workers * part.count / part.seconds == pytest.approx(count / 2.0)


def test_ports_that_the_kernel_chose_stand_in_the_place_of_0(config: Config) -> None:
    placed = at_true_ports(config, {("echo", 0): 4711})
    assert placed.services["echo"].listen[0].endpoint == InetEndpoint("tcp", 4711)
    assert placed.services["chat"] == config.services["chat"]


def test_texts_say_what_the_files_said(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "sockd.toml").write_text(
        '[daemon]\ninclude = ["more/*.toml"]\n[limits]\nmax_connections = 5\n'
        '[service.a]\nplugin = "a"\nlisten = ["unix:a.sock"]\n'
    )
    (tmp_path / "more/b.toml").write_text('[service.b]\nplugin = "b"\nlisten = ["unix:b.sock"]\n')
    path = tmp_path / "sockd.toml"
    texts = read_texts(path, load(path).daemon.include)
    before = load(path)
    path.unlink()
    (tmp_path / "more/b.toml").unlink()
    after = load_texts(texts, find)
    assert list(after.services) == ["a", "b"]
    for name, service in before.services.items():
        assert after.services[name].listen == service.listen
        assert after.services[name].limits == service.limits
    assert str(after.services["b"].listen[0].endpoint) == f"unix:{tmp_path}/more/b.sock"
