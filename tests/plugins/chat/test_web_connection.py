from typing import Any

import pytest

from sockd_plugins.chat.web.connection import KEPT_SECONDS, MOST_BODY, MOST_FIELDS, MOST_HEAD, REQUEST_SECONDS
from tests.plugins.chat.web import HOST, Answered, Chat

GET = f"GET /rooms HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def test_requests_follow_each_other_on_a_connection_also_when_they_come_at_once() -> None:
    web = Chat().connect()
    web.sends(GET + GET)
    first = Answered(web.reads())
    assert (first.status, first.json["rooms"][0]["name"]) == (200, "lobby")
    assert Answered(first.following).status == 200
    assert not web.transport.disconnecting


def test_a_thousand_requests_at_once_are_answered_one_by_one() -> None:
    web = Chat(history=0).connect()
    web.sends(GET * 1000)
    assert web.reads().count(b"HTTP/1.1 200") == 1000


def test_a_request_may_come_byte_by_byte() -> None:
    web = Chat().connect()
    for byte in GET:
        web.sends(bytes([byte]))
    assert Answered(web.reads()).status == 200


def test_head_gets_the_answer_of_get_without_its_body() -> None:
    web = Chat().connect()
    answered = web.asks("HEAD", "/")
    assert answered.status == 200
    assert int(answered.headers["content-length"]) > 0
    assert answered.rest == b""
    assert web.asks("GET", "/rooms").status == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /?" + b"&a" * (MOST_FIELDS + 1) + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\na: " + b"a" * MOST_HEAD, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * MOST_FIELDS + b"\r\n", 431),
        (b"POST /rooms/lobby HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MOST_BODY + 1), 413),
    ],
)
def test_what_is_no_request_or_too_large_is_refused_and_ends_the_connection(
    request_: bytes, status: int
) -> None:
    web = Chat().connect()
    web.sends(request_)
    assert Answered(web.reads()).status == status
    assert web.transport.disconnecting


def test_chunks_that_are_too_large_together_are_refused() -> None:
    web = Chat().connect()
    web.sends(b"POST /rooms/lobby HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    for _ in range(5):
        web.sends(chunk)
    assert Answered(web.reads()).status == 413
    assert web.transport.disconnecting


def test_a_client_that_waits_is_told_to_send_the_body() -> None:
    web = Chat().connect()
    head = f"POST /rooms/lobby HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\nExpect: 100-continue"
    web.sends(f"{head}\r\n\r\n".encode())
    assert Answered(web.reads()).status == 100
    web.sends(b"hi")
    assert Answered(web.reads()).status == 201


def test_a_slow_request_is_refused_and_a_silent_connection_closed() -> None:
    chat = Chat()
    slow, silent = chat.connect(), chat.connect()
    slow.sends(GET[:10])
    chat.passes(REQUEST_SECONDS)
    assert Answered(slow.reads()).status == 408
    assert slow.transport.disconnecting
    chat.passes(KEPT_SECONDS - REQUEST_SECONDS)
    assert silent.transport.disconnecting
    assert silent.reads() == b""


def test_a_client_that_ends_its_side_gets_its_answer() -> None:
    web = Chat().connect()
    web.sends(GET)
    web.protocol.readConnectionLost()
    assert Answered(web.reads()).status == 200
    assert web.transport.disconnecting


def test_a_fault_of_one_request_is_logged_and_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = Chat()

    async def broken(request: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(chat.site, "answer", broken)
    web = chat.connect()
    assert web.asks("GET", "/").status == 500
    monkeypatch.undo()
    assert web.asks("GET", "/").status == 200


@pytest.mark.parametrize(
    ("target", "content_type"),
    [
        ("/", "text/html"),
        ("/-/page.css", "text/css"),
        ("/-/page.js", "text/javascript"),
        ("/-/page.svg", "image/svg+xml"),
    ],
)
def test_the_page_is_served_and_loads_nothing_from_elsewhere(target: str, content_type: str) -> None:
    answered = Chat().connect().asks("GET", target)
    assert answered.headers["content-type"].startswith(content_type)
    assert "default-src 'none'" in answered.headers["content-security-policy"]
    assert b"//cdn" not in answered.body


@pytest.mark.parametrize(
    "target", ["/nowhere", "/-/", "/-/../site.py", "/-/page.py", "/hooks/none", "/events/none"]
)
def test_paths_that_are_not_there_are_refused(target: str) -> None:
    method = "GET" if target.startswith(("/n", "/-")) else "POST"
    assert Chat().connect().asks(method, target).status == 404
