import hashlib
import os
from base64 import b64encode
from pathlib import Path
from urllib.parse import urljoin

import pytest

from sockd_plugins.files.storage.ledger import Quota
from sockd_plugins.files.storage.store import Limits
from tests.plugins.files.http.client import Service
from tests.plugins.files.http.tus_client import CHUNK, Tus, coded, parts, received

DATA = os.urandom(300_000)


@pytest.fixture
def tus(service: Service) -> Tus:
    return Tus(service)


def test_a_file_comes_in_chunks(tus: Tus, service: Service) -> None:
    path = tus.upload(len(DATA))
    for start in range(0, len(DATA), 100_000):
        reply = tus.patches(path, start, DATA[start : start + 100_000])
        assert (reply.status, reply.headers["upload-offset"]) == (204, str(start + 100_000))
        assert reply.headers["tus-resumable"] == "1.0.0"
    assert received(service) == {"a.bin": DATA}
    assert parts(service) == []
    assert reply.headers["content-location"] == "../../a.bin"
    digest = b64encode(hashlib.sha256(DATA).digest()).decode()
    assert reply.headers["repr-digest"] == f"sha-256=:{digest}:"


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537])
def test_a_file_comes_with_its_creation(tus: Tus, service: Service, size: int) -> None:
    reply = tus.creates(size, DATA[:size], upload_metadata=coded(filename="a.bin"))
    assert (reply.status, reply.headers["upload-offset"]) == (201, str(size))
    assert received(service) == {"a.bin": DATA[:size]}
    assert tus.offset("/" + reply.headers["location"]) == size


def test_an_empty_file_needs_no_patch(tus: Tus, service: Service) -> None:
    tus.upload(0)
    assert received(service) == {"a.bin": b""}


def test_a_head_tells_the_offset_and_what_was_announced(tus: Tus) -> None:
    path = tus.upload(len(DATA))
    tus.patches(path, 0, DATA[:1000])
    reply = tus.heads(path)
    assert reply.status == 200
    assert reply.headers["upload-offset"] == "1000"
    assert reply.headers["upload-length"] == str(len(DATA))
    assert reply.headers["upload-metadata"] == coded(filename="a.bin")
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["upload-expires"].endswith("GMT")


def test_a_stored_file_still_has_its_length_for_a_client_that_asks_again(tus: Tus, service: Service) -> None:
    path = tus.upload(10)
    tus.patches(path, 0, DATA[:10])
    reply = tus.heads(path)
    assert (reply.status, reply.headers["upload-offset"], reply.headers["upload-length"]) == (200, "10", "10")
    assert tus.patches(path, 10, b"").status == 204
    assert tus.patches(path, 0, DATA[:10]).status == 409
    assert tus.asks("DELETE", path).status == 403
    assert received(service) == {"a.bin": DATA[:10]}


def test_a_chunk_at_another_offset_is_refused_with_the_right_one(tus: Tus) -> None:
    path = tus.upload(len(DATA))
    tus.patches(path, 0, DATA[:1000])
    for offset in (0, 999, 1001):
        reply = tus.patches(path, offset, DATA[:1000])
        assert (reply.status, reply.headers["upload-offset"]) == (409, "1000")
    assert tus.offset(path) == 1000


def test_data_beyond_the_length_is_refused_and_nothing_of_it_kept(tus: Tus, service: Service) -> None:
    path = tus.upload(1000)
    tus.patches(path, 0, DATA[:500])
    assert tus.patches(path, 500, DATA[:501]).status == 413
    chunked = b"1f5\r\n" + DATA[:501] + b"\r\n0\r\n\r\n"
    assert tus.patches(path, 500, chunked, transfer_encoding="chunked").status == 413
    assert tus.offset(path) == 500
    assert tus.patches(path, 500, DATA[500:1000]).status == 204
    assert received(service) == {"a.bin": DATA[:1000]}


