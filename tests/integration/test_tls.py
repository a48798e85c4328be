"""TLS in front of every stream service, as ordinary clients speak it."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from running import PATIENCE, Daemon
from serving import serving
from tests.tls.authority import issue

CONFIG = """
[service.echo]
plugin = "echo"
listen = [
  { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem", \
    more = [{ certificate = "other.pem" }], alpn = ["fast", "echo"] } },
  { endpoint = "unix:run/echo.sock", tls = { certificate = "server.pem" } },
]

[service.required]
plugin = "echo"
listen = [
  { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem", \
    client_ca = "root.pem" } },
]

[service.optional]
plugin = "echo"
listen = [
  { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem", \
    client_ca = "root.pem", client_certificate = "optional" } },
]

[service.modern]
plugin = "echo"
listen = [
  { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem", \
    min_version = "1.3" } },
]

[service.impatient]
plugin = "echo"
listen = [
  { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } },
]
limits = { handshake_timeout = "1s", close_timeout = "1s" }

[service.upper]
plugin = "upper"
listen = [{ endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } }]

[service.time]
plugin = "time"
listen = [{ endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } }]

[service.banner]
plugin = "banner"
listen = [{ endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } }]
options.text = "This is socket!"

[service.chat]
plugin = "chat"
listen = [{ endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } }]

[service.desk]
plugin = "desk"
listen = [
  { endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } },
  { endpoint = "tcp:0:interface=127.0.0.1", protocol = "operator", \
    tls = { certificate = "server.pem" } },
]

[service.files]
plugin = "files"
listen = [
  { endpoint = "tcp:0:interface=127.0.0.1", protocol = "upload", \
    tls = { certificate = "server.pem" } },
  { endpoint = "tcp:0:interface=127.0.0.1", protocol = "raw", \
    tls = { certificate = "server.pem" } },
]
options.directory = "received"

[service.web]
plugin = "factory"
listen = [{ endpoint = "tcp:0:interface=127.0.0.1", tls = { certificate = "server.pem" } }]
options.factory = "website:site"
"""

WEBSITE = """
from twisted.web.server import Site
from twisted.web.static import Data

def site():
    page = Data(b"x" * 3_000_000, "application/octet-stream")
    page.isLeaf = True
    return Site(page)
