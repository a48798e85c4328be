"""Listeners that cannot be opened as they are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sockd import discovery
from sockd.config import Config, load
from sockd.errors import ConfigError, Fault
from sockd.plugin import Plugin

Load = Callable[[str], Config]
Faulty = Callable[[str], tuple[Fault, ...]]


def two(first: str, second: str) -> str:
    """Two services with one listener each, as TOML values."""
    return "".join(
        f'[service.{name}]\nplugin = "chat"\nlisten = [{listener}]\n'
        for name, listener in (("a", first), ("b", second))
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('"tcp:80"', '"udp:80"'),
        ('"tcp:0"', '"tcp:0"'),
        ('"tcp:80"', '"tcp6:80"'),
        ('"tcp:80:interface=127.0.0.1"', '"tcp:80:interface=127.0.0.2"'),
        ('"tcp6:80:interface=[::1]"', '"tcp:80"'),
        ('"unix:a"', '"unix:b"'),
        ('"unix:80"', '"tcp:80"'),
        ('{ endpoint = "tcp6:80:interface=[::1]", socket.v6_only = false }', '"tcp:80"'),
    ],
)
def test_different_endpoints_are_fine_together(config: Load, first: str, second: str) -> None:
    assert len(config(two(first, second)).services) == 2


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ('"tcp:80"', '"tcp:80:backlog=5"', "tcp:80 is taken by"),
        ('"udp:80"', '{ endpoint = "udp:80" }', "udp:80 is taken by"),
        (
            '"tcp:80:interface=[::1]"',
            '"tcp6:80:interface=[0::1]"',
            "tcp6:80:interface=[::1] overlaps tcp:80:interface=[::1] of",
        ),
        ('"tcp:80"', '"tcp:80:interface=127.0.0.1"', "tcp:80:interface=127.0.0.1 overlaps tcp:80 of"),
        (
            '"tcp:80:interface=127.0.0.1"',
            '"tcp:80:interface=0.0.0.0"',
            "tcp:80:interface=0.0.0.0 overlaps tcp:80:interface=127.0.0.1 of",
        ),
        ('"tcp6:80"', '"tcp6:80:interface=[::1]"', "tcp6:80:interface=[::1] overlaps tcp6:80 of"),
        ('"udp:80"', '{ endpoint = "udp6:80", socket = { v6_only = false } }', "udp6:80 overlaps udp:80 of"),
        (
            '{ endpoint = "tcp6:80", socket.v6_only = false }',
            '"tcp:80:interface=127.0.0.1"',
            "tcp:80:interface=127.0.0.1 overlaps tcp6:80 of",
        ),
    ],
)
def test_an_endpoint_that_is_taken_is_a_fault_that_names_who_has_it(
    faults: Faulty, first: str, second: str, message: str
) -> None:
    [fault] = faults(two(first, second))
    assert fault.message.startswith(f"service 'b': listen[0]: {message} service 'a' listen[0] (")
    assert fault.message.endswith("sockd.toml:3)")
    assert (fault.line, fault.source[fault.column - 1 :][: fault.length]) == (6, second)


@pytest.mark.parametrize(
    ("first", "second"), [("unix:run/a", "unix:run/a:mode=666"), ("unix:a", "unixgram:a")]
)
def test_a_path_is_one_name_whatever_the_kind_of_socket(faults: Faulty, first: str, second: str) -> None:
    [fault] = faults(two(f'"{first}"', f'"{second}"'))
    assert fault.line == 6


def test_ports_are_compared_although_the_services_have_other_faults(faults: Faulty) -> None:
    text = two('"tcp:80", "nonsense"', '"udp:80", "tcp:80"') + "limits = 5\n"
    assert [fault.line for fault in faults(text)] == [3, 6, 7]


def test_one_service_cannot_use_a_port_twice(faults: Faulty) -> None:
    [fault] = faults('service.a = { plugin = "echo", listen = ["tcp:80", "tcp:80"] }')
    assert "service 'a': listen[1]: tcp:80 is taken by service 'a' listen[0]" in fault.message


@pytest.mark.parametrize(
    ("endpoint", "option", "kind"),
    [
        ("udp:80", "reuse_address = true", "a TCP endpoint"),
        ("udp:80", "keepalive = false", "a TCP endpoint"),
        ("unix:a", "no_delay = true", "a TCP endpoint"),
        ("unix:a", 'user_timeout = "5s"', "a TCP endpoint"),
        ("udp6:80", 'defer_accept = "5s"', "a TCP endpoint"),
        ("unixgram:a", "backlog = 5", "a stream endpoint"),
        ("udp:80", "backlog = 5", "a stream endpoint"),
        ("tcp:80:interface=127.0.0.1", "v6_only = true", "an IPv6 endpoint"),
        ("unix:a", "v6_only = true", "an IPv6 endpoint"),
    ],
)
def test_an_option_that_its_endpoint_does_not_have_is_a_fault(
    faults: Faulty, endpoint: str, option: str, kind: str
) -> None:
    key = option.split()[0]
    [fault] = faults(two('"tcp:1"', f'{{ endpoint = "{endpoint}", socket = {{ {option} }} }}'))
    assert fault.message.startswith(
        f"service 'b': listen[0].socket.{key}: only {kind} has this option, found "
    )
    assert fault.source[fault.column - 1 :][: fault.length] == key


@pytest.mark.parametrize(
    ("endpoint", "option"),
    [
        ("tcp:80", "keepalive = false"),
        ("tcp6:80", "v6_only = false"),
        ("udp:80:interface=[::1]", "v6_only = true"),
        ("unix:a", "backlog = 5"),
        ("udp:80", 'receive_buffer = "1MiB"'),
        ("unixgram:a", "send_buffer = 4096"),
    ],
)
def test_an_option_that_its_endpoint_has_is_fine(config: Load, endpoint: str, option: str) -> None:
    listener = (
        config(two('"tcp:1"', f'{{ endpoint = "{endpoint}", socket = {{ {option} }} }}'))
        .services["b"]
        .listen[0]
    )
    assert listener.socket.model_fields_set == {option.split()[0]}


def test_a_backlog_is_given_once(faults: Faulty) -> None:
    [fault] = faults(two('"tcp:1"', '{ endpoint = "tcp:2:backlog=5", socket.backlog = 5 }'))
    assert (
        fault.message
        == "service 'b': listen[0].socket.backlog: given twice, as the endpoint has backlog= too"
    )


def test_a_protocol_is_one_of_the_plugin(config: Load, faults: Faulty) -> None:
    assert config(two('"tcp:1"', '{ endpoint = "tcp:2", protocol = "irc" }'))
    [fault] = faults(two('"tcp:1"', '{ endpoint = "tcp:2", protocol = "ircs" }'))
    assert fault.message == "service 'b': listen[0].protocol: expected one of: chat, irc, found 'ircs'"
    assert (fault.nearest, fault.source[fault.column - 1 :][: fault.length]) == ("irc", '"ircs"')


@pytest.mark.parametrize(
    ("listener", "column"),
    [
        ('{ endpoint = "udp:80", protocol = "operator" }', 45),
        ('{ endpoint = "unixgram:a", protocol = "operator" }', 49),
    ],
)
def test_a_protocol_is_not_served_over_what_its_plugin_refuses(
    tmp_path: Path, listener: str, column: int
) -> None:
    file = tmp_path / "sockd.toml"
    file.write_text(f'[service.desk]\nplugin = "desk"\nlisten = [{listener}]\n')
    with pytest.raises(ConfigError) as caught:
        load(file, discovery.find)
    (fault,) = caught.value.faults
    assert "expected a tcp or unix endpoint, found u" in fault.message
    assert (fault.line, fault.column) == (3, column)


class Careless(Plugin):
    """Fails when it is asked."""

    def stream_factory(self) -> None: ...

    def datagram_protocol(self) -> None: ...

    def refuses(self, protocol: str, *, stream: bool) -> str | None:
        raise LookupError(f"{protocol} {stream}")


def test_a_plugin_that_fails_when_it_is_asked_is_told(tmp_path: Path) -> None:
    file = tmp_path / "sockd.toml"
    file.write_text('[service.a]\nplugin = "careless"\nlisten = ["udp:80"]\n')
    with pytest.raises(ConfigError) as caught:
        load(file, lambda _: Careless)
    (fault,) = caught.value.faults
    assert "the plugin failed in refuses: LookupError: default False" in fault.message
