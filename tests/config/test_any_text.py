"""Files of any content: each is a configuration, or its faults are told at their places."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sockd.config import render
from sockd.errors import Fault

Attempt = Callable[[bytes], tuple[Fault, ...]]
"""Loads a file of these bytes and gives its faults."""

VALID = """\
# A file with something of everything.
log = { format = "json", level = 'warn' }
[daemon]
state_dir = "state"
include = ["none/*.toml"]
drain_timeout = "1m30s"
[limits]
max_connections = 10_000
idle_timeout = "off" # never
max_unread_output = "64KiB"
max_amplification = 1.5
max_per_source = 20
connection_rate = "100/s"
over_limit_banner = "caf\u00e9"
allow = ["10.0.0.0/8", "::1, ${NETWORKS}", { file = ".networks" }]
deny = { file = ".networks" }
[service.echo]
plugin = "echo"
listen = ["tcp:${PORT}", "udp:7:interface=127.0.0.1", "unix:run/\\u0065cho.sock"]
[service."chat"]
plugin = 'chat'
limits = { max_connections = 5, reply_floor = 512 }
[[service.chat.listen]]
endpoint = "tcp6:7020:interface=[::1]:backlog=5"
protocol = "irc"
socket.keepalive = true
tls = { certificate = "c", client_ca = "a", alpn = ["irc"], more = [{ certificate = "d", key = "k" }] }
proxy_protocol = { trust = "192.0.2.0/24", mode = "allow" }
[[service.chat.listen]]
endpoint = \"""
tcp:\\
   7021\"""
[service.chat.options]
history = 5
verbose = "${YES}"
words = [
  "\u6f22\u5b57", # two
  'b',
]
names = { a = "x", "b c" = "$${y}" }
topic = { title = "t" }
\trooms = [{ title = "r", size = 2 }]
folder = { file = "sockd.toml" }
"""
assert VALID.count('"""') == 2

PIECES = [
    *[
        "\n",
        "\r\n",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "#",
        '"',
        "'",
        '"""',
        "'''",
        "\\",
        "\0",
        "\t",
        "\ufeff",
    ],
    *[
        "${",
        "${NONE}",
        "${BYTES}",
        "$${",
        "{ file = '/' }",
        "[service]",
        "[[service.echo]]",
        "[daemon]",
        "[x.y]",
    ],
    *[
        "5",
        "-1",
        "0x" + "f" * 20,
        "9" * 40,
        "nan",
        "inf",
        "true",
        "1979-05-27",
        "07:32:00",
        '"yes"',
        "'tcp:7'",
        "''",
    ],
    *[
        "service.z = 5\n",
        "listen = []\n",
        "options.x = 1\n",
        "include = ['*', 'x\\u0000', '/\\u0000/*']\n",
        "crash = 1\n",
    ],
    *["\x1b[2J", "\u202e", "\u2028", "\x85", "\u6f22", "\U0001f600"],
]

places = st.integers(0, len(VALID))
changes = st.lists(
    st.tuples(places, st.integers(0, 30), st.sampled_from([*PIECES, ""]) | st.text(max_size=5)), max_size=4
)


def changed(edits: list[tuple[int, int, str]]) -> str:
    text = VALID
    for start, length, piece in edits:
        text = text[:start] + piece + text[start + length :]
    return text


def check(content: bytes, faults: tuple[Fault, ...]) -> None:
    text = content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    for fault in faults:
        assert fault.message.isprintable()
        assert "cannot check its options" not in fault.message or b"crash" in content
        assert render(fault).replace("\n", "").isprintable()
        if fault.line:
            assert fault.source == text.split("\n")[fault.line - 1]
            assert 1 <= fault.column <= len(fault.source) + 1
            assert fault.length == 1 or fault.column + fault.length <= len(fault.source) + 1
    assert list(faults) == sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column))


def test_the_text_that_is_changed_below_is_valid(attempt: Attempt) -> None:
    assert attempt(VALID.encode()) == ()


@given(changes.map(changed))
@example(VALID.replace('"json"', "5"))
@settings(max_examples=300)
def test_a_changed_configuration_never_fails_otherwise(attempt: Attempt, text: str) -> None:
    content = text.encode(errors="replace")
    check(content, attempt(content))


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.lists(st.sampled_from(PIECES)).map(lambda p: "".join(p).encode())
)
def test_any_bytes_are_a_configuration_or_faults(attempt: Attempt, content: bytes) -> None:
    check(content, attempt(content))


@given(st.lists(st.sampled_from(VALID.splitlines(keepends=True)), max_size=60).map("".join))
def test_lines_in_any_order_are_a_configuration_or_faults(attempt: Attempt, text: str) -> None:
    check(text.encode(), attempt(text.encode()))
