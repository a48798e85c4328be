from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sockd_plugins.files.receipt.webhook import WebhookFailed, post


class Service(HTTPServer):
    """Server that answers with a status, and remembers what it was sent."""

    status = 204

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.seen: list[tuple[str, str | None, str | None, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?a=b"


class Answer(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers["Content-Type"], self.headers["X-Test"], body))
        self.send_response(self.server.status)
        self.send_header("Location", "/other")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_webhook_is_sent_json(service: Service) -> None:
    post(service.url, b"{}", {"X-Test": "1"}, 30)
    assert service.seen == [("/hook?a=b", "application/json", "1", b"{}")]


@pytest.mark.parametrize("status", [302, 404, 500])
def test_another_status_is_a_failure_and_a_redirection_is_not_followed(service: Service, status: int) -> None:
    service.status = status
    with pytest.raises(WebhookFailed, match=f"the answer is {status}"):
        post(service.url, b"{}", {}, 30)
    assert len(service.seen) == 1


def test_a_server_that_is_not_there_is_a_failure(service: Service) -> None:
    url = service.url
    service.server_close()
    with pytest.raises(WebhookFailed):
        post(url, b"{}", {}, 30)
