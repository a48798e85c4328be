"""Endpoint description strings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sockd.endpoint import (
    MAX_UNIX_PATH,
    Endpoint,
    InetEndpoint,
    SystemdEndpoint,
    UnixEndpoint,
    parse,
    resolve,
)
from sockd.errors import ValueFault


def fault_of(text: str) -> ValueFault:
    with pytest.raises(ValueFault) as caught:
        parse(text)
    return caught.value


def marked(text: str) -> str:
    fault = fault_of(text)
    return text[fault.offset : fault.offset + fault.length if fault.length else len(text)]


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp:7007", InetEndpoint("tcp", 7007)),
        ("tcp:0", InetEndpoint("tcp", 0)),
        ("tcp:port=7007", InetEndpoint("tcp", 7007)),
        ("tcp:7007:interface=127.0.0.1:backlog=5", InetEndpoint("tcp", 7007, "127.0.0.1", 5)),
        ("tcp:7007:interface=[::1]", InetEndpoint("tcp", 7007, "::1")),
        (r"tcp:7007:interface=\:\:1", InetEndpoint("tcp", 7007, "::1")),
        ("tcp6:7007:interface=[0:0::1]", InetEndpoint("tcp6", 7007, "::1")),
        ("udp:53", InetEndpoint("udp", 53)),
        ("udp6:53", InetEndpoint("udp6", 53)),
        ("unix:run/echo.sock", UnixEndpoint("unix", Path("run/echo.sock"))),
        ("unix:/a b:mode=660:backlog=1", UnixEndpoint("unix", Path("/a b"), 0o660, 1)),
        (r"unix:a\:b\\c\=d", UnixEndpoint("unix", Path(r"a:b\c=d"))),
        ("unix:path=a=b", UnixEndpoint("unix", Path("a=b"))),
        ("unixgram:run/log:mode=0622", UnixEndpoint("unixgram", Path("run/log"), 0o622)),
        ("systemd:echo", SystemdEndpoint("echo")),
        ("systemd:name=echo.socket:type=stream", SystemdEndpoint("echo.socket")),
        (r"systemd:a\=b:type=datagram:index=1", SystemdEndpoint("a=b", "datagram", 1)),
    ],
)
def test_a_description_is_read_as_a_value(text: str, endpoint: Endpoint) -> None:
    assert parse(text) == endpoint


@pytest.mark.parametrize(
    ("text", "part", "expected"),
    [
        ("tcp", "", "a port from 0 to 65535"),
        ("tcp:", "", "a port from 0 to 65535"),
        ("tcp:65536", "65536", "a port from 0 to 65535"),
        ("tcp:-1", "-1", "a port from 0 to 65535"),
        ("tcp:1_0", "1_0", "a port from 0 to 65535"),
        ("tcp:\u0663", "\u0663", "a port from 0 to 65535"),
        ("tcp:" + "9" * 5000, "9" * 5000, "a port from 0 to 65535"),
        ("tcp:80:mode=1", "mode", "one of interface=, backlog="),
        ("udp:80:backlog=1", "backlog", "one of interface="),
        ("tcp:80:port=81", "port", "port= once"),
        ("tcp:80:backlog=0", "0", "a backlog from 1 to 65535"),
        ("tcp:80:interface=example.org", "example.org", "an IPv4 or IPv6 address"),
        ("tcp:80:interface=[::g]", "::g", "an IPv4 or IPv6 address"),
        ("tcp6:80:interface=127.0.0.1", "127.0.0.1", "an IPv6 address"),
        ("tcp:80:interface=[::1", "[::1", "an IPv4 or IPv6 address"),
        ("tcp:80:interface=::1", ":", "an IPv6 address in brackets: interface=[::1]"),
        ("tcp:80:interface=2001:db8::1", ":", "an IPv6 address in brackets: interface=[::1]"),
        ("tcp:80\\", "\\", "a character after the backslash"),
        ("unix:", "", "a path"),
        ("unix:a\0b", "a\0b", "a path"),
        ("unix:a=b", "a=b", "unix:PATH"),
        ("unix:a:mode=999", "999", "permissions in octal, such as 600"),
        ("unix:a:mode=1000", "1000", "permissions in octal, such as 600"),
        ("systemd", "", "the name of a socket of systemd"),
        (r"systemd:a\:b", r"a\:b", "the name of a socket of systemd"),
        ("systemd:\u00e9", "\u00e9", "the name of a socket of systemd"),
        ("systemd:" + "a" * 256, "a" * 256, "the name of a socket of systemd"),
        ("systemd:domain=INET:index=0", "domain=INET:index=0", "systemd:NAME"),
        ("systemd:a:type=dgram", "dgram", "stream or datagram"),
        ("systemd:a:index=-1", "-1", "a number from 0"),
        ("echo.sock", "echo.sock", "an endpoint such as tcp:7007, udp:7007 or unix:run/echo.sock"),
        ("", "", "an endpoint such as tcp:7007, udp:7007 or unix:run/echo.sock"),
    ],
)
def test_a_fault_says_what_was_expected_where(text: str, part: str, expected: str) -> None:
    assert (marked(text), fault_of(text).expected) == (part, expected)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("tpc:80", "tcp"),
        ("tcp:80:interfaces=127.0.0.1", "interface"),
        ("tcp:80:interface=localhost", "127.0.0.1"),
        ("tcp6:80:interface=localhost", "::1"),
        ("systemd:a:type=datagrams", "datagram"),
        ("7007", "tcp:7007"),
    ],
)
def test_a_fault_names_what_was_probably_meant(text: str, nearest: str | None) -> None:
    assert fault_of(text).nearest == nearest


def test_a_path_that_does_not_fit_a_socket_address_is_a_fault() -> None:
    longest = "unix:" + "a" * MAX_UNIX_PATH
    assert parse(longest)
    assert fault_of(longest + "a").expected == "a path of at most 107 bytes"
    assert fault_of("unix:" + "\u00e9" * 54).offset == len("unix:")


def test_a_relative_path_counts_from_the_folder() -> None:
    endpoint = UnixEndpoint("unix", Path("run/echo.sock"), 0o660, 5)
    assert resolve(endpoint, Path("/srv")) == UnixEndpoint("unix", Path("/srv/run/echo.sock"), 0o660, 5)
    assert resolve(parse("unix:/run/a"), Path("/srv")) == parse("unix:/run/a")
    assert resolve(parse("tcp:80"), Path("/srv")) == parse("tcp:80")
    assert resolve(parse("systemd:a"), Path("/srv")) == parse("systemd:a")


def test_a_path_that_its_folder_makes_too_long_is_a_fault() -> None:
    with pytest.raises(ValueFault, match="at most 107 bytes, found 113: /aaa"):
        resolve(parse("unix:echo.sock"), Path("/" + "a" * 102))


@pytest.mark.parametrize(
    ("text", "stream", "ipv6"),
    [
        ("tcp:80", True, False),
        ("tcp6:80", True, True),
        ("tcp:80:interface=[::1]", True, True),
        ("udp:80:interface=127.0.0.1", False, False),
        ("udp6:80", False, True),
    ],
)
def test_a_port_knows_its_kind_and_family(text: str, stream: bool, ipv6: bool) -> None:
    endpoint = parse(text)
    assert isinstance(endpoint, InetEndpoint)
    assert (endpoint.stream, endpoint.ipv6) == (stream, ipv6)


def test_unix_sockets_are_streams_or_datagrams() -> None:
    assert parse("unix:a").stream
    assert not parse("unixgram:a").stream


def test_an_inherited_socket_takes_connections_unless_it_says_datagrams() -> None:
    assert parse("systemd:a").stream
    assert not parse("systemd:a:type=datagram").stream


inherited = st.builds(
    SystemdEndpoint,
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters=":"), min_size=1),
    st.sampled_from(["stream", "datagram"]),
    st.none() | st.integers(0, 9),
)
inet = st.builds(
    InetEndpoint,
    st.sampled_from(["tcp", "tcp6", "udp", "udp6"]),
    st.integers(0, 65535),
    st.just("") | st.ip_addresses(v=6).map(str),
)
unix = st.builds(
    UnixEndpoint,
    st.sampled_from(["unix", "unixgram"]),
    st.text(min_size=1, max_size=30)
    .filter(lambda text: "\0" not in text and str(Path(text)) == text)
    .map(Path),
)


@given(inet | unix | inherited)
@example(UnixEndpoint("unix", Path(r"[a:b\=]")))
def test_an_endpoint_is_shown_as_what_reads_as_itself(endpoint: Endpoint) -> None:
    assert parse(str(endpoint)) == endpoint


pieces = st.sampled_from(
    [
        "tcp",
        "udp6",
        "unix",
        "gram",
        "systemd",
        ":",
        "=",
        "[",
        "]",
        "\\",
        "80",
        "interface",
        "mode",
        "::1",
        "/",
    ]
)


@given(st.lists(pieces, max_size=12).map("".join) | st.text())
def test_any_text_is_an_endpoint_or_a_fault_within_it(text: str) -> None:
    start = end = 0
    try:
        parse(text)
    except ValueFault as fault:
        start, end = fault.offset, fault.offset + fault.length
    assert 0 <= start <= end <= len(text)
