"""Listeners that cannot be opened as they are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sockd.config import Config
from sockd.errors import Fault

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


def test_a_service_cannot_use_a_port_twice(faults: Faulty) -> None:
    [fault] = faults('service.a = { plugin = "echo", listen = ["tcp:80", "tcp:80"] }')
    assert "service 'a': listen[1]: tcp:80 is taken by service 'a' listen[0]" in fault.message
