from __future__ import annotations

from pathlib import Path

import pytest

from sockd.endpoint import parse
from sockd.plugin import Listening
from sockd_plugins.files.access import ways
from sockd_plugins.files.access.ways import list_ways

TOKEN = "t0ken"


@pytest.fixture(autouse=True)
def address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "_own_address", lambda *, ipv6: "myhost" if ipv6 else "192.0.2.7")


def listed(*listeners: tuple[str, str], encrypted: bool = False, url: str = "") -> dict[str, str]:
    found = [Listening(parse(endpoint), protocol, encrypted) for endpoint, protocol in listeners]
    return {way.name: way.text for way in list_ways(TOKEN, found, url)}


def test_each_protocol_has_a_line_with_the_token() -> None:
    found = listed(
        ("tcp:8080", "http"),
        ("tcp:7021", "upload"),
        ("tcp:2222", "sftp"),
        ("udp:69", "tftp"),
        ("tcp:7022", "raw"),
    )
    assert found == {
        "link": "http://192.0.2.7:8080/t/t0ken/",
        "curl": "curl --fail-with-body -T FILE http://192.0.2.7:8080/t/t0ken/",
        "sockd": "sockd send --token t0ken FILE tcp:192.0.2.7:7021",
        "sftp": "sftp -P 2222 t0ken@192.0.2.7",
        "scp": "scp -P 2222 FILE t0ken@192.0.2.7:",
        "tftp": "curl -T FILE tftp://192.0.2.7:69/t/t0ken/",
        "device": "the file t/t0ken/NAME at 192.0.2.7, port 69",
    }


def test_encryption_is_in_the_link() -> None:
    found = listed(("tcp:443", "http"), ("tcp:7021", "upload"), encrypted=True)
    assert found["link"] == "https://192.0.2.7/t/t0ken/"
    assert found["sockd"] == "sockd send --token t0ken FILE tls:192.0.2.7:7021"


def test_a_listener_of_one_address_is_reached_there() -> None:
    assert listed(("tcp:80:interface=127.0.0.1", "http"))["link"] == "http://127.0.0.1/t/t0ken/"
    assert listed(("tcp:80:interface=0.0.0.0", "http"))["link"] == "http://192.0.2.7/t/t0ken/"
    assert (
        listed(("tcp6:8080:interface=[2001:db8::1]", "http"))["link"] == "http://[2001:db8::1]:8080/t/t0ken/"
    )
    assert listed(("tcp6:8080", "http"))["link"] == "http://myhost:8080/t/t0ken/"


def test_the_public_address_is_used_for_every_protocol() -> None:
    found = listed(("tcp:8080", "http"), ("tcp:2222", "sftp"), url="https://drop.example.org/in/")
    assert found["link"] == "https://drop.example.org/in/t/t0ken/"
    assert found["sftp"] == "sftp -P 2222 t0ken@drop.example.org"


def test_what_has_no_address_for_others_gives_no_way(tmp_path: Path) -> None:
    assert listed(("unix:/run/files.sock", "upload"), ("tcp:7022", "raw")) == {}


def test_a_public_address_is_that_of_a_listener_which_there_is() -> None:
    url = "https://drop.example.org"
    assert listed(("unix:/run/files.sock", "http"), url=url)["link"] == f"{url}/t/t0ken/"
    assert "link" not in listed(("tcp:7021", "upload"), url=url)