"""


@dataclass(frozen=True)
class Served:
    """Daemon, and the folder of its certificates."""

    daemon: Daemon
    folder: Path

    def context(self, **options: Any) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.folder / "root.pem")
        context.check_hostname = False
        for name, value in options.items():
            setattr(context, name, value)
        return context

    def connect(
        self, service: str, which: int = 0, context: ssl.SSLContext | None = None, name: str = "localhost"
    ) -> ssl.SSLSocket:
        client = socket.create_connection(self.daemon.port(service, which=which), PATIENCE)
        return (context or self.context()).wrap_socket(client, server_hostname=name)

    def with_certificate(self, who: str) -> ssl.SSLContext:
        context = self.context()
        context.load_cert_chain(self.folder / f"{who}.pem", self.folder / f"{who}.key")
        return context

    def port(self, service: str) -> int:
        return self.daemon.port(service)[1]


@pytest.fixture(scope="module", params=["uv", "epoll"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tls")
    root, stranger = issue("root", authority=True), issue("stranger", authority=True)
    for name, issued in {
        "server": issue("localhost", issuer=root),
        "other": issue("other.example", "*.wild.example", issuer=root),
    }.items():
        path = folder / f"{name}.pem"
        path.touch(mode=0o600)
        path.write_bytes(issued.key_pem() + issued.chain)
    issue("client", issuer=root).write(folder, "client")
    issue("strange client", issuer=stranger).write(folder, "stranger")
    root.write(folder, "root")
    (folder / "website.py").write_text(WEBSITE)
    with serving(folder, CONFIG, request.param) as daemon:
        yield Served(daemon, folder)


def all_of(client: ssl.SSLSocket) -> bytes:
    """Read everything up to the end, which must be a close_notify."""
    received = b""
    while data := client.recv(65536):
        received += data
    return received


def until(client: ssl.SSLSocket, wanted: bytes) -> bytes:
    received = b""
    while wanted not in received:
        data = client.recv(65536)
        assert data, received
        received += data
    return received


def test_a_client_that_trusts_the_authority_is_served(served: Served) -> None:
    text = os.urandom(50_000)
    with served.connect("echo") as client:
        received = b""
        client.sendall(text)
        while len(received) < len(text):
            received += client.recv(65536)
    assert received == text


def test_tls_is_spoken_over_unix_sockets_too(served: Served) -> None:
    plain = socket.socket(socket.AF_UNIX)
    plain.settimeout(PATIENCE)
    plain.connect(served.daemon.path("echo"))
    with served.context().wrap_socket(plain, server_hostname="localhost") as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_a_client_that_does_not_trust_the_authority_says_so(served: Served) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        served.connect("echo", context=ssl.create_default_context())
    served.daemon.wait_for("connection refused", service="echo", reason="certificate not trusted")


@pytest.mark.parametrize(
    ("name", "subject"),
    [("localhost", "localhost"), ("other.example", "other.example"), ("a.wild.example", "other.example")],
)
def test_the_name_that_a_client_asks_for_chooses_the_certificate(
    served: Served, name: str, subject: str
) -> None:
    with served.connect("echo", context=served.context(check_hostname=True), name=name) as client:
        certificate: Any = client.getpeercert()
        assert certificate["subject"][0][0][1] == subject


@pytest.mark.parametrize(("offered", "agreed"), [(["echo"], "echo"), (["echo", "fast"], "fast"), ([], None)])
def test_client_and_server_agree_on_a_protocol(
    served: Served, offered: list[str], agreed: str | None
) -> None:
    context = served.context()
    if offered:
        context.set_alpn_protocols(offered)
    with served.connect("echo", context=context) as client:
        assert client.selected_alpn_protocol() == agreed


def use(served: Served, context: ssl.SSLContext) -> bytes:
    """Use the connection, because a TLS 1.3 client hears of a refusal only after the handshake."""
    with served.connect("required", context=context) as client:
        client.sendall(b"hello")
        return client.recv(100)


def test_a_client_certificate_is_required_and_must_be_of_the_authority(served: Served) -> None:
    with served.connect("required", context=served.with_certificate("client")) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    for context in (served.context(), served.with_certificate("stranger")):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            use(served, context)
    served.daemon.wait_for("connection refused", service="required", reason="no client certificate")
    served.daemon.wait_for("connection refused", service="required", reason="client certificate refused")


def test_a_client_certificate_may_be_optional(served: Served) -> None:
    for context in (served.context(), served.with_certificate("client")):
        with served.connect("optional", context=context) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"


def run(served: Served, *command: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, cwd=served.folder, input=text, capture_output=True, timeout=PATIENCE, check=False
    )


def openssl(
    served: Served, service: str, *options: str, text: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    address = f"127.0.0.1:{served.port(service)}"
    return run(served, "openssl", "s_client", "-connect", address, *options, text=text)


def test_openssl_verifies_and_is_served(served: Served) -> None:
    options = ("-CAfile", "root.pem", "-verify_return_error", "-quiet", "-servername", "localhost")
    done = openssl(served, "banner", *options)
    assert (done.stdout, done.returncode) == (b"This is socket!", 0), done.stderr


def test_the_time_comes_over_tls(served: Served) -> None:
    with served.connect("time") as client:
        client.sendall(b"%Y\n")
        assert until(client, b"\n").strip().isdigit()


@pytest.mark.parametrize(("service", "version"), [("echo", "-tls1_1"), ("modern", "-tls1_2")])
def test_an_old_version_is_refused(served: Served, service: str, version: str) -> None:
    done = openssl(served, service, version, "-cipher", "ALL:@SECLEVEL=0")
    assert done.returncode != 0
    served.daemon.wait_for("connection refused", service=service, reason="tls version")


def test_renegotiation_is_refused(served: Served) -> None:
    done = openssl(served, "echo", "-tls1_2", text=b"R\nhello\n")
    assert b"no renegotiation" in done.stderr


def test_curl_fetches_a_large_page(served: Served) -> None:
    port = served.port("web")
    resolve = f"localhost:{port}:127.0.0.1"
    command = ("curl", "-sS", "--cacert", "root.pem", "--noproxy", "*", "--resolve", resolve)
    done = run(served, *command, f"https://localhost:{port}/")
    assert done.stdout == b"x" * 3_000_000, done.stderr


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"x", b"\xff\xfb\x1f"])
def test_a_peer_without_tls_is_refused_with_an_alert(served: Served, said: bytes) -> None:
    with socket.create_connection(served.daemon.port("echo"), PATIENCE) as client:
        client.sendall(said)
        told = b""
        with suppress(ConnectionResetError):
            while data := client.recv(100):
                told += data
    assert told == bytes.fromhex("15 0301 0002 020a")
    served.daemon.wait_for("connection refused", service="echo", reason="not tls")


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02"])
def test_a_handshake_that_stalls_ends(served: Served, said: bytes) -> None:
    with socket.create_connection(served.daemon.port("impatient"), PATIENCE) as client:
        client.sendall(said)
        with pytest.raises(ConnectionResetError):
            client.recv(100)
    served.daemon.wait_for("connection refused", service="impatient", reason="handshake timeout")


def test_a_peer_that_ends_its_side_gets_all_that_is_on_its_way_and_the_end(served: Served) -> None:
    text = ("Große Straße " * 20_000).encode()
    with served.connect("upper") as client:
        client.settimeout(PATIENCE)
        received = b""
        sent = 0
        while sent < len(text):
            sent += client.send(text[sent : sent + 16384])
            received += client.recv(65536)
        while len(received) < len(text.decode().upper().encode()):
            received += client.recv(65536)
        assert received == text.decode().upper().encode()
        client.unwrap()


def test_the_banner_comes_whole_and_its_end_is_said(served: Served) -> None:
    with served.connect("banner") as client:
        assert all_of(client) == b"This is socket!"


def test_two_chat_over_tls(served: Served) -> None:
    with served.connect("chat") as ann, served.connect("chat") as bob:
        ann.sendall(b"/nick ann\n")
        bob.sendall(b"/nick bob\n")
        until(bob, b"bob")
        until(ann, b"bob")
        ann.sendall(b"hello over there\n")
        assert b"ann" in until(bob, b"hello over there")


def test_a_client_and_the_operator_talk_over_tls(served: Served) -> None:
    with served.connect("desk", 1) as operator, served.connect("desk") as client:
        client.sendall(b"is anybody there?\n")
        until(operator, b"is anybody there?")


def test_an_upload_over_tls_is_stored(served: Served) -> None:
    data = os.urandom(300_000)
    with served.connect("files") as client:
        client.sendall(b"put %d sha256=%s up.bin\n" % (len(data), hashlib.sha256(data).hexdigest().encode()))
        client.sendall(data)
        assert b"ok up.bin" in until(client, b"up.bin")
    assert (served.folder / "received" / "up.bin").read_bytes() == data


def test_a_raw_upload_is_whole_with_close_notify_and_nothing_without_it(served: Served) -> None:
    """A stream that is cut must not look like one that ended."""
    data = os.urandom(300_000)
    with served.connect("files", 1) as client:
        client.sendall(data)
        with pytest.raises(ssl.SSLError, match="APPLICATION_DATA_AFTER_CLOSE_NOTIFY"):
            client.unwrap()  # Python takes no answer any more
        wait_for_the_end(client)
    assert data in stored(served)
    before = stored(served)
    with served.connect("files", 1) as client:
        client.sendall(b"only the beginning")
        client.shutdown(socket.SHUT_WR)
        wait_for_the_end(client)
    assert stored(served) == before


def wait_for_the_end(client: ssl.SSLSocket) -> None:
    """Wait for the end of the TCP stream below."""
    with socket.socket(fileno=client.detach()) as plain, suppress(ConnectionResetError):
        plain.settimeout(PATIENCE)
        while plain.recv(65536):
            pass


def stored(served: Served) -> list[bytes]:
    """Return the received files."""
    return [path.read_bytes() for path in sorted((served.folder / "received").iterdir()) if path.is_file()]
