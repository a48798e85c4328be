from __future__ import annotations

import pytest

from sockd_plugins.files.http.puts import KEEP_FROM
from sockd_plugins.files.storage.incoming import Incoming
from sockd_plugins.files.stream.peer import Gone
from tests.plugins.files.http.client import Service
from tests.plugins.files.http.test_puts import in_base64, parts

HALF = b"x" * KEEP_FROM
REST = b"the rest"
TOTAL = KEEP_FROM + len(REST)


@pytest.fixture
def broken(service: Service) -> Service:
    """Return a service that has got the first half of a file."""
    service.connect().asks("PUT", "/a", content_length=str(TOTAL)).sends(HALF).is_cut_off()
    return service


def stored(service: Service) -> bytes:
    return (service.folder / "a").read_bytes()


def content_range(first: int, last: int = TOTAL - 1, total: int = TOTAL) -> str:
    return f"bytes {first}-{last}/{total}"


def test_head_tells_how_much_of_an_unfinished_file_is_there(broken: Service) -> None:
    reply = broken.connect().asks("HEAD", "/a").reads_one("HEAD")
    assert reply.status == 204
    assert (reply.headers["upload-offset"], reply.headers["upload-length"]) == (str(KEEP_FROM), str(TOTAL))
    assert broken.connect().asks("HEAD", "/b").reads_one("HEAD").status == 404


def test_a_range_continues_a_broken_upload(broken: Service) -> None:
    reply = broken.connect().asks("PUT", "/a", REST, content_range=content_range(KEEP_FROM)).reads_one()
    assert reply.status == 201
    assert stored(broken) == HALF + REST


def test_a_range_may_begin_with_what_is_there_already(broken: Service) -> None:
    body = HALF[3:] + REST
    reply = broken.connect().asks("PUT", "/a", body, content_range=content_range(3)).reads_one()
    assert reply.status == 201
    assert stored(broken) == HALF + REST


def test_a_file_that_is_whole_and_was_not_stored_is_finished(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise Gone

    with monkeypatch.context() as broken:
        broken.setattr(Incoming, "finish", breaks)
        service.connect().asks("PUT", "/a", HALF)
    reply = service.connect().asks("HEAD", "/a").reads_one("HEAD")
    assert reply.headers["upload-offset"] == str(KEEP_FROM - 1)
    last = content_range(KEEP_FROM - 1, KEEP_FROM - 1, KEEP_FROM)
    assert service.connect().asks("PUT", "/a", HALF[-1:], content_range=last).reads_one().status == 201
    assert stored(service) == HALF


def test_a_gap_is_refused_with_the_offset(broken: Service) -> None:
    reply = (
        broken.connect().asks("PUT", "/a", REST[1:], content_range=content_range(KEEP_FROM + 1)).reads_one()
    )
    assert reply.status == 416
    assert reply.headers["upload-offset"] == str(KEEP_FROM)
    assert reply.text == (
        f"error bad-request: expected a range that begins at {KEEP_FROM}, found one at {KEEP_FROM + 1}\n"
    )
    test_a_range_continues_a_broken_upload(broken)


def test_a_range_of_nothing_is_refused(service: Service) -> None:
    reply = service.connect().asks("PUT", "/a", REST, content_range=content_range(KEEP_FROM)).reads_one()
    assert (reply.status, reply.headers["upload-offset"]) == (416, "0")


def test_a_range_that_is_the_whole_file_is_a_file(service: Service) -> None:
    reply = service.connect().asks("PUT", "/a", b"hello", content_range="bytes 0-4/5").reads_one()
    assert (reply.status, stored(service)) == (201, b"hello")


def test_parts_are_joined_in_their_order(service: Service) -> None:
    for first in range(0, 4, 2):
        body = b"hello"[first : first + 2]
        reply = (
            service.connect()
            .asks("PUT", "/a", body, content_range=content_range(first, first + 1, 5))
            .reads_one()
        )
        assert (reply.status, reply.text) == (202, f"at {first + 2}\n")
    digest = f"sha-256=:{in_base64(b'hello')}:"
    reply = (
        service.connect()
        .asks("PUT", "/a", b"o", content_range=content_range(4, 4, 5), repr_digest=digest)
        .reads_one()
    )
    assert (reply.status, stored(service)) == (201, b"hello")


def test_a_first_part_that_comes_again_replaces_the_one_before(service: Service) -> None:
    for _ in range(3):
        reply = service.connect().asks("PUT", "/a", b"he", content_range="bytes 0-1/5").reads_one()
        assert (reply.status, len(parts(service))) == (202, 1)


def test_a_part_with_a_wrong_digest_is_dropped_and_may_come_again(service: Service) -> None:
    service.connect().asks("PUT", "/a", b"he", content_range="bytes 0-1/5")
    for digest, status in ((in_base64(b"other"), 400), (in_base64(b"llo"), 201)):
        reply = (
            service.connect()
            .asks("PUT", "/a", b"llo", content_range="bytes 2-4/5", content_digest=f"sha-256=:{digest}:")
            .reads_one()
        )
        assert reply.status == status
    assert stored(service) == b"hello"


def test_a_range_takes_the_upload_from_a_dead_connection(service: Service) -> None:
    dead = service.connect().asks("PUT", "/a", content_length=str(TOTAL)).sends(HALF)
    reply = service.connect().asks("PUT", "/a", HALF[1:] + REST, content_range=content_range(1)).reads_one()
    assert (reply.status, stored(service)) == (201, HALF + REST)
    assert dead.reads_one().status == 409


@pytest.mark.parametrize(
    "value",
    ["bytes 0-4/*", "bytes */5", "bytes 4-0/5", "bytes 0-5/5", "bytes 0-3/5", "lines 0-4/5", "bytes a-b/c"],
)
def test_a_range_that_is_malformed_or_no_match_for_the_body_is_refused(service: Service, value: str) -> None:
    assert service.connect().asks("PUT", "/a", b"hello", content_range=value).reads_one().status == 400
