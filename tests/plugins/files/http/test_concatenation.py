import os
from pathlib import Path

import pytest

from sockd_plugins.files.storage.store import Limits
from tests.plugins.files.http.client import Service
from tests.plugins.files.http.tus_client import CHUNK, Tus, coded, parts, received

DATA = os.urandom(3000)


@pytest.fixture
def tus(service: Service) -> Tus:
    return Tus(service)


def part(tus: Tus, data: bytes) -> str:
    """Send a whole part; return its address, as tus-js-client gives it."""
    path = "/" + tus.creates(len(data), upload_concat="partial").headers["location"]
    assert tus.patches(path, 0, data, upload_concat="partial").status == 204
    return f"http://files{path}"


def joined(tus: Tus, *addresses: str, name: str = "a.bin") -> dict[str, str]:
    concat = f"final;{' '.join(addresses)}"
    reply = tus.asks("POST", "/", b"", upload_concat=concat, upload_metadata=coded(filename=name))
    return reply.headers | {"status": str(reply.status)}


def test_a_file_is_made_of_parts_in_the_order_of_their_addresses(tus: Tus, service: Service) -> None:
    second, first = part(tus, DATA[1000:]), part(tus, DATA[:1000])
    assert received(service) == {}
    reply = joined(tus, first, second)
    assert (reply["status"], reply["content-location"]) == ("201", "a.bin")
    assert received(service) == {"a.bin": DATA}
    assert parts(service) == []
    head = tus.heads("/" + reply["location"]).headers
    assert (head["upload-offset"], head["upload-length"]) == ("3000", "3000")
    assert head["upload-concat"] == f"final;{first} {second}"
    assert tus.patches("/" + reply["location"], 3000, b"").status == 403


def test_the_addresses_may_be_relative(tus: Tus, service: Service) -> None:
    addresses = [part(tus, data).removeprefix("http://files") for data in (DATA[:10], DATA[10:])]
    assert joined(tus, *addresses)["status"] == "201"
    assert received(service) == {"a.bin": DATA}


def test_a_client_that_has_lost_the_answer_gets_it_again(tus: Tus, service: Service) -> None:
    addresses = [part(tus, data) for data in (DATA[:10], DATA[10:])]
    first, second = joined(tus, *addresses), joined(tus, *addresses)
    assert second["status"] == "201"
    assert second["location"] == first["location"]
    assert received(service) == {"a.bin": DATA}
    head = tus.heads(addresses[0].removeprefix("http://files")).headers
    assert (head["upload-offset"], head["upload-length"], head["upload-concat"]) == ("10", "10", "partial")


def test_a_part_is_found_as_such(tus: Tus) -> None:
    path = "/" + tus.creates(10, upload_concat="partial").headers["location"]
    assert tus.heads(path).headers["upload-concat"] == "partial"
    tus.patches(path, 0, DATA[:10])
    assert tus.heads(path).headers["upload-offset"] == "10"


def test_a_part_that_is_not_whole_is_refused(tus: Tus, service: Service) -> None:
    whole = part(tus, DATA[:10])
    path = "/" + tus.creates(10, upload_concat="partial").headers["location"]
    tus.patches(path, 0, DATA[:5])
    assert joined(tus, whole, path)["status"] == "400"
    assert received(service) == {}
    tus.patches(path, 5, DATA[5:10])
    assert joined(tus, whole, path)["status"] == "201"


def test_what_is_no_part_is_refused(tus: Tus) -> None:
    ordinary = tus.upload(10)
    tus.patches(ordinary, 0, DATA[:5])
    assert joined(tus, ordinary)["status"] == "400"
    assert joined(tus, "/-/uploads/0123456789abcdef")["status"] == "404"
    assert joined(tus)["status"] == "400"
    assert joined(tus, *["/-/uploads/0123456789abcdef"] * 101)["status"] == "400"
    assert tus.creates(1, upload_concat="other").status == 400


def test_an_empty_part_is_a_part(tus: Tus, service: Service) -> None:
    path = "/" + tus.creates(0, upload_concat="partial").headers["location"]
    assert joined(tus, path, part(tus, DATA))["status"] == "201"
    assert received(service) == {"a.bin": DATA}


def test_a_part_may_come_with_its_creation(tus: Tus, service: Service) -> None:
    reply = tus.asks("POST", "/", DATA, upload_concat="partial", upload_length="3000", content_type=CHUNK)
    assert joined(tus, "/" + reply.headers["location"])["status"] == "201"
    assert received(service) == {"a.bin": DATA}


def test_the_receipt_of_a_part_is_that_of_the_file(tus: Tus, service: Service) -> None:
    addresses = [part(tus, data) for data in (DATA[:10], DATA[10:])]
    joined(tus, *addresses)
    receipt = (
        service.connect().asks("GET", addresses[0].removeprefix("http://files") + "/receipt").reads_one()
    )
    assert (receipt.json["name"], receipt.json["size"]) == ("a.bin", 3000)


def test_the_parts_of_a_file_need_no_name_that_the_service_accepts(tmp_path: Path) -> None:
    service = Service(tmp_path / "received", limits=Limits(1 << 30, names=("*.pdf",)))
    tus = Tus(service)
    addresses = [part(tus, data) for data in (DATA[:10], DATA[10:])]
    assert joined(tus, *addresses, name="a.exe")["status"] == "400"
    assert joined(tus, *addresses, name="a.pdf")["status"] == "201"
    assert tus.creates(10, upload_metadata=coded(filename="a.exe")).status == 400
    assert received(service) == {"a.pdf": DATA}
    service.stop()