def test_chunked_data_is_received(tus: Tus, service: Service) -> None:
    path = tus.upload(500)
    chunked = b"1f4\r\n" + DATA[:500] + b"\r\n0\r\n\r\n"
    assert tus.patches(path, 0, chunked, transfer_encoding="chunked").status == 204
    assert received(service) == {"a.bin": DATA[:500]}


def test_the_length_may_come_later(tus: Tus, service: Service) -> None:
    path = tus.upload(None)
    tus.patches(path, 0, DATA[:1000])
    assert tus.heads(path).headers["upload-defer-length"] == "1"
    assert "upload-length" not in tus.heads(path).headers
    assert tus.patches(path, 1000, DATA[1000:2000], upload_length="999").status == 400
    assert tus.patches(path, 1000, DATA[1000:2000], upload_length="3000").status == 204
    assert tus.heads(path).headers["upload-length"] == "3000"
    assert tus.patches(path, 2000, DATA[2000:3000], upload_length="3001").status == 400
    tus.patches(path, 2000, DATA[2000:3000])
    assert received(service) == {"a.bin": DATA[:3000]}


def test_an_empty_patch_with_the_length_stores_what_has_come(tus: Tus, service: Service) -> None:
    path = tus.upload(None)
    tus.patches(path, 0, DATA[:1000])
    assert tus.patches(path, 1000, b"", upload_length="1000").status == 204
    assert received(service) == {"a.bin": DATA[:1000]}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"upload_length": "x"},
        {"upload_length": "-1"},
        {"upload_defer_length": "2"},
        {"upload_length": "1", "upload_defer_length": "1"},
    ],
)
def test_a_creation_without_a_length_is_refused(tus: Tus, headers: dict[str, str]) -> None:
    assert tus.asks("POST", "/", b"", **headers).status == 400


@pytest.mark.parametrize("name", ["../a", "a/b", ".sockd-part", "/etc/passwd", "a\nb", "nul", "a\u202eb"])
def test_an_unsafe_name_is_refused_at_the_creation(tus: Tus, service: Service, name: str) -> None:
    reply = tus.creates(5, upload_metadata=coded(filename=name))
    assert (reply.status, "bad-name" in reply.text) == (400, True)
    assert parts(service) == []


def test_a_file_without_a_name_is_named_by_the_time(tus: Tus, service: Service) -> None:
    tus.creates(5, DATA[:5], upload_metadata="")
    tus.creates(5, DATA[:5])
    assert all(name.startswith("20") and name.endswith(".bin") for name in received(service))
    assert len(received(service)) == 2


def test_metadata_may_call_the_name_name(tus: Tus, service: Service) -> None:
    tus.creates(5, DATA[:5], upload_metadata=coded(name="b.bin"))
    assert list(received(service)) == ["b.bin"]


def test_a_folder_is_refused_where_there_are_none(tus: Tus) -> None:
    reply = tus.creates(5, None, "/files/", upload_metadata=coded(filename="a"))
    assert (reply.status, "'/files/'" in reply.text) == (400, True)


def test_folders_come_from_the_path_and_the_metadata(tmp_path: Path) -> None:
    service = Service(tmp_path / "in", limits=Limits(1 << 30, folders=True))
    tus = Tus(service)
    tus.creates(1, b"x", "/x/y/", upload_metadata=coded(filename="a"))
    tus.creates(1, b"y", "/x", upload_metadata=coded(filename="b", relativePath="p/q/b"))
    tus.creates(1, b"z", upload_metadata=coded(filename="c", relativePath="null"))
    assert received(service) == {"x/y/a": b"x", "x/p/q/b": b"y", "c": b"z"}
    reply = tus.creates(1, None, "/x/y/", upload_metadata=coded(filename="d"))
    assert reply.headers["location"].startswith("../../-/uploads/")
    service.engine.stop()


