import hashlib
import json
import os
from base64 import b64encode
from pathlib import Path

import pytest

from sockd_plugins.files.storage.store import Limits
from tests.plugins.files.http.client import Client, Reply, Service
from tests.plugins.files.http.tus_client import Tus, coded, parts, received

DATA = os.urandom(300_000)
PARTIAL = "application/partial-upload"
PROBLEMS = "https://iana.org/assignments/http-problem-types#"


class Draft:
    """Client of one interop version, with one connection after another."""

    def __init__(self, service: Service, version: int | None = 8) -> None:
        self.service = service
        self.version = version
        self.client = service.connect()
        self.interim: list[Reply] = []

    def asks(self, method: str, target: str, body: bytes | None = None, /, **headers: str) -> Reply:
        fields = {} if self.version is None else {"upload_draft_interop_version": str(self.version)}
        *self.interim, reply = self.client.asks(method, target, body, **fields | headers).reads(method)
        if reply.headers.get("connection") == "close":
            self.client = self.service.connect()
        return reply

    def creates(self, body: bytes = b"", target: str = "/a.bin", /, **headers: str) -> Reply:
        """Begin an upload that goes on."""
        return self.asks("POST", target, body, **self.complete(False) | headers)

    def sends(self, body: bytes, target: str = "/a.bin", /, **headers: str) -> Reply:
        """Send a whole file."""
        return self.asks("POST", target, body, **self.complete(True) | headers)

    def upload(self, body: bytes = b"", /, **headers: str) -> str:
        """Return the path of a new upload."""
        reply = self.creates(body, **headers)
        assert reply.status == 201, reply.text
        return "/" + reply.headers["location"]

    def patches(self, path: str, offset: int, data: bytes, /, **headers: str) -> Reply:
        """Append data, to which more follows."""
        kind = {"content_type": PARTIAL} if self.version is None or self.version >= 6 else {}
        fields = kind | {"upload_offset": str(offset)} | self.complete(False)
        return self.asks("PATCH", path, data, **fields | headers)

    def ends(self, path: str, offset: int, data: bytes, /, **headers: str) -> Reply:
        """Append the last data."""
        return self.patches(path, offset, data, **self.complete(True) | headers)

    def complete(self, whole: bool) -> dict[str, str]:
        if self.version == 3:
            return {"upload_incomplete": "?0" if whole else "?1"}
        return {"upload_complete": "?1" if whole else "?0"}

    def is_complete(self, reply: Reply) -> bool:
        if self.version == 3:
            return {"?0": True, "?1": False}[reply.headers["upload-incomplete"]]
        return {"?1": True, "?0": False}[reply.headers["upload-complete"]]

    def offset(self, path: str) -> int:
        return int(self.asks("HEAD", path).headers["upload-offset"])


@pytest.fixture(params=[3, 4, 5, 6, 7, 8, 9, None], ids=str)
def each(request: pytest.FixtureRequest, service: Service) -> Draft:
    return Draft(service, request.param)


@pytest.fixture
def draft(service: Service) -> Draft:
    return Draft(service)


def test_a_file_comes_with_its_creation(each: Draft, service: Service) -> None:
    reply = each.sends(DATA)
    assert (reply.status, reply.headers["upload-offset"]) == (201, str(len(DATA)))
    assert each.is_complete(reply)
    assert reply.headers["content-location"] == "a.bin"
    assert received(service) == {"a.bin": DATA}
    path = "/" + reply.headers["location"]
    assert [interim.status for interim in each.interim][:1] == ([] if each.version is None else [104])
    for interim in each.interim:
        assert interim.headers["upload-draft-interop-version"] == str(each.version)
    if each.version is not None:
        assert each.interim[0].headers["location"] == path[1:]


def test_a_file_comes_in_parts(each: Draft, service: Service) -> None:
    created = each.creates(DATA[:1000])
    assert created.status == 201
    assert not each.is_complete(created)
    path = "/" + created.headers["location"]
    appended = each.patches(path, 1000, DATA[1000:2000])
    assert appended.status == (201 if each.version in (3, 4, 5, 6) else 204)
    assert not each.is_complete(appended)
    head = each.asks("HEAD", path)
    assert (head.status, head.headers["upload-offset"]) == (204, "2000")
    assert "upload-length" not in head.headers
    assert not each.is_complete(head)
    last = each.ends(path, 2000, DATA[2000:])
    assert last.status == 201
    assert each.is_complete(last)
    assert received(service) == {"a.bin": DATA}
    assert parts(service) == []
    head = each.asks("HEAD", path)
    assert (head.headers["upload-offset"], each.is_complete(head)) == (str(len(DATA)), True)


