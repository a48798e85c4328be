"""Sockets that systemd opens, as they are written in a configuration."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sockd.config import Config

Load = Callable[[str], Config]
Messages = Callable[[str], list[str]]


def listen(value: str) -> str:
    return f'[service.e]\nplugin = "echo"\nlisten = [{value}]'


def test_a_name_stands_where_an_endpoint_does(config: Load) -> None:
    loaded = config(listen('"systemd:a", "tcp:1"'))
    assert str(loaded.services["e"].listen[0].endpoint) == "systemd:a"


def test_socket_options_are_those_of_the_socket_unit(messages: Messages) -> None:
    said = messages(listen('{ endpoint = "systemd:a", socket = { backlog = 5, no_delay = false } }'))
    assert [text.partition(": only ")[2] for text in said] == [
        "an endpoint that sockd opens itself has this option, found systemd:a"
    ] * 2


def test_options_that_are_not_for_the_kernel_can_be_given(config: Load) -> None:
    [listener] = config(listen('{ endpoint = "systemd:a", socket.stock = true }')).services["e"].listen
    assert listener.socket.stock


def test_proxies_are_named_because_it_may_be_a_tcp_port(messages: Messages) -> None:
    [said] = messages(listen('{ endpoint = "systemd:a", proxy_protocol = {} }'))
    assert "expected the networks of the proxies" in said


@pytest.mark.parametrize("key", ["tls.certificate = 'c'", "proxy_protocol.trust = ['::1']"])
def test_datagrams_have_no_stream_around_them(messages: Messages, key: str) -> None:
    [said] = messages(listen(f'{{ endpoint = "systemd:a:type=datagram", {key} }}'))
    assert "only a stream endpoint has this" in said
