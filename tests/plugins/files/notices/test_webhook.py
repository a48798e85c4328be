import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from socket import create_server, socket
from threading import Event, Thread

import pytest

from sockd_plugins.files.notices.notice import NotDelivered, Notice
from sockd_plugins.files.notices.webhook import Webhook

NOTICE = Notice("0123456789abcdef", "a.txt", 5, "blake3=00ff", "192.0.2.1", "", 1_700_000_000.0)


class Server(HTTPServer):
    """Web server that keeps what it gets."""

    status = 204
    got: list[tuple[str, dict[str, str], bytes]]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.got = []
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def hook(server: Server, secret: str = "") -> Webhook:
    return Webhook(f"http://127.0.0.1:{server.server_port}/hook", secret, "drop")


def test_a_notice_is_posted_as_json(server: Server) -> None:
    hook(server).deliver(NOTICE, Event())
    ((path, fields, body),) = server.got
    assert path == "/hook"
    assert fields["Content-Type"] == "application/json"
    assert "Sockd-Signature" not in fields
    assert json.loads(body)["blake3"] == "00ff"


def test_a_notice_is_signed_with_the_secret(server: Server) -> None:
    hook(server, "s3cret").deliver(NOTICE, Event())
    ((_, fields, body),) = server.got
    expected = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert fields["Sockd-Signature"] == f"sha256={expected}"


@pytest.mark.parametrize("status", [302, 400, 503])
def test_another_answer_than_success_is_a_failure(server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(NotDelivered, match=f"the server answered {status}"):
        hook(server).deliver(NOTICE, Event())
    assert len(server.got) == 1  # a redirection is not followed


def test_a_server_that_is_not_there_is_a_failure(server: Server) -> None:
    with pytest.raises(NotDelivered, match=r"the server cannot be reached: .*refused"):
        Webhook("http://127.0.0.1:1/", "", "drop").deliver(NOTICE, Event())


@pytest.mark.parametrize("url", ["http://user:word@127.0.0.1/", "http://127.0.0.1/\xfc", "http://[::1/"])
def test_an_address_that_cannot_be_used_is_a_failure(url: str) -> None:
    with pytest.raises(NotDelivered, match="the server cannot be reached: "):
        Webhook(url, "", "drop").deliver(NOTICE, Event())


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 70000])
def test_an_answer_that_is_none_of_http_is_a_failure(answer: bytes) -> None:
    with create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=answering, args=(listener, [answer]))
        thread.start()
        with pytest.raises(NotDelivered, match="the server cannot be reached: "):
            Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/", "", "drop").deliver(NOTICE, Event())
        thread.join()


def test_a_server_that_answers_for_ever_is_left_after_the_time_that_it_has() -> None:
    with create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=answering, args=(listener, [b"HTTP/1.1 100 Continue\r\n\r\n"] * 60))
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(NotDelivered, match="the server took more than 1 second"):
            Webhook(url, "", "drop", seconds=1.0).deliver(NOTICE, Event())
        thread.join()


def answering(listener: socket, pieces: Sequence[bytes]) -> None:
    """Answer one client, with a pause after each piece, until it goes."""
    connection, _ = listener.accept()
    with connection, suppress(OSError):
        connection.settimeout(0.2)
        for piece in pieces:
            connection.sendall(piece)
            with suppress(TimeoutError):
                while connection.recv(65536) and len(pieces) > 1:
                    pass