def test_an_empty_append_may_complete_the_file(each: Draft, service: Service) -> None:
    path = each.upload(DATA[:1000])
    assert each.ends(path, 1000, b"").status == 201
    assert received(service) == {"a.bin": DATA[:1000]}


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537])
def test_files_of_all_sizes_come(draft: Draft, service: Service, size: int) -> None:
    assert draft.sends(DATA[:size]).status == 201
    assert received(service) == {"a.bin": DATA[:size]}


def test_chunked_content_is_received(draft: Draft, service: Service) -> None:
    chunked = b"3e8\r\n" + DATA[:1000] + b"\r\n0\r\n\r\n"
    path = draft.upload(chunked, transfer_encoding="chunked")
    assert draft.ends(path, 1000, chunked, transfer_encoding="chunked").status == 201
    assert received(service) == {"a.bin": DATA[:1000] * 2}


def test_nobody_gets_an_interim_answer_who_has_not_asked(service: Service) -> None:
    for version in (None, 2, 10):
        draft = Draft(service, version)
        draft.sends(DATA)
        assert draft.interim == []


def test_a_client_that_waits_gets_100_after_104(draft: Draft, service: Service) -> None:
    client = draft.client
    client.asks(
        "POST",
        "/a.bin",
        upload_draft_interop_version="8",
        upload_complete="?1",
        content_length="5",
        expect="100-continue",
    )
    assert [reply.status for reply in client.reads()] == [104, 100]
    assert [reply.status for reply in client.sends(b"hello").reads()] == [201]
    assert received(service) == {"a.bin": b"hello"}


def test_what_came_with_a_creation_that_breaks_is_kept_for_whom_was_told(service: Service) -> None:
    for version, left in ((8, 1), (None, 0)):
        client = Draft(service, version).client
        told = {"upload_draft_interop_version": "8"} if version else {}
        client.asks("POST", "/a.bin", None, upload_complete="?1", content_length="1000", **told)
        client.sends(DATA[:700])
        service.clock.advance(1.5)
        interim = client.reads()
        client.is_cut_off()
        assert len(parts(service)) == left
        for reply in interim:
            draft = Draft(service)
            path = "/" + reply.headers["location"]
            assert draft.offset(path) == 700
            assert draft.ends(path, 700, DATA[700:1000]).status == 201
            assert received(service) == {"a.bin": DATA[:1000]}


def test_a_wrong_offset_is_answered_with_the_right_one(draft: Draft) -> None:
    path = draft.upload(DATA[:1000])
    reply = draft.patches(path, 10, b"x", accept="application/problem+json")
    assert (reply.status, reply.headers["upload-offset"]) == (409, "1000")
    problem = json.loads(reply.body)
    assert problem["type"] == PROBLEMS + "mismatching-upload-offset"
    assert (problem["expected-offset"], problem["provided-offset"]) == (1000, 10)


def test_lengths_must_agree(draft: Draft) -> None:
    asks = {"accept": "application/json"}
    assert kind(draft.sends(b"12345", upload_length="6", **asks)) == "inconsistent-upload-length"
    assert kind(draft.creates(b"12345", upload_length="4", **asks)) == "inconsistent-upload-length"
    path = draft.upload(b"12345", upload_length="10")
    assert draft.asks("HEAD", path).headers["upload-length"] == "10"
    for data, fields in ((b"123456", {}), (b"1", {"upload_length": "11"})):
        assert kind(draft.patches(path, 5, data, **asks | fields)) == "inconsistent-upload-length"
    assert kind(draft.ends(path, 5, b"1234", **asks)) == "inconsistent-upload-length"
    assert draft.offset(path) == 5
    assert draft.ends(path, 5, b"67890").status == 201


def kind(reply: Reply) -> str:
    assert reply.status == 400
    return str(json.loads(reply.body)["type"]).removeprefix(PROBLEMS)


def test_a_length_is_remembered_once_it_is_told(draft: Draft) -> None:
    path = draft.upload(b"12345")
    draft.patches(path, 5, b"6", upload_length="10")
    assert draft.asks("HEAD", path).headers["upload-length"] == "10"


