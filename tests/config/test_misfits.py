"""Listeners that ask for what their endpoint or their plugin does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

import pytest

from sockd import discovery
from sockd.config import Config, load
from sockd.config.misfits import transports
from sockd.endpoint import Transport
from sockd.errors import ConfigError, Fault
from sockd.plugin import Plugin

Load = Callable[[str], Config]
Faulty = Callable[[str], tuple[Fault, ...]]


def two(first: str, second: str) -> str:
    """Write two services with one listener each, as TOML values."""
    return "".join(
        f'[service.{name}]\nplugin = "chat"\nlisten = [{listener}]\n'
        for name, listener in (("a", first), ("b", second))
    )


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


class Halves(Plugin):
    """Has a protocol for each transport alone, and one for both."""

    protocols: ClassVar[Mapping[str, tuple[Transport, ...]]] = {
        "lines": ("stream",),
        "packets": ("datagram",),
        "both": ("stream", "datagram"),
    }

    def stream_factory(self) -> None: ...

    def datagram_protocol(self) -> None: ...


def faults_of(tmp_path: Path, plugin: type[Plugin], listener: str) -> tuple[Fault, ...]:
    file = tmp_path / "sockd.toml"
    file.write_text(f'[service.a]\nplugin = "a"\nlisten = [{listener}]\n')
    try:
        load(file, lambda _: plugin)
    except ConfigError as error:
        return error.faults
    return ()


@pytest.mark.parametrize(
    ("endpoint", "protocol"),
    [("tcp:1", "lines"), ("udp:1", "packets"), ("unix:a", "both"), ("unixgram:a", "both")],
)
def test_a_protocol_is_served_over_the_transports_that_it_declares(
    tmp_path: Path, endpoint: str, protocol: str
) -> None:
    listener = f'{{ endpoint = "{endpoint}", protocol = "{protocol}" }}'
    assert not faults_of(tmp_path, Halves, listener)


@pytest.mark.parametrize(
    ("listener", "column", "message"),
    [
        (
            '{ endpoint = "udp:80", protocol = "lines" }',
            45,
            "listen[0].protocol: 'lines' goes only over connections, but udp:80 takes datagrams;"
            " over these go: packets, both",
        ),
        (
            '{ endpoint = "systemd:s", protocol = "packets" }',
            48,
            "listen[0].protocol: 'packets' goes only over datagrams, but systemd:s takes connections;"
            " over these go: lines, both",
        ),
        (
            '"udp:80"',
            11,
            "listen[0]: 'lines' goes only over connections, but udp:80 takes datagrams;"
            " over these go: packets, both",
        ),
    ],
)
def test_a_protocol_is_refused_over_a_transport_that_it_does_not_declare(
    tmp_path: Path, listener: str, column: int, message: str
) -> None:
    [fault] = faults_of(tmp_path, Halves, listener)
    assert (fault.message, fault.line, fault.column) == (f"service 'a': {message}", 3, column)


def test_plain_names_go_over_each_transport_that_the_class_has_a_method_for() -> None:
    class Plain(Plugin):
        protocols: ClassVar[tuple[str, ...]] = ("a", "b")

        def stream_factory(self) -> None: ...

    assert transports(Plain) == {"a": ("stream",), "b": ("stream",)}
    assert transports(discovery.find("echo")) == {"default": ("stream", "datagram")}


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


# What is shipped: a service of each protocol of each plugin over each kind of endpoint.

ENDPOINTS = {"tcp": "tcp:80", "udp": "udp:80", "unix": "unix:a", "unixgram": "unixgram:a"}

REFUSED = {
    *(("chat", name, kind) for name in ("irc", "web") for kind in ("udp", "unixgram")),
    ("desk", "operator", "udp"),
    ("desk", "operator", "unixgram"),
    *(("files", name, kind) for name in ("upload", "raw", "http", "sftp") for kind in ("udp", "unixgram")),
    *(("files", "tftp", kind) for kind in ("tcp", "unix")),
}
"""Plugin, protocol and kind of endpoint of what does not go together; all else does."""

SHIPPED = [
    (entry.name, protocol, kind)
    for entry in entry_points(group="sockd.plugins")
    if entry.value.startswith("sockd_plugins") and entry.name != "factory"  # whose options decide
    for protocol in discovery.find(entry.name).protocols
    for kind in ENDPOINTS
]


@pytest.mark.parametrize(("plugin", "protocol", "kind"), SHIPPED)
def test_a_shipped_plugin_refuses_a_protocol_over_another_transport_in_one_fault(
    tmp_path: Path, plugin: str, protocol: str, kind: str
) -> None:
    file = tmp_path / "sockd.toml"
    options = {"files": 'options.directory = "in"', "banner": 'options.text = "hello"'}.get(plugin, "")
    file.write_text(
        f'[service.a]\nplugin = "{plugin}"\n{options}\n'
        f'listen = [{{ endpoint = "{ENDPOINTS[kind]}", protocol = "{protocol}" }}]\n'
    )
    if (plugin, protocol, kind) not in REFUSED:
        assert load(file, discovery.find)
        return
    with pytest.raises(ConfigError) as caught:
        load(file, discovery.find)
    [fault] = caught.value.faults
    what = "datagrams" if kind.startswith(("udp", "unixgram")) else "connections"
    assert (fault.line, f"takes {what}" in fault.message) == (4, True)
