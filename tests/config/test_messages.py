"""Messages of all faults, and their places."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import BaseModel

from sockd.errors import Fault

Faulty = Callable[[str], tuple[Fault, ...]]
Messages = Callable[[str], list[str]]

ECHO = '[service.e]\nplugin = "echo"\nlisten = ["tcp:1"]\n'
CHAT = '[service.c]\nplugin = "chat"\nlisten = ["tcp:2"]\n'


@pytest.mark.parametrize(
    ("text", "message", "part"),
    [
        ("[limits]\nmax_connections = 0", "limits.max_connections: expected at least 1, found 0", "0"),
        (
            "[limits]\nmax_connections = true",
            "limits.max_connections: expected a whole number, found true",
            "true",
        ),
        (
            "[limits]\nmax_connections = 2.5",
            "limits.max_connections: expected a whole number, found 2.5",
            "2.5",
        ),
        (
            "[limits]\nmax_connections = 2.0",
            "limits.max_connections: expected a whole number, found 2.0",
            "2.0",
        ),
        (
            '[limits]\nmax_connections = "5"',
            'limits.max_connections: expected a whole number, found a string "5"',
            '"5"',
        ),
        (
            "[limits]\nidle_timeout = 30",
            'limits.idle_timeout: expected a duration such as "30s", or "off", found 30',
            "30",
        ),
        (
            '[limits]\nidle_timeout = "0s"',
            "limits.idle_timeout: expected a duration above 0, or \"off\", found '0s'",
            '"0s"',
        ),
        (
            '[limits]\nclose_timeout = "1m30sec"',
            "limits.close_timeout: expected a number with a unit (d, h, m, s, ms), found '30sec'",
            "30sec",
        ),
        (
            '[limits]\nmax_unread_output = "64kib"',
            "limits.max_unread_output: expected a unit (B, KiB, MiB, GiB, KB, MB, GB), found '64kib'",
            '"64kib"',
        ),
        (
            "[limits]\nmax_unread_output = 1.5",
            'limits.max_unread_output: expected a size such as "64KiB", or a number of bytes, found 1.5',
            "1.5",
        ),
        ("[limits]\nmax_unread_output = 0", "limits.max_unread_output: expected at least 1, found 0", "0"),
        (
            "[limits]\nmax_amplification = inf",
            "limits.max_amplification: expected a finite number, found inf",
            "inf",
        ),
        (
            "[limits]\nmax_amplification = true",
            "limits.max_amplification: expected a number, found true",
            "true",
        ),
        (
            '[limits]\nmax_per_source = "many"',
            'limits.max_per_source: expected a whole number, or "off", found a string "many"',
            '"many"',
        ),
        (
            '[limits]\nmax_per_source = "5"',
            'limits.max_per_source: expected a whole number, or "off", found a string "5"',
            '"5"',
        ),
        (
            "[limits]\nmax_per_source = 0",
            'limits.max_per_source: expected a whole number above 0, or "off", found 0',
            "0",
        ),
        (
            "[limits]\nmax_per_source = true",
            'limits.max_per_source: expected a whole number, or "off", found true',
            "true",
        ),
        (
            "[limits]\nmax_per_source = 2000000000",
            "limits.max_per_source: expected a number from 1 to 1000000000, found 2000000000",
            "2000000000",
        ),
        (
            "[limits]\nbytes_per_second = 0",
            'limits.bytes_per_second: expected a size above 0, or "off", found 0',
            "0",
        ),
        (
            "[limits]\nconnection_rate = 100",
            'limits.connection_rate: expected a rate such as "100/s", or "off", found 100',
            "100",
        ),
        (
            '[limits]\ndatagram_rate = "100/sec"',
            "limits.datagram_rate: expected a unit (s, m, h), found 'sec'",
            "sec",
        ),
        ('[limits]\ntarpit_time = "0s"', "limits.tarpit_time: expected more than 0, found '0s'", '"0s"'),
        (
            "[limits]\nsource_prefix_ipv4 = 33",
            "limits.source_prefix_ipv4: expected at most 32, found 33",
            "33",
        ),
        (
            "[limits]\nsource_prefix_ipv6 = 0",
            "limits.source_prefix_ipv6: expected at least 1, found 0",
            "0",
        ),
        ("[limits]\nmax_handshakes = 0", "limits.max_handshakes: expected at least 1, found 0", "0"),
        (
            '[limits]\nover_limit = "taprit"',
            "limits.over_limit: expected 'refuse', 'queue', 'reset', 'banner' or 'tarpit', found 'taprit'",
            '"taprit"',
        ),
        (
            '[limits]\nover_limit_banner = "a\\tb"',
            "limits.over_limit_banner: expected one line of at most 200 bytes, found '\\t'",
            "\\t",
        ),
        (
            f'[limits]\nover_limit_banner = "{"é" * 101}"',
            "limits.over_limit_banner: expected one line of at most 200 bytes, found 202 bytes",
            f'"{"é" * 101}"',
        ),
        (
            '[limits]\nover_limit_banner = ""',
            "limits.over_limit_banner: expected one line of at most 200 bytes, found ''",
            '""',
        ),
        ("limits = 5", "limits: expected a table, found 5", "5"),
        ("[[limits]]", "limits: expected a table, found an array", "[[limits]]"),
        (
            '[log]\nlevel = "warning"',
            "log.level: expected 'debug', 'info', 'warn' or 'error', found 'warning'",
            '"warning"',
        ),
        (
            "[log]\nlevel = 2020-01-02",
            "log.level: expected 'debug', 'info', 'warn' or 'error', found the date or time 2020-01-02",
            "2020-01-02",
        ),
        ("[log]\nfile = ''", "log.file: expected a path, found ''", "''"),
        ("[log]\nfile = 5", "log.file: expected a path, found 5", "5"),
        ('[log]\nfile = "a\\u0000"', "log.file: expected a path, found 'a\\x00'", '"a\\u0000"'),
        ("[log]\nlevl = 5", "unknown key 'levl' in log", "levl"),
        ("[sevice.x]", "unknown key 'sevice'", "sevice"),
        ("service = 5", "service: expected tables such as [service.echo]", "service"),
        ("service.echo = 5", "service 'echo': expected a table, found 5", "5"),
        (
            "[daemon]\nmax_unread_output = 0",
            "daemon.max_unread_output: expected at least 1, found 0",
            "0",
        ),
        (
            '[daemon]\nwatchdog = "0ms"',
            "daemon.watchdog: expected a duration above 0, or \"off\", found '0ms'",
            '"0ms"',
        ),
        ("[daemon]\nworkers = -1", "daemon.workers: expected at least 0, found -1", "-1"),
        (
            "[daemon]\ninclude = 5",
            "daemon.include[0]: expected a string, found 5",
            "5",
        ),
        ("[daemon]\ninclude = ['*.t', 5]", "daemon.include[1]: expected a string, found 5", "5"),
        (
            '[service."x y"]\nplugin = "echo"\nlisten = ["tcp:1"]',
            "expected a service name of up to 64 letters, digits, '_', '-' or '.', "
            "the first of them no '-' or '.', found 'x y'",
            '"x y"',
        ),
        (
            '[service."..\\n"]\nplugin = "echo"\nlisten = ["tcp:1"]',
            "expected a service name of up to 64 letters, digits, '_', '-' or '.', "
            "the first of them no '-' or '.', found '..\\n'",
            '"..\\n"',
        ),
        ('[service.e]\nlisten = ["tcp:1"]', "service 'e': missing key 'plugin'", "[service.e]"),
        ('[service]\ne = { plugin = "echo" }', "service 'e': missing key 'listen'", '{ plugin = "echo" }'),
        (
            '[service.e]\nplugin = "echo"\nlisten = []',
            "service 'e': listen: expected 1 or more entries, found 0",
            "[]",
        ),
        (
            '[service.e]\nplugin = "echo"\nlisten = "tcp:70000"',
            "service 'e': listen[0]: expected a port from 0 to 65535, found '70000'",
            "70000",
        ),
        (
            '[service.e]\nplugin = "echo"\nlisten = 7007',
            "service 'e': listen[0]: expected an endpoint in quotes such as \"tcp:7007\", found 7007",
            "7007",
        ),
        (
            '[service.e]\nplugin = "echo"\nlisten = ["udp:1", "tcp:70000"]',
            "service 'e': listen[1]: expected a port from 0 to 65535, found '70000'",
            "70000",
        ),
        (
            '[service.e]\nplugin = "echo"\nlisten = [{ endpoint = "tpc:1" }]',
            "service 'e': listen[0].endpoint: expected an endpoint such as tcp:7007, udp:7007 "
            "or unix:run/echo.sock, found the kind 'tpc'",
            "tpc",
        ),
        (
            '[service.e]\nplugin = "echo"\nlisten = ["\\u0074cp:1\\u003ainterface=x"]',
            "service 'e': listen[0]: expected an IPv4 or IPv6 address, found 'x'",
            "x",
        ),
        (
            '[service.e]\nplugin = "echo"\nlisten = [7007]',
            "service 'e': listen[0]: expected an endpoint in quotes such as \"tcp:7007\", found 7007",
            "7007",
        ),
        (
            '[service.e]\nplugin = "echo"\nlisten = [{ protocol = "x" }]',
            "service 'e': missing key 'endpoint' in listen[0]",
            '{ protocol = "x" }',
        ),
        (
            '[service.e]\nplugin = "echo"\nlisten = [{ endpoint = "tcp:1", socket = { keepalive = "yes" } }]',
            "service 'e': listen[0].socket.keepalive: expected true or false, found a string \"yes\"",
            '"yes"',
        ),
        (
            '[service.e]\nplugin = "echo"\nlisten = [{ endpoint = "tcp:1", socket.user_timeout = "0s" }]',
            "service 'e': listen[0].socket.user_timeout: expected more than 0, found '0s'",
            '"0s"',
        ),
        (
            '[service.e]\nplugin = "nope"\nlisten = ["tcp:1"]\noptions.x = 1',
            "service 'e': no plugin 'nope'; known are: echo, chat, key",
            '"nope"',
        ),
        (ECHO + "options.volume = 5", "service 'e': unknown key 'volume' in options", "volume"),
    ],
)
def test_a_fault_in_the_tables_of_sockd(faults: Faulty, text: str, message: str, part: str) -> None:
    [fault] = faults(text)
    assert fault.message == message
    assert fault.source[fault.column - 1 :][: fault.length] == part


@pytest.mark.parametrize(
    ("option", "message", "part"),
    [
        ('verbose = "yes"', 'verbose: expected true or false, found a string "yes"', '"yes"'),
        ("verbose = 1", "verbose: expected true or false, found 1", "1"),
        ('history = "5"', 'history: expected a whole number, found a string "5"', '"5"'),
        ('history = "many"', 'history: expected a whole number, found a string "many"', '"many"'),
        ("history = 1001", "history: expected at most 1000, found 1001", "1001"),
        ("ratio = true", "ratio: expected a number, found true", "true"),
        (
            'greeting = "' + "x" * 60 + '"',
            "greeting: expected 20 or fewer characters, found 60",
            '"' + "x" * 60 + '"',
        ),
        ("greeting = 5", "greeting: expected a string, found 5", "5"),
        ("greeting = { a = 1 }", "greeting: expected a string, found a table", "{ a = 1 }"),
        ("greeting = 07:32:00", "greeting: expected a string, found the date or time 07:32:00", "07:32:00"),
        ('mode = "opne"', "mode: expected 'open' or 'closed', found 'opne'", '"opne"'),
        ('words = ["a",\n  5]', "words[1]: expected a string, found 5", "5"),
        ('words = "a"', 'words: expected an array, found a string "a"', '"a"'),
        ('names = { a = "x", b = 2 }', "names.b: expected a string, found 2", "2"),
        ("rooms = [{ size = 0 }]", "rooms[0].size: expected at least 1, found 0", "0"),
        ('rooms = [{ size = "5" }]', 'rooms[0].size: expected a whole number, found a string "5"', '"5"'),
        ("topic = 5", "topic: expected a string or a table, found 5", "5"),
        ("topic = { size = 0 }", "topic.size: expected at least 1, found 0", "0"),
        ('tag = "a b"', "tag: expected a word, found 'a b'", " "),
        ("tag = '''\na b'''", "tag: expected a word, found 'a b'", " "),
        ("even = 3", "even: odd numbers such as 3 are not allowed", "3"),
        ("folder = 5", "folder: expected a path, found 5", "5"),
        ('short = "long"', "short: three characters are enough", '"long"'),
        ("unlucky = 13", "unlucky: ValueError", "13"),
        ('color = "bleu"', "color: expected 'red' or 'blue', found 'bleu'", '"bleu"'),
        ('network = "10/8"', "network: expected a valid IPv4 network, found '10/8'", '"10/8"'),
    ],
)
def test_a_fault_in_the_options_of_a_plugin(faults: Faulty, option: str, message: str, part: str) -> None:
    [fault] = faults(f"{CHAT}[service.c.options]\n{option}")
    assert fault.message == f"service 'c': options.{message}"
    assert fault.source[fault.column - 1 :][: fault.length] == part


@pytest.mark.parametrize(
    ("option", "key", "table"),
    [
        ("histroy = 5", "histroy", "options"),
        ("rooms = [{ titel = 5 }]", "titel", "options.rooms[0]"),
        ("[service.c.options.topic]\ntitl = 5", "titl", "options.topic"),
    ],
)
def test_an_unknown_option_is_marked_with_the_options_there_are(
    faults: Faulty, option: str, key: str, table: str
) -> None:
    [fault] = faults(f"{CHAT}[service.c.options]\n{option}")
    assert fault.message == f"service 'c': unknown key '{key}' in {table}"
    assert fault.source[fault.column - 1 :][: fault.length] == key
    assert fault.nearest in ("history", "title")
    assert str(fault.nearest) in fault.expected


def test_an_alias_is_the_name_that_is_told(faults: Faulty) -> None:
    [fault] = faults(f"{CHAT}options.max-roms = 5")
    assert fault.nearest == "max-rooms"


def test_a_missing_option_is_marked_at_the_table(faults: Faulty) -> None:
    text = '[service.k]\nplugin = "key"\nlisten = ["tcp:1"]\n'
    [alone], [inside] = faults(text), faults(text + "[service.k.options]\nfile = 'x'")
    assert alone.message == inside.message == "service 'k': missing key 'secret' in options"
    assert (alone.line, inside.line) == (1, 4)


def test_a_plugin_that_cannot_check_its_options_is_a_fault(messages: Messages) -> None:
    assert messages(f"{CHAT}options.crash = 1") == [
        "service 'c': options: the plugin cannot check its options: ZeroDivisionError: "
        "integer division or modulo by zero"
    ]


def test_a_plugin_may_have_an_option_of_a_name_that_sockd_will_use(faults: Faulty) -> None:
    [fault] = faults(f"{CHAT}[service.c.options]\ncontrol = 5")
    assert fault.message == "service 'c': unknown key 'control' in options"


def test_a_service_may_be_called_like_a_table(messages: Messages) -> None:
    text = '[service.metrics]\nplugin = "echo"\nlisten = ["tcp:1"]\ncontrol = 5'
    assert messages(text) == ["service 'metrics': unknown key 'control'"]


def test_every_fault_is_told_in_one_run_in_the_order_of_the_lines(faults: Faulty) -> None:
    text = """
[log]
levl = "info"
level = "loud"
[daemon]
workers = -1
[limits]
idle_timeout = 5
[service.a]
plugin = "nope"
listen = ["tcp:99999", "udp:1"]
[service.b]
plugin = "chat"
listen = ["udp:1", { endpoint = "udp:2", protocol = "irk", socket = { no_delay = true } }]
limits = { max_connections = "5" }
options = { history = -1, verbose = "yes", histroy = 5 }
"""
    found = faults(text)
    assert [fault.line for fault in found] == [3, 4, 6, 8, 10, 11, 14, 14, 14, 15, 16, 16, 16]
    assert found == tuple(sorted(found, key=lambda fault: (fault.line, fault.column)))


def test_an_option_may_be_a_date(options: Callable[[str], BaseModel]) -> None:
    assert options("since = 2020-01-02").model_dump()["since"] == "2020-01-02"


def test_a_plugin_class_that_takes_anything_has_no_faults(options: Callable[[str], BaseModel]) -> None:
    assert options("names = { file = 'x', tls = 'y' }").model_dump()["names"] == {"file": "x", "tls": "y"}