def test_content_that_proves_longer_than_the_length_ends_the_upload(draft: Draft, service: Service) -> None:
    path = draft.upload(upload_length="10")
    reply = draft.patches(path, 0, b"b\r\n12345678901\r\n0\r\n\r\n", transfer_encoding="chunked")
    assert reply.status == 400
    assert draft.asks("HEAD", path).status == 404
    assert parts(service) == []


def test_chunks_that_end_before_the_length_do_not_complete_it(draft: Draft) -> None:
    path = draft.upload(upload_length="10")
    reply = draft.ends(path, 0, b"5\r\n12345\r\n0\r\n\r\n", transfer_encoding="chunked")
    assert reply.status == 400
    assert draft.offset(path) == 5


def test_a_complete_upload_takes_nothing_more(draft: Draft, service: Service) -> None:
    path = draft.upload(DATA[:10])
    first = draft.ends(path, 10, DATA[10:20])
    again = draft.ends(path, 20, b"")
    assert (again.status, again.body) == (201, first.body)
    assert kind(draft.ends(path, 20, b"x", accept="application/json")) == "completed-upload"
    assert kind(draft.ends(path, 10, DATA[10:20], accept="application/json")) == "completed-upload"
    assert draft.asks("DELETE", path).status == 403
    assert received(service) == {"a.bin": DATA[:20]}


def test_a_file_is_stored_at_its_length_for_clients_that_compare_numbers(
    each: Draft, service: Service
) -> None:
    path = each.upload(DATA[:10], upload_length="20")
    reply = each.patches(path, 10, DATA[10:20])
    assert each.is_complete(reply)
    assert received(service) == {"a.bin": DATA[:20]}
    assert each.ends(path, 20, b"").status == 201


def test_an_append_needs_its_media_type_from_version_6_on(service: Service) -> None:
    for version, status in ((5, 201), (6, 415), (9, 415), (None, 415)):
        draft = Draft(service, version)
        reply = draft.patches(draft.upload(), 0, b"x", content_type="application/octet-stream")
        assert reply.status == status
        if status == 415:
            assert reply.headers["accept-patch"] == PARTIAL


@pytest.mark.parametrize("missing", ["upload_offset", "upload_complete"])
def test_an_append_without_its_fields_is_refused(draft: Draft, missing: str) -> None:
    path = draft.upload()
    assert draft.patches(path, 0, b"x", **{missing: "nonsense"}).status == 400


def test_an_upload_is_given_up(draft: Draft, service: Service) -> None:
    path = draft.upload(DATA[:10])
    assert draft.asks("DELETE", path).status == 204
    assert draft.asks("HEAD", path).status == 404
    assert draft.patches(path, 10, b"").status == 404
    assert draft.asks("GET", path).status == 404
    assert parts(service) == []


def test_a_person_sees_how_far_it_is(draft: Draft) -> None:
    path = draft.upload(DATA[:10], upload_length="20")
    assert draft.asks("GET", path).text == "a.bin: 10 of 20 bytes are durable\n"
    draft.ends(path, 10, DATA[10:20])
    digest = hashlib.sha256(DATA[:20]).hexdigest()
    assert draft.asks("GET", path).text == f"a.bin: stored, 20 bytes, sha256={digest}\n"


def test_the_digest_of_the_file_is_checked(draft: Draft, service: Service) -> None:
    path = draft.upload(DATA[:10], repr_digest=field(DATA[:20]))
    assert draft.ends(path, 10, DATA[10:20]).headers["repr-digest"] == field(DATA[:20])
    wrong = draft.sends(DATA[:10], "/b", repr_digest=field(DATA))
    assert (wrong.status, wrong.headers["upload-complete"]) == (400, "?1")
    assert "digest-mismatch" in wrong.text
    assert received(service) == {"a.bin": DATA[:20]}
    assert parts(service) == []


def field(data: bytes, algorithm: str = "sha256") -> str:
    digest = b64encode(hashlib.new(algorithm, data).digest()).decode()
    return f"sha-{algorithm.removeprefix('sha')}=:{digest}:"


