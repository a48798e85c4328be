"""Layers between a port and its plugin: TLS and the PROXY protocol."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from sockd.config import Config, Listener, Tls
from sockd.errors import Fault

Load = Callable[[str], Config]
Faulty = Callable[[str], tuple[Fault, ...]]


def listen(table: str, endpoint: str = "tcp:1") -> str:
    """A service with one listener that has this in its table."""
    return f'[service.e]\nplugin = "echo"\nlisten = [{{ endpoint = "{endpoint}", {table} }}]'


@pytest.fixture
def listener(config: Load) -> Callable[[str], Listener]:
    return lambda table: config(listen(table)).services["e"].listen[0]


def test_a_port_is_plain_until_something_is_said(config: Load) -> None:
    [plain] = config('[service.e]\nplugin = "echo"\nlisten = ["tcp:1"]').services["e"].listen
    assert (plain.tls, plain.proxy_protocol) == (None, None)


def test_a_certificate_is_enough(listener: Callable[[str], Listener], tmp_path: Path) -> None:
    tls = listener('tls = { certificate = "tls/c.pem" }').tls
    assert tls == Tls(certificate=tmp_path / "tls/c.pem")
    assert (tls.key, tls.client_ca, tls.client_certificate, tls.alpn, tls.min_version) == (
        None,
        None,
        None,
        (),
        "1.2",
    )


def test_every_file_of_tls_counts_from_the_folder_and_is_known_by_its_key(
    listener: Callable[[str], Listener], tmp_path: Path
) -> None:
    tls = listener(
        'tls = { certificate = "c", key = "/k", client_ca = "a", '
        'more = [{ certificate = "d" }, { certificate = "e", key = "f" }] }'
    ).tls
    assert tls is not None
    assert dict(tls.files()) == {
        ("certificate",): tmp_path / "c",
        ("key",): Path("/k"),
        ("client_ca",): tmp_path / "a",
        ("more", 0, "certificate"): tmp_path / "d",
        ("more", 1, "certificate"): tmp_path / "e",
        ("more", 1, "key"): tmp_path / "f",
    }


@pytest.mark.parametrize(
    ("written", "asked"), [("", "required"), ('client_certificate = "optional", ', "optional")]
)
def test_clients_must_have_a_certificate_where_somebody_is_trusted(
    listener: Callable[[str], Listener], written: str, asked: str
) -> None:
    tls = listener(f'tls = {{ certificate = "c", {written}client_ca = "a" }}').tls
    assert tls is not None
    assert tls.client_certificate == asked


def test_a_proxy_is_believed_from_its_networks(listener: Callable[[str], Listener]) -> None:
    proxy = listener('proxy_protocol = { trust = ["10.0.0.0/8", "::1"] }').proxy_protocol
    assert proxy is not None
    assert (list(proxy.trust), proxy.mode) == ([ip_network("10.0.0.0/8"), ip_network("::1")], "require")


def test_a_unix_socket_needs_no_trust(config: Load) -> None:
    text = listen('proxy_protocol = { mode = "allow" }, tls.certificate = "c"', "unix:a")
    [behind] = config(text).services["e"].listen
    assert behind.proxy_protocol is not None
    assert behind.proxy_protocol.mode == "allow"
    assert behind.tls is not None


@pytest.mark.parametrize(
    ("table", "message", "part"),
    [
        ("tls = {}", "missing key 'certificate' in listen[0].tls", "{}"),
        ("tls = true", "listen[0].tls: expected a table, found true", "true"),
        (
            'tls = { certificate = "" }',
            "listen[0].tls.certificate: expected a path, found ''",
            '""',
        ),
        (
            'tls = { certificate = "c", client_certificate = "optional" }',
            "listen[0].tls.client_certificate: needs client_ca, "
            "the authorities whose certificates are trusted",
            '"optional"',
        ),
        (
            'tls = { certificate = "c", client_ca = 5, client_certificate = "optional" }',
            "listen[0].tls.client_ca: expected a path, found 5",
            "5",
        ),
        (
            'tls = { certificate = "c", client_ca = "a", client_certificate = "require" }',
            "listen[0].tls.client_certificate: expected 'required' or 'optional', found 'require'",
            '"require"',
        ),
        (
            'tls = { certificate = "c", min_version = "1.1" }',
            "listen[0].tls.min_version: expected '1.2' or '1.3', found '1.1'",
            '"1.1"',
        ),
        (
            'tls = { certificate = "c", alpn = ["irc", ""] }',
            "listen[0].tls.alpn[1]: expected the name of a protocol of 1 to 255 bytes, found ''",
            '""',
        ),
        (
            'tls = { certificate = "c", ciphers = "" }',
            "listen[0].tls.ciphers: expected 1 or more characters, found 0",
            '""',
        ),
        (
            'tls = { certificate = "c", more = [{ key = "k" }] }',
            "missing key 'certificate' in listen[0].tls.more[0]",
            '{ key = "k" }',
        ),
        (
            'proxy_protocol = { trust = ["10.0.0.1/8"] }',
            "listen[0].proxy_protocol.trust[0]: expected a network that has no bits below its prefix, "
            "found '10.0.0.1/8'",
            "10.0.0.1/8",
        ),
        (
            'proxy_protocol = { trust = "::1", mode = "requires" }',
            "listen[0].proxy_protocol.mode: expected 'require' or 'allow', found 'requires'",
            '"requires"',
        ),
        ("proxy_protocol = true", "listen[0].proxy_protocol: expected a table, found true", "true"),
    ],
)
def test_a_fault_is_told_at_its_place(faults: Faulty, table: str, message: str, part: str) -> None:
    [fault] = faults(listen(table))
    assert fault.message == f"service 'e': {message}"
    assert fault.source[fault.column - 1 :][: fault.length] == part


@pytest.mark.parametrize(
    ("table", "part"), [("proxy_protocol = {}", "proxy_protocol"), ("proxy_protocol.trust = []", "trust")]
)
def test_a_proxy_on_a_network_is_believed_only_by_name(faults: Faulty, table: str, part: str) -> None:
    [fault] = faults(listen(table))
    assert fault.message == (
        "service 'e': listen[0].proxy_protocol.trust: expected the networks of the proxies, "
        "found none: anybody could pretend to be somebody else"
    )
    assert fault.source[fault.column - 1 :][: fault.length] == part


@pytest.mark.parametrize("endpoint", ["udp:1", "unixgram:a"])
@pytest.mark.parametrize(
    ("key", "table"), [("tls", '{ certificate = "c" }'), ("proxy_protocol", '{ trust = "::1" }')]
)
def test_only_streams_have_them(faults: Faulty, endpoint: str, key: str, table: str) -> None:
    [fault] = faults(listen(f"{key} = {table}", endpoint))
    assert fault.message.startswith(f"service 'e': listen[0].{key}: only a stream endpoint has this, found ")
    assert fault.source[fault.column - 1 :][: fault.length] == key


def test_the_nearest_word_is_told(faults: Faulty) -> None:
    found = faults(listen('tls = { certificat = "c" }, proxy_protcol = {}'))
    assert {fault.nearest for fault in found} == {"certificate", "proxy_protocol", None}