def test_a_wrong_checksum_drops_the_chunk(tus: Tus, service: Service) -> None:
    path = tus.upload(2000)
    tus.patches(path, 0, DATA[:1000], upload_checksum=checksum("sha1", DATA[:1000]))
    assert tus.patches(path, 1000, DATA[1000:2000], upload_checksum=checksum("sha1", b"x")).status == 460
    assert tus.offset(path) == 1000
    for algorithm in ("md5", "sha256", "sha512"):
        assert tus.patches(path, 1000, DATA[:5], upload_checksum=checksum(algorithm, b"x")).status == 460
    checked = checksum("sha256", DATA[1000:2000])
    assert tus.patches(path, 1000, DATA[1000:2000], upload_checksum=checked).status == 204
    assert received(service) == {"a.bin": DATA[:2000]}


def checksum(algorithm: str, data: bytes) -> str:
    return f"{algorithm} {b64encode(hashlib.new(algorithm, data).digest()).decode()}"


@pytest.mark.parametrize("value", ["crc32 AAAA", "sha1", "sha1 !", "", "blake3 AAAA"])
def test_a_checksum_of_an_unknown_kind_is_refused(tus: Tus, value: str) -> None:
    path = tus.upload(1000)
    assert tus.patches(path, 0, DATA[:1000], upload_checksum=value).status in (400, 460)
    assert tus.offset(path) == 0


def test_a_chunk_with_a_checksum_counts_as_a_whole_or_not_at_all(tus: Tus, service: Service) -> None:
    path = tus.upload(1000)
    tus.dies("PATCH", path, DATA[:700], upload_offset="0", upload_checksum=checksum("sha1", DATA[:1000]))
    assert tus.offset(path) == 0


def test_a_wrong_checksum_at_the_creation_leaves_nothing(tus: Tus, service: Service) -> None:
    assert tus.creates(5, DATA[:5], upload_checksum=checksum("sha1", b"x")).status == 460
    assert parts(service) == []


def test_a_digest_in_the_metadata_is_that_of_the_file(tus: Tus, service: Service) -> None:
    right, wrong = (hashlib.sha256(data).hexdigest() for data in (DATA[:1000], DATA))
    path = tus.creates(1000, upload_metadata=coded(filename="a", sha256=right.upper())).headers["location"]
    assert tus.patches("/" + path, 0, DATA[:1000]).status == 204
    path = tus.creates(1000, upload_metadata=coded(filename="b", sha256=wrong)).headers["location"]
    assert tus.patches("/" + path, 0, DATA[:1000]).status == 460
    assert received(service) == {"a": DATA[:1000]}
    assert tus.heads("/" + path).status == 404
    assert tus.creates(1, upload_metadata=coded(filename="c", sha256="abc")).status == 400


def test_an_upload_is_given_up(tus: Tus, service: Service) -> None:
    path = tus.upload(1000)
    tus.patches(path, 0, DATA[:10])
    assert tus.asks("DELETE", path).status == 204
    assert tus.heads(path).status == 404
    assert tus.asks("DELETE", path).status == 404
    assert parts(service) == []


@pytest.mark.parametrize("path", ["/-/uploads/0123456789abcdef", "/-/uploads/../a", "/-/uploads/x/y"])
def test_an_unknown_upload_is_not_there(tus: Tus, path: str) -> None:
    answers = (tus.heads(path), tus.patches(path, 0, b""), tus.asks("DELETE", path))
    assert {answer.status for answer in answers} == {404}


def test_another_version_is_refused(tus: Tus) -> None:
    reply = tus.asks("POST", "/", b"", tus_resumable="0.2.2", upload_length="1")
    assert (reply.status, reply.headers["tus-version"]) == (412, "1.0.0")


def test_a_chunk_of_another_kind_is_refused(tus: Tus) -> None:
    path = tus.upload(10)
    assert tus.asks("PATCH", path, b"x", upload_offset="0").status == 415
    assert tus.asks("PATCH", path, b"x", content_type=CHUNK).status == 400
    assert tus.asks("PUT", path, b"x").status == 405


def test_a_post_may_stand_for_another_method(tus: Tus, service: Service) -> None:
    path = tus.upload(10)
    over = {"content_type": CHUNK, "upload_offset": "0", "x_http_method_override": "PATCH"}
    assert tus.asks("POST", path, DATA[:10], **over).status == 204
    assert received(service) == {"a.bin": DATA[:10]}


