from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sockd_plugins.files.http import page
from sockd_plugins.files.http.site import Options
from sockd_plugins.files.storage.store import Limits
from tests.plugins.files.http.client import Service

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


def test_a_browser_gets_the_page_and_a_program_does_not(service: Service) -> None:
    reply = service.connect().asks("GET", "/", accept=BROWSER).reads_one()
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert service.connect().asks("GET", "/", accept="*/*").reads_one().status == 403


@pytest.mark.parametrize("name", ["page.css", "page.js", "page.svg"])
def test_each_part_of_the_page_is_sent(service: Service, name: str) -> None:
    reply = service.connect().asks("GET", f"/-/{name}").reads_one()
    assert reply.body == (Path(page.__file__).parent / "page" / name).read_bytes()


def test_all_addresses_of_the_page_are_relative() -> None:
    text = (Path(page.__file__).parent / "page" / "page.html").read_text()
    addresses = re.findall(r'(?:href|src|action)="([^"]*)"', text)
    assert addresses
    assert all(address.startswith(("-/", "./")) for address in addresses)


def test_the_page_is_told_what_the_service_permits(tmp_path: Path) -> None:
    limits = Limits(5, folders=True)
    service = Service(tmp_path / "received", limits=limits, options=Options(serve=True))
    told = json.loads(service.connect().asks("GET", "/-/page.json").reads_one().body)
    assert told == {"folders": True, "max_size": 5, "serve": True}
    service.stop()


def test_the_address_of_a_token_gets_the_slash_that_relative_addresses_need(service: Service) -> None:
    token = "a" * 24
    reply = service.connect().asks("GET", f"/t/{token}", accept=BROWSER).reads_one()
    assert (reply.status, reply.headers["location"]) == (308, f"{token}/")
    assert service.connect().asks("GET", f"/t/{token}/", accept=BROWSER).reads_one().status == 200


def test_without_a_script_the_page_is_a_form(service: Service) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhello\r\n--x--\r\n'
    kind = "multipart/form-data; boundary=x"
    reply = service.connect().asks("POST", "/", body, content_type=kind, accept=BROWSER).reads_one()
    assert (reply.status, (service.folder / "a.txt").read_bytes()) == (201, b"hello")
