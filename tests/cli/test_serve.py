from __future__ import annotations

import pytest
from click import UsageError

from sockd import discovery
from sockd.cli.serve import document
from sockd.config import load_document
from sockd.errors import ConfigError


def test_the_command_line_becomes_the_configuration_that_a_file_would_be() -> None:
    words = [
        "--listen",
        "tcp:0:interface=127.0.0.1",
        "--listen=udp:0",
        "--zone",
        "UTC",
        "--idle-timeout",
        "30s",
    ]
    config = load_document(document("time", [*words, "--log-level", "debug"]), discovery.find)
    service = config.services["time"]
    assert [str(listener.endpoint) for listener in service.listen] == ["tcp:0:interface=127.0.0.1", "udp:0"]
    assert service.limits.idle_timeout == 30
    assert service.options.zone == "UTC"  # type: ignore[attr-defined]  # the plugin's own field
    assert config.log.level == "debug"


def test_a_listener_may_be_a_table() -> None:
    table = '{ endpoint = "tcp:0", protocol = "raw", socket = { backlog = 5 } }'
    words = ["--listen", table, "--directory", "in"]
    listener = load_document(document("files", words), discovery.find).services["files"].listen[0]
    assert (listener.protocol, listener.socket.backlog) == ("raw", 5)


@pytest.mark.parametrize(
    ("words", "marked"),
    [
        (["--listen", "tcp:70x7"], "70x7"),
        (["--listen=tcp:1", "--idle-timeout", "soon"], "soon"),
        (["--listen=tcp:1", "--idle-timout", "3s"], "--idle-timout"),
        (["--listen=tcp:1", "--colour", "red"], "--colour"),
        (["--listen", "tcp:1", "--listen", "tcp:1"], "tcp:1"),
        (["--listen", "tcp:1", "--log-level", "loud"], "loud"),
    ],
)
def test_a_fault_points_at_the_word_of_the_command_line(words: list[str], marked: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_document(document("echo", words), discovery.find)
    fault = caught.value.faults[0]
    assert fault.file == "command line"
    assert fault.source[fault.column - 1 :].startswith(marked)
    assert fault.source.startswith("sockd serve echo --listen")


def test_a_misspelt_limit_is_told_with_the_right_word() -> None:
    with pytest.raises(ConfigError) as caught:
        load_document(document("echo", ["--listen=tcp:1", "--max-connection", "3"]), discovery.find)
    assert caught.value.faults[0].nearest == "max_connections"


def test_an_option_of_the_plugin_is_one_even_if_it_looks_like_a_limit() -> None:
    words = ["--listen=tcp:1", "--max-clients", "3"]
    desk = load_document(document("desk", words), discovery.find).services["desk"]
    assert desk.options.max_clients == 3  # type: ignore[attr-defined]  # the plugin's own field


def test_without_an_endpoint_there_is_nothing_to_serve() -> None:
    with pytest.raises(ConfigError) as caught:
        load_document(document("echo", []), discovery.find)
    assert "listen" in caught.value.faults[0].message


def test_a_word_that_belongs_to_no_key_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        document("echo", ["tcp:7007"])
