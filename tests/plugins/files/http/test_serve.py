from __future__ import annotations

from urllib.parse import quote

import pytest

from sockd_plugins.files.http.head import MOST_FIELDS, MOST_HEAD, MOST_LINE
from sockd_plugins.files.http.request import Answer, Request
from sockd_plugins.files.http.routes import Route
from sockd_plugins.files.http.site import Site
from sockd_plugins.files.storage.refused import FileRefused
from tests.plugins.files.http.client import Service


async def collect(request: Request, site: Site) -> Answer:
    body = b""
    while pieces := await request.read(1 << 20, 1.0):
        body += b"".join(pieces)
    trailer = request.trailers.get("x-after") or ""
    return Answer(200, [("X-Path", quote(request.path))], f"{request.query} {trailer} ".encode() + body)


async def refuse(request: Request, site: Site) -> Answer:
    raise FileRefused("quota", "no more than 5 bytes")


async def fail(request: Request, site: Site) -> Answer:
    raise RuntimeError


TABLE = (
    Route("/here", {"POST": collect, "GET": collect}, lambda request: "x-only" in request.headers),
    Route("/fails", {"GET": fail}),
    Route("/refuses", {"PUT": refuse}),
    Route("/", {"POST": collect, "GET": collect, "PUT": collect}),
)


@pytest.fixture
def table(service: Service) -> Service:
    service.routes = TABLE
    return service


def test_requests_on_a_connection_are_answered_in_their_order(table: Service) -> None:
    client = table.connect()
    client.asks("POST", "/one", b"1").asks("POST", "/two?a=b&c", b"22")
    first, second = client.reads("POST", "POST")
    assert (first.body, first.headers["x-path"]) == (b"{}  1", "/one")
    assert second.text == "{'a': 'b', 'c': ''}  22"
    assert not client.wire.disconnecting


def test_pipelined_requests_are_all_answered_however_they_are_cut(table: Service) -> None:
    one = b"POST /1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nab"
    two = (
        b"\r\nPOST /2 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n1\r\nd\r\n0\r\nx-after: yes\r\n\r\n"
    )
    stream = one + two + one
    for cut in range(len(stream)):
        client = table.connect().sends(stream[:cut], stream[cut:])
        assert [reply.text for reply in client.reads("POST", "POST", "POST")] == [
            "{}  ab",
            "{} yes abcd",
            "{}  ab",
        ]


def test_a_client_that_waits_is_told_to_continue_when_the_body_is_read(table: Service) -> None:
    client = table.connect().asks("PUT", "/x", expect="100-continue", content_length="2")
    assert [reply.status for reply in client.reads()] == [100]
    client.sends(b"ab")
    assert client.reads_one().text == "{}  ab"


def test_a_refusal_comes_in_place_of_the_continue(table: Service) -> None:
    client = table.connect().asks("PUT", "/refuses", expect="100-continue", content_length="2")
    reply = client.reads_one()
    assert (reply.status, reply.text) == (507, "error quota: no more than 5 bytes\n")
    assert reply.headers["connection"] == "close"
    assert client.wire.half_closed


def test_a_refused_client_that_still_sends_is_drained_and_then_closed(table: Service) -> None:
    client = table.connect().asks("PUT", "/refuses", content_length="20000000").sends(b"x" * 100000)
    assert client.reads_one().status == 507
    assert not client.wire.disconnecting
    table.clock.advance(59)
    assert not client.wire.disconnecting
    table.clock.advance(1)
    assert client.wire.disconnecting


def test_a_refusal_is_json_for_who_accepts_it(table: Service) -> None:
    reply = table.connect().asks("PUT", "/refuses", b"x", accept="application/json").reads_one()
    assert reply.headers["content-type"] == "application/problem+json"
    assert b'"detail": "no more than 5 bytes", "code": "quota"' in reply.body


def test_other_methods_are_told_what_there_is(table: Service) -> None:
    client = table.connect()
    reply = client.asks("DELETE", "/x").reads_one()
    assert (reply.status, reply.headers["allow"]) == (405, "POST, GET, PUT, HEAD, OPTIONS")
    reply = client.asks("OPTIONS", "/x").reads_one()
    assert (reply.status, reply.headers["allow"]) == (204, "POST, GET, PUT, HEAD, OPTIONS")
    assert "content-length" not in reply.headers
    assert client.asks("OPTIONS", "*").reads_one().status == 204


