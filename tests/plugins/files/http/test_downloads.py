from __future__ import annotations

import hashlib
import json
import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockd_plugins.files.http.site import Options
from sockd_plugins.files.storage.store import Limits
from tests.plugins.files.http.client import Reply, Service

DATA = bytes(range(256)) * 3000


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Service]:
    service = Service(
        tmp_path / "received", limits=Limits(1 << 30, folders=True), options=Options(serve=True)
    )
    (service.folder / "a b.txt").write_bytes(DATA)
    (service.folder / "in").mkdir()
    (service.folder / "in" / "c").write_bytes(b"c")
    yield service
    service.stop()


def get(service: Service, path: str, method: str = "GET", **headers: str) -> Reply:
    return service.connect().asks(method, path, None, **headers).reads_one(method)


def test_a_file_is_sent_as_bytes_and_never_as_a_page(serving: Service) -> None:
    reply = get(serving, "/a%20b.txt")
    assert (reply.status, reply.body) == (200, DATA)
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b.txt"


def test_head_tells_size_and_tag(serving: Service) -> None:
    reply = get(serving, "/a%20b.txt", "HEAD")
    assert (reply.status, reply.headers["content-length"], reply.body) == (200, str(len(DATA)), b"")
    assert get(serving, "/a%20b.txt", if_none_match=reply.headers["etag"]).status == 304
    assert get(serving, "/a%20b.txt", if_none_match='"other"').status == 200
    assert get(serving, "/a%20b.txt", "HEAD", range="bytes=0-1").headers["content-length"] == str(len(DATA))


@pytest.mark.parametrize(
    ("value", "first", "end"),
    [
        ("bytes=5-9", 5, 10),
        ("bytes=767990-", 767990, 768000),
        ("bytes=-3", 767997, 768000),
        ("Bytes=5-9", 5, 10),
        ("bytes=0-9999999", 0, 768000),
    ],
)
def test_a_range_is_sent(serving: Service, value: str, first: int, end: int) -> None:
    reply = get(serving, "/a%20b.txt", range=value)
    assert (reply.status, reply.body) == (206, DATA[first:end])
    assert reply.headers["content-range"] == f"bytes {first}-{end - 1}/768000"


def test_a_range_of_nothing_is_refused_and_an_unknown_one_ignored(serving: Service) -> None:
    reply = get(serving, "/a%20b.txt", range="bytes=768000-")
    assert (reply.status, reply.headers["content-range"]) == (416, "bytes */768000")
    for value in ("lines=1-2", "bytes=1-2,4-5", "bytes=a-b", "bytes=5-3"):
        assert get(serving, "/a%20b.txt", range=value).status == 200
    assert get(serving, "/a%20b.txt", range="bytes=5-9", if_range='"other"').status == 200


def test_a_folder_is_listed_without_the_unfinished(serving: Service) -> None:
    serving.connect().asks("PUT", "/new", content_length="5")
    listed = json.loads(get(serving, "/").body)
    assert [(entry["name"], entry.get("size")) for entry in listed] == [("a b.txt", 768000), ("in/", None)]
    assert [entry["name"] for entry in json.loads(get(serving, "/in/").body)] == ["c"]
    assert get(serving, "/in/c").body == b"c"


@pytest.mark.parametrize("path", ["/none", "/in", "/none/", "/link", "/linked/c", "/linked/", "/fifo"])
def test_what_is_no_received_file_is_not_there(serving: Service, path: str) -> None:
    (serving.folder / "link").symlink_to("a b.txt")
    (serving.folder / "linked").symlink_to("in")
    os.mkfifo(serving.folder / "fifo")
    assert get(serving, path).status == 404


@pytest.mark.parametrize("path", ["/.sockd-part/", "/.sockd-part/.stored", "/../etc/passwd", "/%2e%2e/x"])
def test_no_other_path_is_reached(serving: Service, path: str) -> None:
    assert get(serving, path).status == 400


def test_nothing_is_sent_unless_that_is_permitted(service: Service) -> None:
    (service.folder / "a").write_bytes(b"1")
    assert get(service, "/a").status == 403
    assert get(service, "/").status == 403
    assert get(service, "/a", "HEAD").status == 404


def test_a_client_that_does_not_read_keeps_no_memory(serving: Service) -> None:
    client = serving.connect()
    client.wire.pausing = True
    client.asks("GET", "/a%20b.txt")
    sent = len(client.wire.value())
    assert sent < len(DATA) // 2
    client.wire.pausing = False
    client.wire.producer.resumeProducing()
    assert client.reads_one().body == DATA


def test_a_client_that_leaves_closes_the_file(serving: Service) -> None:
    before = len(os.listdir("/proc/self/fd"))
    client = serving.connect()
    client.wire.pausing = True
    client.asks("GET", "/a%20b.txt").is_cut_off()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_digest_is_told_to_who_wants_it(serving: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256 = b64encode(hashlib.sha256(DATA).digest()).decode()
    for method, more in (("HEAD", {}), ("GET", {"range": "bytes=0-1"})):
        reply = get(serving, "/a%20b.txt", method, want_repr_digest="sha-256=1", **more)
        assert reply.headers["repr-digest"] == f"sha-256=:{sha256}:"
    assert "repr-digest" not in get(serving, "/a%20b.txt").headers
    (serving.folder / "a b.txt").write_bytes(b"other")
    reply = get(serving, "/a%20b.txt", "HEAD", want_repr_digest="sha-256=1")
    assert (
        reply.headers["repr-digest"] == f"sha-256=:{b64encode(hashlib.sha256(b'other').digest()).decode()}:"
    )
    monkeypatch.setattr("sockd_plugins.files.http.file_digests.MOST", 4)
    assert "repr-digest" not in get(serving, "/a%20b.txt", want_repr_digest="sha-256=1").headers