def test_options_tell_what_tus_can_do(service: Service) -> None:
    (reply,) = service.connect().asks("OPTIONS", "/").reads("OPTIONS")
    assert reply.status == 204
    assert reply.headers["tus-version"] == "1.0.0"
    assert reply.headers["tus-max-size"] == str(1 << 30)
    assert reply.headers["tus-checksum-algorithm"] == "sha1,sha256,sha512,md5"
    assert "concatenation" in reply.headers["tus-extension"].split(",")
    assert reply.headers["accept-patch"] == "application/partial-upload"


def test_a_file_is_refused_before_its_first_byte(tmp_path: Path) -> None:
    service = Service(tmp_path / "in", limits=Limits(1000, quota=Quota(500)))
    tus = Tus(service)
    assert tus.creates(1001).status == 413
    reply = tus.creates(501)
    assert (reply.status, "quota" in reply.text) == (507, True)
    service.engine.stop()


def test_what_came_before_a_break_is_kept(tus: Tus, service: Service) -> None:
    path = tus.upload(1000)
    tus.dies("PATCH", path, DATA[:700], upload_offset="0")
    assert tus.offset(path) == 700
    assert tus.patches(path, 700, DATA[700:1000]).status == 204
    assert received(service) == {"a.bin": DATA[:1000]}


def test_a_creation_that_breaks_leaves_nothing(tus: Tus, service: Service) -> None:
    tus.dies("POST", "/", DATA[:700], upload_length="1000")
    assert parts(service) == []


def test_a_request_takes_the_upload_from_a_dead_connection(tus: Tus, service: Service) -> None:
    path = tus.upload(1000)
    dead = tus.begins("PATCH", path, DATA[:700], upload_offset="0")
    tus.client = service.connect()
    assert tus.offset(path) == 700
    (reply,) = dead.reads()
    assert reply.status == 409
    assert tus.patches(path, 700, DATA[700:1000]).status == 204
    assert received(service) == {"a.bin": DATA[:1000]}


def test_the_receipt_of_a_file_is_where_the_answer_says(tus: Tus, service: Service) -> None:
    path = tus.upload(10)
    reply = tus.patches(path, 0, DATA[:10])
    place, relation, kind = reply.headers["link"].split("; ")
    assert (relation, kind) == ('rel="describedby"', 'type="application/json"')
    receipt = service.connect().asks("GET", urljoin(path, place[1:-1])).reads_one()
    assert (receipt.status, receipt.headers["content-type"]) == (200, "application/json")
    assert (receipt.json["name"], receipt.json["size"]) == ("a.bin", 10)
    assert receipt.json["digests"] == {"sha256": hashlib.sha256(DATA[:10]).hexdigest()}
    unfinished = service.connect().asks("GET", f"{tus.upload(10)}/receipt").reads_one()
    assert (unfinished.status, unfinished.text) == (
        404,
        "error unknown: there is no stored upload of this address\n",
    )


def test_a_stored_upload_is_shown_to_its_sender_only(tmp_path: Path) -> None:
    service = Service(tmp_path / "received", means=("tokens",))
    (mine, _), (other, _) = service.tokens.make(), service.tokens.make()
    tus = Tus(service)
    reply = tus.creates(5, b"hello", f"/t/{mine}/", upload_metadata=coded(filename="a"))
    path = urljoin(f"/t/{mine}/", reply.headers["location"])
    for token, status in ((mine, 200), (other, 401)):
        place = path.replace(mine, token)
        assert tus.heads(place).status == status
        assert service.connect().asks("GET", f"{place}/receipt").reads_one().status == status
        assert service.connect().asks("GET", place).reads_one().status == status
    service.stop()


def test_the_answer_to_the_last_chunk_has_the_digest_that_the_client_wants(tus: Tus) -> None:
    reply = tus.creates(5, b"hello", upload_metadata=coded(filename="a"), want_repr_digest="sha-512=1")
    digest = b64encode(hashlib.sha512(b"hello").digest()).decode()
    assert reply.headers["repr-digest"] == f"sha-512=:{digest}:"
