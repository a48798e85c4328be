"""The HTTP port, in memory and as a browser sees it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from sockd.control.hosts import Hosts
from sockd.control.pages import (
    LIFETIME,
    MOST_CONNECTIONS,
    MOST_HEADER,
    SNAPSHOT_AGE,
    SNAPSHOT_TIMEOUT,
    Channel,
    ChannelFactory,
    Pages,
)

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "sockd/control/page"
SNAPSHOT: dict[str, Any] = json.loads((HERE.with_name("telemetry") / "snapshot.json").read_text())


class Web:
    """The port, without a socket."""

    def __init__(self, snapshot: Callable[[], Any]) -> None:
        self.clock = Clock()
        self.factory = ChannelFactory(Pages(snapshot, self.clock, Hosts(["status.example"])), self.clock)

    def connect(self) -> Peer:
        return Peer(self.factory.buildProtocol(None))

    def ask(self, path: str, method: str = "GET", more: bytes = b"", host: str = "localhost") -> Peer:
        peer = self.connect()
        peer.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n".encode() + (more or b"\r\n"))
        return peer


class Transport(StringTransport):
    """One that can end one side."""

    def loseWriteConnection(self) -> None:
        self.disconnecting = True


class Peer:
    """Somebody who asks."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.transport: Any = Transport()  # type: ignore[no-untyped-call]  # Twisted's
        channel.makeConnection(self.transport)  # type: ignore[no-untyped-call]  # Twisted's

    def send(self, data: bytes) -> None:
        self.channel.dataReceived(data)

    def leave(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def cut(self) -> bool:
        return bool(self.transport.disconnected)

    @property
    def closed(self) -> bool:
        return bool(self.transport.disconnecting or self.transport.disconnected)

    @property
    def said(self) -> bytes:
        said: bytes = self.transport.value()
        return said

    @property
    def code(self) -> int:
        return int(self.said.split()[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.said.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return dict(line.split(": ", 1) for line in lines)

    @property
    def body(self) -> bytes:
        return self.said.partition(b"\r\n\r\n")[2]


@pytest.fixture
def web() -> Web:
    return Web(lambda: SNAPSHOT)


def failing() -> dict[str, Any]:
    raise RuntimeError("no snapshot")


@pytest.mark.parametrize(
    ("path", "content_type", "says"),
    [
        ("/", "text/html", b"<title>sockd"),
        ("/page.css", "text/css", b"prefers-color-scheme: dark"),
        ("/page.js", "text/javascript", b"status.json"),
        ("/page.svg", "image/svg+xml", b"<svg"),
        ("/metrics", "text/plain; version=0.0.4", b"# TYPE sockd_connections gauge"),
        ("/status.json", "application/json", b'"name":"chat"'),
        ("/healthz", "text/plain", b"ok\n"),
        ("/readyz", "text/plain", b"ready\n"),
    ],
)
def test_each_path_has_its_answer(web: Web, path: str, content_type: str, says: bytes) -> None:
    peer = web.ask(path)
    assert peer.code == 200
    assert peer.headers["Content-Type"].startswith(content_type)
    assert says in peer.body
    assert int(peer.headers["Content-Length"]) == len(peer.body)
    assert peer.closed


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing"])
def test_every_answer_keeps_browsers_from_doing_more_than_show_it(web: Web, path: str) -> None:
    headers = web.ask(path).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/metrics?x=1", "/status.json?a[]=%00", "/?"])
def test_a_query_changes_nothing(web: Web, path: str) -> None:
    assert web.ask(path).body == web.ask(path.partition("?")[0]).body


@pytest.mark.parametrize("path", ["/page", "/page/", "/../pages.py", "/page.html/", "/%2e%2e/pages.py", "*"])
def test_there_is_nothing_else(web: Web, path: str) -> None:
    assert web.ask(path).code == 404


def test_head_is_get_without_its_body(web: Web) -> None:
    head, get = web.ask("/metrics", "HEAD"), web.ask("/metrics")
    assert (head.headers, head.body) == (get.headers, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_nothing_can_be_done_but_look(web: Web, method: str) -> None:
    peer = web.ask("/", method)
    assert (peer.code, peer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("state", ["starting", "stopping"])
def test_a_server_that_does_not_serve_is_healthy_but_not_ready(state: str) -> None:
    web = Web(lambda: SNAPSHOT | {"state": state})
    assert (web.ask("/readyz").code, web.ask("/readyz").body) == (503, f"{state}\n".encode())
    assert web.ask("/healthz").code == 200


def test_a_server_without_its_broker_is_healthy_but_not_ready() -> None:
    broker = {"state": "away", "server": "", "reason": "nats://127.0.0.1:4222: refused"}
    away = Web(lambda: SNAPSHOT | {"broker": broker})
    assert away.ask("/readyz").code == 503
    assert away.ask("/readyz").body == b"broker away: nats://127.0.0.1:4222: refused\n"
    assert b"sockd_broker_connected 0.0" in away.ask("/metrics").body
    assert away.ask("/healthz").code == 200
    back = Web(lambda: SNAPSHOT | {"broker": broker | {"state": "connected"}})
    assert back.ask("/readyz").code == 200
    assert b"sockd_broker_connected 1.0" in back.ask("/metrics").body


def test_a_server_that_cannot_tell_its_status_is_healthy() -> None:
    web = Web(failing)
    assert [web.ask(path).code for path in ("/metrics", "/status.json", "/readyz")] == [500] * 3
    assert [web.ask(path).code for path in ("/", "/healthz")] == [200] * 2


def test_what_fails_is_written_once_until_it_works_again() -> None:
    outcomes = iter([failing, failing, lambda: SNAPSHOT, failing])
    web = Web(lambda: next(outcomes)())
    with capturedLogs() as events:
        for _ in range(4):
            web.ask("/metrics")
            web.clock.advance(SNAPSHOT_AGE)
    assert [event["log_format"] for event in events] == ["status page failed"] * 2


def test_a_snapshot_may_come_later() -> None:
    coming: Deferred[dict[str, Any]] = Deferred()
    peer = Web(lambda: coming).ask("/readyz")
    assert not peer.said
    coming.callback(SNAPSHOT)
    assert peer.body == b"ready\n"


def test_a_snapshot_that_does_not_come_is_waited_for_only_so_long() -> None:
    web = Web(Deferred)
    peer = web.ask("/metrics")
    web.clock.advance(SNAPSHOT_TIMEOUT)
    assert (peer.code, peer.body) == (503, b"the daemon did not tell its status in time\n")


def test_a_peer_that_leaves_before_its_answer_is_nothing_to_worry_about() -> None:
    coming: Deferred[dict[str, Any]] = Deferred()
    web = Web(lambda: coming)
    peer = web.ask("/metrics")
    peer.leave()
    coming.callback(SNAPSHOT)
    assert not peer.said
    assert not web.factory.open
    assert not web.clock.getDelayedCalls()


def test_many_looks_at_once_are_one() -> None:
    states = iter(["starting", "ready"])
    web = Web(lambda: SNAPSHOT | {"state": next(states)})
    assert [web.ask("/readyz").code for _ in range(5)] == [503] * 5
    web.clock.advance(SNAPSHOT_AGE)
    assert web.ask("/readyz").code == 200


def test_a_request_may_come_byte_by_byte(web: Web) -> None:
    peer = web.ask("/healthz", more=b"X: y\r\n")
    for byte in b"\r\n":
        peer.send(bytes([byte]))
    assert peer.body == b"ok\n"


def test_there_is_one_request_on_a_connection(web: Web) -> None:
    peer = web.ask("/healthz", more=b"\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    peer.send(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert peer.said.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"x" * MOST_HEADER * 3,
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * MOST_HEADER * 3,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * MOST_HEADER,
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_request_or_too_long_ends_the_connection(web: Web, request_: bytes) -> None:
    peer = web.connect()
    peer.send(request_)
    assert peer.closed
    assert b" 200 " not in peer.said


@pytest.mark.parametrize("length", [b"Content-Length: 1000000000", b"Transfer-Encoding: chunked"])
def test_nothing_is_kept_of_a_body(web: Web, length: bytes) -> None:
    peer = web.ask("/healthz", more=length + b"\r\n\r\n")
    peer.send(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
    [request] = peer.channel.requests
    assert request.content.getvalue() == b""
    peer.leave()


def test_a_request_with_a_body_is_answered_as_one_without(web: Web) -> None:
    assert web.ask("/healthz", more=b"Content-Length: 5\r\n\r\nhello").body == b"ok\n"


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"])
def test_a_connection_that_gets_nowhere_is_cut(web: Web, sent: bytes) -> None:
    peer = web.connect()
    web.clock.advance(LIFETIME - 1)
    peer.send(sent)
    assert not peer.closed
    web.clock.advance(1)
    assert peer.closed


def test_a_probe_is_answered_while_silent_connections_hold_every_place(web: Web) -> None:
    silent = [web.connect() for _ in range(MOST_CONNECTIONS)]
    assert web.ask("/healthz").code == 200
    assert [peer.cut for peer in silent] == [True] + [False] * (MOST_CONNECTIONS - 1)


def test_whoever_has_been_silent_for_longest_makes_room(web: Web) -> None:
    first, second, *_ = [web.connect() for _ in range(MOST_CONNECTIONS)]
    first.send(b"GET /healthz HTTP/1.1\r\n")
    web.connect()
    assert (first.cut, second.cut) == (False, True)


def test_whoever_waits_for_an_answer_outlives_the_silent_ones() -> None:
    coming: Deferred[dict[str, Any]] = Deferred()
    web = Web(lambda: coming)
    probe = web.ask("/readyz")
    for _ in range(3 * MOST_CONNECTIONS):
        web.connect()
    coming.callback(SNAPSHOT)
    assert probe.body == b"ready\n"
    assert len(web.factory.open) <= MOST_CONNECTIONS


def test_answers_that_nobody_takes_hold_no_place(web: Web) -> None:
    for _ in range(MOST_CONNECTIONS):
        web.ask("/metrics")
    assert web.ask("/healthz").code == 200
    assert not web.factory.open


@pytest.mark.parametrize(
    "host",
    [
        "localhost:9100",
        "LOCALHOST.",
        "a.localhost",
        "127.0.0.1:9100",
        "192.0.2.7",
        "[::1]:9100",
        "Status.Example",
    ],
)
@pytest.mark.parametrize("path", ["/", "/status.json"])
def test_a_browser_may_ask_under_addresses_and_names_of_our_own(web: Web, host: str, path: str) -> None:
    assert web.ask(path, host=host).code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9100",
        "127.0.0.1.evil.example",
        "[evil]",
        "localhost@evil",
        "1.2.3",
        "::1",
    ],
)
@pytest.mark.parametrize("path", ["/", "/page.js", "/status.json", "/status.json?x=1"])
def test_a_page_from_elsewhere_reads_nothing(web: Web, host: str, path: str) -> None:
    peer = web.ask(path, host=host)
    assert peer.code == 421
    assert peer.body.startswith(b"this page is not served under this name: ask for localhost")
    assert peer.body.count(b"\n") == 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_may_use_any_name(web: Web, path: str) -> None:
    assert web.ask(path, host="sockd.monitoring.svc:9100").code == 200


def test_who_names_no_host_is_no_browser(web: Web) -> None:
    peer = web.connect()
    peer.send(b"GET /status.json HTTP/1.0\r\n\r\n")
    assert peer.code == 200


@pytest.mark.parametrize(
    "target", ["http://localhost:9100/healthz", "HTTP://[::1]/healthz?x", "https://x/healthz"]
)
def test_a_target_may_be_a_whole_url(web: Web, target: str) -> None:
    assert web.ask(target).body == b"ok\n"


def test_the_host_of_a_whole_url_counts_more_than_the_header(web: Web) -> None:
    assert web.ask("http://evil.example/status.json").code == 421
    assert web.ask("http://127.0.0.1/status.json", host="evil.example").code == 200
    assert b"<title>" in web.ask("http://localhost").body


@pytest.mark.parametrize("cookies", [1, 30])
def test_foreign_cookies_do_no_harm(web: Web, cookies: int) -> None:
    header = b"".join(b"Cookie: a=%s\r\n" % (b"x" * (48_000 // cookies)) for _ in range(cookies))
    assert web.ask("/metrics", more=header + b"\r\n").code == 200


@pytest.mark.parametrize(
    "header", [b"X: " + b"y" * MOST_HEADER + b"\r\n", b"X: " + b"y" * MOST_HEADER * 2, b"X: y\r\n" * 600]
)
def test_too_long_a_header_is_told_so(web: Web, header: bytes) -> None:
    peer = web.ask("/healthz", more=header)
    assert (peer.code, peer.body) == (431, b"expected a header of at most 65536 bytes\n")


def test_who_is_there_when_the_port_closes_is_cut(web: Web) -> None:
    peer = web.connect()
    web.factory.cut()
    assert peer.closed


def test_the_page_needs_nothing_from_elsewhere(web: Web) -> None:
    text = (PAGE / "page.html").read_text()
    wanted = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert {web.ask(f"/{name}").code for name in wanted} == {200}
    for file in PAGE.iterdir():
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg\")", file.read_text())


def test_the_page_makes_no_markup_of_text() -> None:
    script = (PAGE / "page.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", script)


# ---- in a browser

Look = Callable[..., str]


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Look]:
    """Gives the status page of an imagined server after some seconds, as the browser's document."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium is installed")
    with ExitStack() as stack:

        def looked(*traits: str, seconds: int = 10) -> str:
            command = [sys.executable, str(HERE / "status_server.py"), *traits]
            server = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(server.kill)
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}/"
            options = [f"--user-data-dir={tmp_path}", f"--virtual-time-budget={seconds * 1000}", "--dump-dom"]
            return subprocess.run(
                [
                    chromium,
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-extensions",
                    *options,
                    url,
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            ).stdout

        yield looked


def cells(document: str, table: str) -> list[list[str]]:
    """The rows of a table as text."""
    [body] = re.findall(rf'<table id="{table}">.*?<tbody>(.*?)</tbody>', document, re.DOTALL)
    return [
        [html.unescape(text) for text in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", body)
    ]


def says(document: str, name: str) -> str:
    [text] = re.findall(rf'id="{name}"[^>]*>(.*?)</', document, re.DOTALL)
    return html.unescape(text)


def test_a_browser_shows_what_the_server_tells(look: Look) -> None:
    document = look("workers")
    assert "data-error" not in document
    assert says(document, "state") == "ready"
    about = says(document, "about").replace("\xa0", " ")
    assert about.startswith("version 1.0.0 · UVReactor · process 4711 · up 3 d")
    services = {row[0]: row[1:] for row in cells(document, "services")}
    assert list(services) == ["chat", "echo", "files", "time"]
    assert services["files"][:6] == ["files", "paused", "5 / 50", "0", "3", "3"]
    assert services["files"][6].endswith(" MB/s")
    assert services["time"] == ["time", "open", "0 / 10,000", "918", "9", "0", "0 B/s", "0 B/s"]
    listeners = {row[0]: row[1:] for row in cells(document, "listeners")}
    assert listeners["tcp:0.0.0.0:6697"][3] == "3 / 1,024"
    assert listeners["udp:0.0.0.0:7007"] == ["echo", "default", "", "", "118"]
    assert [row[:4] for row in cells(document, "workers")] == [
        ["0", "ready", "4712", "1"],
        ["1", "ready", "4713", "1"],
    ]


def test_a_browser_says_when_the_configuration_is_not_the_one_that_is_served(look: Look) -> None:
    assert 'id="unserved" class="notice" role="status" hidden' in look()
    document = look("unserved")
    assert 'id="unserved" class="notice" role="status">The configuration that was read last is' in document
    assert says(document, "state") == "ready"


def test_a_browser_says_when_the_server_is_gone(look: Look) -> None:
    document = look("gone")
    assert "data-error" not in document
    assert says(document, "state") == "no answer"
    assert says(document, "gone").startswith("The daemon has not answered since ")
    assert 'id="main" class="stale"' in document


def test_a_browser_goes_on_when_the_server_is_back(look: Look) -> None:
    document = look("back", seconds=15)
    assert says(document, "state") == "ready"
    assert 'role="alert" hidden' in document
    assert cells(document, "services")[0][7].endswith("/s")