def test_the_digest_of_the_file_may_come_with_its_end(draft: Draft, service: Service) -> None:
    path = draft.upload(DATA[:10])
    assert draft.ends(path, 10, DATA[10:20], repr_digest=field(DATA)).status == 400
    path = draft.upload(DATA[:10])
    assert draft.ends(path, 10, DATA[10:20], repr_digest=field(DATA[:20])).status == 201
    assert received(service) == {"a.bin": DATA[:20]}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_digest_of_the_content_is_checked(draft: Draft, algorithm: str) -> None:
    path = draft.upload(DATA[:10], content_digest=field(DATA[:10], algorithm))
    reply = draft.patches(path, 10, DATA[10:20], content_digest=field(DATA, algorithm))
    assert (reply.status, reply.headers["upload-offset"]) == (400, "10")
    assert draft.offset(path) == 10
    assert draft.patches(path, 10, DATA[10:20], content_digest=field(DATA[10:20], algorithm)).status == 204


def test_the_name_comes_from_the_address_or_a_field(draft: Draft, service: Service) -> None:
    draft.sends(b"1", "/a")
    draft.sends(b"2", "/", content_disposition="inline; filename*=UTF-8''%C3%A4")
    draft.sends(b"3", "/", upload_metadata=coded(filename="c"))
    draft.asks("PUT", "/d", b"4", upload_complete="?1", content_disposition='inline; filename="x"')
    assert received(service) == {"a": b"1", "ä": b"2", "c": b"3", "d": b"4"}
    assert draft.sends(b"5", "/", content_disposition='inline; filename="../x"').status == 400


def test_an_upload_goes_on_over_tus(draft: Draft, service: Service) -> None:
    path = draft.upload(DATA[:10], upload_length="20")
    tus = Tus(service)
    assert tus.offset(path) == 10
    assert tus.patches(path, 10, DATA[10:20]).status == 204
    assert received(service) == {"a.bin": DATA[:20]}
    path = tus.upload(20, "b.bin")
    tus.patches(path, 0, DATA[:10])
    assert draft.offset(path) == 10
    assert draft.ends(path, 10, DATA[10:20]).status == 201
    assert received(service)["b.bin"] == DATA[:20]


def test_progress_is_told_as_it_becomes_durable(draft: Draft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sockd_plugins.files.storage.upload.SYNC_BYTES", 100_000)
    path = draft.upload()
    draft.patches(path, 0, DATA)
    offsets = [int(interim.headers["upload-offset"]) for interim in draft.interim]
    assert offsets
    assert offsets == sorted(offsets)
    assert all("location" not in interim.headers for interim in draft.interim)


def test_the_largest_size_is_told(tmp_path: Path) -> None:
    service = Service(tmp_path / "in", limits=Limits(1000, keep_for=60))
    draft = Draft(service)
    assert draft.creates().headers["upload-limit"] == "max-size=1000, max-age=60"
    assert draft.sends(DATA).status == 413
    service.engine.stop()


def test_an_upload_that_a_request_goes_on_with_is_taken_from_a_dead_connection(
    draft: Draft, service: Service
) -> None:
    path = draft.upload()
    dead: Client = service.connect()
    fields = {"upload_offset": "0", "upload_complete": "?1", "content_type": PARTIAL}
    dead.asks("PATCH", path, None, content_length="1000", **fields)
    dead.sends(DATA[:700])
    service.clock.advance(1.5)
    assert draft.offset(path) == 700
    assert draft.ends(path, 700, DATA[700:1000]).status == 201
    assert received(service) == {"a.bin": DATA[:1000]}


def test_a_client_that_accepts_json_gets_a_receipt(draft: Draft) -> None:
    reply = draft.sends(b"hello", accept="application/json")
    assert (reply.status, reply.json["name"], reply.json["receipt"]["size"]) == (201, "a.bin", 5)
    path = "/" + reply.headers["location"]
    receipt = draft.asks("GET", f"{path}/receipt").json
    assert receipt["id"] == reply.json["id"]
    again = draft.ends(path, 5, b"", accept="application/json")
    assert (again.status, again.json["receipt"]["id"]) == (201, receipt["id"])


def test_a_name_that_must_be_free_is_refused_if_it_is_taken(draft: Draft, service: Service) -> None:
    path = draft.upload(b"hel", if_none_match="*")
    draft.sends(b"other")
    assert draft.creates(b"", if_none_match="*").status == 412
    assert draft.ends(path, 3, b"lo").status == 409
    assert received(service) == {"a.bin": b"other"}
