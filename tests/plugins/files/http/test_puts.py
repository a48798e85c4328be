from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest

from sockd_plugins.files.http.puts import KEEP_FROM
from sockd_plugins.files.storage.ledger import Quota
from sockd_plugins.files.storage.store import PARTS, Limits
from tests.plugins.files.http.client import Service
from tests.plugins.files.http.tus_client import received

DIGEST = hashlib.sha256(b"hello").hexdigest()


def in_base64(data: bytes, algorithm: str = "sha256") -> str:
    return base64.b64encode(hashlib.new(algorithm, data).digest()).decode()


def parts(service: Service) -> list[str]:
    return [path.name for path in (service.folder / PARTS).iterdir() if "-" in path.name]


def test_a_file_is_stored_before_the_answer(service: Service) -> None:
    reply = service.connect().asks("PUT", "/a.txt", b"hello").reads_one()
    assert (reply.status, reply.text) == (201, f"ok a.txt 5 sha256={DIGEST}\n")
    assert reply.headers["location"] == "a.txt"
    assert reply.headers["repr-digest"] == f"sha-256=:{in_base64(b'hello')}:"
    assert (service.folder / "a.txt").read_bytes() == b"hello"


def test_the_answer_is_json_for_who_accepts_it(service: Service) -> None:
    reply = service.connect().asks("PUT", "/a.txt", b"hello", accept="application/json").reads_one()
    told = json.loads(reply.body)
    assert told.pop("id") == told.pop("receipt")["id"]
    assert told == {"name": "a.txt", "size": 5, "sha256": DIGEST, "duplicate": False}


def test_a_name_that_is_taken_gets_a_number_and_an_address(service: Service) -> None:
    service.connect().asks("PUT", "/a.txt", b"1")
    reply = service.connect().asks("PUT", "/a.txt", b"2").reads_one()
    assert reply.headers["location"] == "a%20%282%29.txt"


def test_chunks_are_a_file_of_unknown_size(service: Service) -> None:
    client = service.connect().asks("PUT", "/a.txt", transfer_encoding="chunked", expect="100-continue")
    assert client.reads_one().status == 100
    client.sends(b"5\r\nhello\r\n", b"0\r\n\r\n")
    assert client.reads_one().status == 201
    assert (service.folder / "a.txt").read_bytes() == b"hello"


def test_chunks_that_come_in_any_pieces_are_stored_to_the_last_byte(service: Service) -> None:
    data = b"x" * 65_537
    stream = b"10001\r\n" + data + b"\r\n0\r\n\r\n"
    for first in (1, 9, 65_000, 65_530, 65_543, 65_544, 65_545, len(stream) - 1):
        client = service.connect().asks("PUT", f"/{first}", transfer_encoding="chunked")
        client.sends(stream[:first], stream[first:])
        assert client.reads_one().text.split()[:3] == ["ok", str(first), "65537"]
        assert (service.folder / str(first)).read_bytes() == data


def test_post_stores_a_body_too(service: Service) -> None:
    assert service.connect().asks("POST", "/a.txt", b"hello").reads_one().status == 201


@pytest.mark.parametrize("name", ["", "..%2fa", ".a", "a%00", "-a", "a%0ab", "CON"])
def test_a_bad_name_is_refused_before_the_body(service: Service, name: str) -> None:
    reply = service.connect().asks("PUT", f"/{name}", content_length="5", expect="100-continue").reads_one()
    assert reply.status == 400
    assert reply.text.startswith("error bad-name: ")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_encoding": "gzip"}, 415),
        ({"content_type": "multipart/form-data; boundary=x"}, 415),
        ({"range": "bytes=3-7/8"}, 400),
        ({"repr_digest": "sha-256=what"}, 400),
        ({"repr_digest": "sha-256=:AAAA:"}, 400),
        ({"content_digest": "sha-256=3"}, 400),
    ],
)
def test_a_body_that_would_be_stored_wrongly_is_refused(
    service: Service, headers: dict[str, str], status: int
) -> None:
    assert service.connect().asks("PUT", "/a.txt", b"hello", **headers).reads_one().status == status
    assert not (service.folder / "a.txt").exists()


def test_a_put_without_a_length_is_refused(service: Service) -> None:
    assert service.connect().asks("PUT", "/a.txt").reads_one().status == 411