def test_head_is_answered_without_a_body(table: Service) -> None:
    client = table.connect().asks("HEAD", "/x").asks("GET", "/x")
    head, get = client.reads("HEAD", "GET")
    assert head.headers["content-length"] == get.headers["content-length"] == "4"
    assert (head.body, get.body) == (b"", b"{}  ")


def test_a_fault_is_answered_and_ends_no_other_request(table: Service) -> None:
    client = table.connect().asks("GET", "/fails")
    assert client.reads_one().status == 500
    assert client.asks("GET", "/x").reads_one().status == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"put 5 - a.txt\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET nothing HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\na b: c\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
        (b"GET /" + b"a" * MOST_LINE, 414),
        (b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"b" * MOST_HEAD, 431),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MOST_FIELDS + 1), 431),
    ],
)
def test_what_is_no_request_is_refused_in_a_line(table: Service, head: bytes, status: int) -> None:
    client = table.connect().sends(head)
    reply = client.reads_one()
    assert (reply.status, reply.text.count("\n")) == (status, 1)
    assert client.wire.half_closed


@pytest.mark.parametrize(
    "head",
    [
        b"host: x\r\nhost: y\r\n",
        b"host: x\r\ntransfer-encoding : chunked\r\n",
        b"host: x\r\ntransfer-encoding: xchunked\r\n",
        b"host: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        b"host: x\r\na: b\rcontent-length: 5\r\n",
        b"host: x\r\na: b\x00\r\n",
        b"host: x\r\ncontent-length: 0x5\r\n",
        b"host: x\r\ncontent-length: 5, 6\r\n",
        b"host: x\r\ncontent-length: 1_0\r\n",
    ],
)
def test_a_head_that_others_may_read_in_another_way_ends_the_connection(table: Service, head: bytes) -> None:
    stream = b"PUT /x HTTP/1.1\r\n" + head + b"\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
    client = table.connect().sends(stream)
    assert client.reads_one().status in (400, 501)
    assert client.wire.half_closed


@pytest.mark.parametrize("chunk", [b"5\n", b"0x5\r\n", b"+5\r\n", b"-1\r\n", b"5 5\r\n", b"f" * 21 + b"\r\n"])
def test_a_chunk_that_others_may_read_in_another_way_ends_the_connection(
    table: Service, chunk: bytes
) -> None:
    client = table.connect().asks("PUT", "/x", transfer_encoding="chunked")
    client.sends(chunk + b"abcde\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n")
    assert client.reads_one().status == 400
    assert client.wire.half_closed


def test_a_head_without_an_end_is_told(table: Service) -> None:
    client = table.connect().sends(b"GET / HTTP/1.1\r\nhos").half_closes()
    assert (reply := client.reads_one()).status == 400
    assert reply.text == "error: the line has no end\n"


def test_malformed_chunks_are_refused(table: Service) -> None:
    client = table.connect().asks("PUT", "/x", transfer_encoding="chunked").sends(b"zz\r\n")
    assert client.reads_one().status == 400


def test_a_body_that_ends_early_is_refused(table: Service) -> None:
    client = table.connect().asks("PUT", "/x", content_length="5").sends(b"ab").half_closes()
    assert client.reads_one().text == "error incomplete: the body ended early\n"


def test_an_old_client_gets_its_answer_and_the_end(table: Service) -> None:
    client = table.connect().sends(b"POST /x HTTP/1.0\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\na")
    assert client.reads_one().text == "{}  a"
    assert client.wire.disconnecting


def test_letters_beyond_ascii_in_the_target_are_utf8(table: Service) -> None:
    for target in ("/ä", "/%C3%A4"):
        client = table.connect().sends(f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert client.reads_one().headers["x-path"] == "/%C3%A4"


def test_a_route_can_be_for_some_requests_only(table: Service) -> None:
    table.routes = (TABLE[0],)
    assert table.connect().asks("GET", "/here").reads_one().status == 404
    assert table.connect().asks("GET", "/here", x_only="1").reads_one().status == 200


def test_chunks_of_one_byte_are_joined(table: Service) -> None:
    client = table.connect().asks("PUT", "/x", transfer_encoding="chunked")
    client.sends(b"1\r\na\r\n" * 20000, b"0\r\n\r\n")
    table.clock.pump([0] * 20)
    assert client.reads_one().body == b"{}  " + b"a" * 20000
