from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockd.cli.address import Address, parse
from sockd.errors import ValueFault


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp:7007", Address("tcp", "127.0.0.1", 7007)),
        ("tcp6:7007", Address("tcp", "::1", 7007)),
        ("tcp:7007:interface=127.0.0.2", Address("tcp", "127.0.0.2", 7007)),
        ("tcp:example.org:7007", Address("tcp", "example.org", 7007)),
        ("example.org:7007", Address("tcp", "example.org", 7007)),
        ("[::1]:7007", Address("tcp", "::1", 7007)),
        ("tcp:[fe80::1%eth0]:7007", Address("tcp", "fe80::1%eth0", 7007)),
        ("udp:7013", Address("udp", "127.0.0.1", 7013)),
        ("udp:10.0.0.1:7013", Address("udp", "10.0.0.1", 7013)),
        ("unix:run/echo.sock", Address("unix", path="run/echo.sock")),
        ("unix:/run/echo.sock:mode=600", Address("unix", path="/run/echo.sock")),
        ("unixgram:/run/d.sock", Address("unixgram", path="/run/d.sock")),
    ],
)
def test_an_address_is_what_a_person_would_type_or_paste_from_the_configuration(
    text: str, address: Address
) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    "text", ["", "7007", "example.org", "tcp:", "tcp:example.org:99999", "http://a:1/", "a b:1"]
)
def test_an_invalid_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueFault, match="an address such as tcp:7007"):
        parse(text)


@given(st.text())
def test_no_text_makes_it_fail_in_another_way(text: str) -> None:
    with suppress(ValueFault):
        parse(text)


@pytest.mark.parametrize("text", ["tcp:example.org:7007", "udp:[::1]:7", "unix:/run/echo.sock"])
def test_an_address_is_shown_as_it_can_be_typed_again(text: str) -> None:
    assert str(parse(text)) == text