def test_refusals_of_the_storage_have_their_status(tmp_path: Path) -> None:
    service = Service(tmp_path / "small", limits=Limits(10, quota=Quota(size=8)))
    assert service.connect().asks("PUT", "/a.txt", content_length="11").reads_one().status == 413
    reply = service.connect().asks("PUT", "/a.txt", content_length="9").reads_one()
    assert (reply.status, reply.text.count("8 bytes")) == (507, 1)
    service.stop()


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("field", ["repr_digest", "content_digest"])
def test_a_digest_in_the_header_is_checked(service: Service, field: str, algorithm: str) -> None:
    name = algorithm.replace("sha", "sha-")
    right = f"unknown=:AAAA:, {name}=:{in_base64(b'hello', algorithm)}:"
    wrong = f"{name}=:{in_base64(b'other', algorithm)}:"
    assert service.connect().asks("PUT", "/a", b"hello", **{field: right}).reads_one().status == 201
    reply = service.connect().asks("PUT", "/b", b"hello", **{field: wrong}).reads_one()
    assert reply.status == 400
    assert reply.text.startswith("error digest-mismatch: ")
    assert not (service.folder / "b").exists()
    assert not parts(service)


def test_a_digest_in_the_query_is_checked(service: Service) -> None:
    assert service.connect().asks("PUT", f"/a?sha256={DIGEST}", b"hello").reads_one().status == 201
    assert service.connect().asks("PUT", f"/b?sha256={DIGEST}", b"other").reads_one().status == 400
    assert service.connect().asks("PUT", "/c?sha256=1234", b"hello").reads_one().status == 400


def test_a_digest_behind_the_chunks_is_checked(service: Service) -> None:
    for data, status in ((b"hello", 201), (b"other", 400)):
        client = service.connect().asks("PUT", "/a", transfer_encoding="chunked")
        client.sends(b"5\r\nhello\r\n", f"0\r\nRepr-Digest: sha-256=:{in_base64(data)}:\r\n\r\n".encode())
        assert client.reads_one().status == status


def test_a_client_that_breaks_off_leaves_nothing_of_a_small_file(service: Service) -> None:
    service.connect().asks("PUT", "/a", content_length="5").sends(b"he").is_cut_off()
    assert not parts(service)


def test_a_large_file_is_kept_when_the_connection_breaks_and_a_second_try_replaces_it(
    service: Service,
) -> None:
    for _ in range(3):
        service.connect().asks("PUT", "/a", content_length=str(2 * KEEP_FROM)).sends(
            b"x" * KEEP_FROM
        ).is_cut_off()
        assert len(parts(service)) == 1
    reply = service.connect().asks("HEAD", "/a").reads_one("HEAD")
    assert reply.headers["upload-offset"] == str(KEEP_FROM)


def test_a_name_that_must_be_free_is_refused_before_the_body_if_it_is_taken(service: Service) -> None:
    new = {"if_none_match": "*"}
    assert service.connect().asks("PUT", "/a.txt", b"1", **new).reads_one().status == 201
    reply = (
        service.connect()
        .asks("PUT", "/a.txt", None, content_length="1", expect="100-continue", **new)
        .reads_one()
    )
    assert (reply.status, reply.text) == (412, "error exists: there is a file a.txt already\n")
    assert service.connect().asks("PUT", "/a.txt", b"2", if_none_match='"x"').reads_one().status == 201
    assert service.connect().asks("PUT", "/b.txt", b"2", if_match="*").reads_one().status == 412
    assert sorted(received(service)) == ["a (2).txt", "a.txt"]


@pytest.mark.parametrize("other", [b"hello", b"HELLO"])
def test_a_name_that_must_be_free_is_refused_if_it_is_taken_meanwhile(service: Service, other: bytes) -> None:
    first = service.connect().asks("PUT", "/a.txt", None, content_length="5", if_none_match="*").sends(b"hel")
    assert service.connect().asks("PUT", "/a.txt", other).reads_one().status == 201
    reply = first.sends(b"lo").reads_one()
    assert (reply.status, reply.text) == (412, "error exists: there is a file of this name already\n")
    assert received(service) == {"a.txt": other}
    assert parts(service) == []


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("sha-512=3", ["sha512"]),
        ("sha-256=1, sha-512=10", ["sha512"]),
        ("sha-256=5, sha-512=5", ["sha256"]),
        ("sha-512=0", ["sha256"]),
        ("unixsum=9", ["sha256"]),
        ("nonsense;;", ["sha256"]),
        ("sha-256=0", []),
        ("sha-512=?1", ["sha256"]),
    ],
)
def test_the_answer_has_the_digest_that_the_client_wants(
    service: Service, wanted: str, told: list[str]
) -> None:
    reply = service.connect().asks("PUT", "/a.txt", b"hello", want_repr_digest=wanted).reads_one()
    fields = [f"{name[:3]}-{name[3:]}=:{in_base64(b'hello', name)}:" for name in told]
    assert [value for name, value in reply.headers.items() if name == "repr-digest"] == fields
