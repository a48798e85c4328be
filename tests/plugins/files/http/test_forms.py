from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, cast

import pytest
from twisted.internet.defer import Deferred

from sockd_plugins.files.http.form_parts import FormParts
from sockd_plugins.files.http.request import Request
from sockd_plugins.files.storage.store import Limits
from tests.plugins.files.http.client import Client, Reply, Service
from tests.plugins.files.http.test_puts import in_base64

TYPE = "multipart/form-data; boundary=edge"
Part = tuple[str, bytes]


def part(name: str, data: bytes, *fields: str) -> bytes:
    disposition = f'Content-Disposition: form-data; name="f"; filename="{name}"'
    head = "\r\n".join(("--edge", disposition, "Content-Type: text/plain", *fields, "", ""))
    return head.encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--edge--\r\n"


def post(service: Service, body: bytes, **headers: str) -> Reply:
    return service.connect().asks("POST", "/", body, content_type=TYPE, **headers).reads_one()


def test_each_file_of_a_form_is_stored_and_told(service: Service) -> None:
    reply = post(service, form(part("a.txt", b"1"), part("ä b.txt", b"22")), accept="application/json")
    assert reply.status == 201
    assert [(entry["name"], entry["size"]) for entry in json.loads(reply.body)] == [
        ("a.txt", 1),
        ("ä b.txt", 2),
    ]
    assert (service.folder / "ä b.txt").read_bytes() == b"22"


class Cut:
    """Request whose body comes in pieces."""

    headers: ClassVar[Mapping[str, str]] = {"content-type": TYPE}

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [[piece] for piece in pieces if piece]

    async def read(self, size: int, within: float | None) -> list[bytes]:
        return self._pieces.pop(0) if self._pieces else []


async def parts_of(request: Cut) -> dict[str, bytes]:
    parts = FormParts(cast("Request", request))
    found = {}
    while (part := await parts.next()) is not None:
        data = b""
        while pieces := await parts.read(1 << 16):
            data += b"".join(pieces)
        found[part.filename or ""] = data
    return found


def test_a_form_may_be_cut_anywhere() -> None:
    data = b"\r\n--edg\r\n\r--edge-\r" * 3
    body = form(part("a", data), part("b", b""))
    for cut in range(len(body)):
        found: list[dict[str, bytes]] = []
        Deferred.fromCoroutine(parts_of(Cut(body[:cut], body[cut:]))).addCallback(found.append)
        assert found == [{"a": data, "b": b""}]


def test_a_refused_file_does_not_keep_the_others_from_being_stored(service: Service) -> None:
    reply = post(service, form(part("../a", b"1"), part("b", b"2")), accept="application/json")
    assert reply.status == 207
    refused, stored = json.loads(reply.body)
    assert (refused["name"], refused["code"], stored["name"]) == ("../a", "bad-name", "b")
    assert post(service, form(part("../a", b"1"), part("b", b"3"))).text.count("\n") == 2


def test_the_status_is_that_of_the_refusal_if_nothing_is_stored(tmp_path: Path) -> None:
    service = Service(tmp_path / "small", limits=Limits(3))
    assert post(service, form(part("a", b"1234"))).status == 413
    service.stop()


def test_fields_without_a_file_do_not_count(service: Service) -> None:
    field = b'--edge\r\nContent-Disposition: form-data; name="x"\r\n\r\nvalue\r\n'
    assert post(service, form(field, part("a", b"1"), field)).status == 201
    assert post(service, form(field)).status == 400
    assert post(service, form(part("", b""))).status == 400


def test_a_file_of_a_form_has_the_digest_of_its_part(service: Service) -> None:
    for data, status in ((b"hello", 201), (b"other", 400)):
        digest = f"Content-Digest: sha-256=:{in_base64(data)}:"
        assert post(service, form(part("a", b"hello", digest))).status == status


def test_files_before_the_place_where_a_form_breaks_are_stored(service: Service) -> None:
    client = service.connect().asks("POST", "/", content_type=TYPE, content_length="10000")
    client.sends(part("a", b"1") + part("b", b"2")[:-2]).half_closes()
    reply = client.reads_one()
    assert (reply.status, reply.text.splitlines()[1]) == (207, "error incomplete: the body ended early")
    assert [path.name for path in service.folder.glob("?")] == ["a"]


@pytest.mark.parametrize("body", [b"", b"--edge\r\n", b"nothing", part("a", b"1"), b"--edge\r\nx\r\n\r\n"])
def test_what_is_no_form_is_refused(service: Service, body: bytes) -> None:
    assert post(service, body).status == 400


@pytest.mark.parametrize("kind", ["multipart/mixed; boundary=edge", "multipart/form-data", "multipart/x"])
def test_other_kinds_of_forms_are_refused(service: Service, kind: str) -> None:
    assert service.connect().asks("POST", "/", form(), content_type=kind).reads_one().status == 400


def test_a_form_is_read_no_further_behind_a_large_file_that_is_refused(tmp_path: Path) -> None:
    service = Service(tmp_path / "small", limits=Limits(3))
    client: Client = service.connect().asks("POST", "/", content_type=TYPE, content_length="900000000")
    client.sends(part("a", b"1" * 1000000)[:-2], *[b"1" * 1000000] * 17)
    assert client.reads_one().status == 413
    service.stop()
