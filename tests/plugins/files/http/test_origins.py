from __future__ import annotations

from pathlib import Path

import pytest

from sockd_plugins.files.http.site import Options
from tests.plugins.files.http.client import Service

PAGE = "https://page.example"


@pytest.fixture
def open_to_page(tmp_path: Path) -> Service:
    return Service(tmp_path / "received", options=Options(origins=(PAGE,)))


@pytest.mark.parametrize("origin", [PAGE, "null", "http://files.example", "http://files:81"])
def test_a_page_of_another_origin_cannot_send(service: Service, origin: str) -> None:
    reply = service.connect().asks("POST", "/a", b"1", origin=origin).reads_one()
    assert reply.status == 403
    assert "access-control-allow-origin" not in reply.headers
    assert not (service.folder / "a").exists()


def test_a_page_without_an_address_is_not_the_own_one_of_a_service_without_a_name(service: Service) -> None:
    reply = service.connect().asks("POST", "/a", b"1", origin="null", host="").reads_one()
    assert reply.status == 403


def test_the_own_page_sends(service: Service) -> None:
    assert service.connect().asks("POST", "/a", b"1", origin="http://files").reads_one().status == 201


def test_a_permitted_page_sends_and_reads_the_answer(open_to_page: Service) -> None:
    reply = open_to_page.connect().asks("PUT", "/a", b"1", origin=PAGE).reads_one()
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (201, PAGE)
    assert "Location" in reply.headers["access-control-expose-headers"]
    assert reply.headers["vary"] == "Origin"
    open_to_page.stop()


def test_a_permitted_page_reads_refusals_too(open_to_page: Service) -> None:
    reply = open_to_page.connect().asks("PUT", "/.a", b"1", origin=PAGE).reads_one()
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (400, PAGE)
    open_to_page.stop()


def test_a_browser_that_asks_before_is_told_what_a_page_may(open_to_page: Service) -> None:
    asked = {"access_control_request_method": "PATCH", "access_control_request_headers": "tus-resumable,x-a"}
    reply = open_to_page.connect().asks("OPTIONS", "/-/uploads/1", None, origin=PAGE, **asked).reads_one()
    assert reply.status == 204
    assert "PATCH" in reply.headers["access-control-allow-methods"]
    assert reply.headers["access-control-allow-headers"] == "tus-resumable,x-a"
    reply = open_to_page.connect().asks("OPTIONS", "/", None, origin="http://other", **asked).reads_one()
    assert "access-control-allow-methods" not in reply.headers
    open_to_page.stop()


def test_a_star_permits_every_page(tmp_path: Path) -> None:
    service = Service(tmp_path / "received", options=Options(origins=("*",)))
    reply = service.connect().asks("PUT", "/a", b"1", origin="null").reads_one()
    assert reply.headers["access-control-allow-origin"] == "null"
    service.stop()
