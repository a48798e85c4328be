from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol

from sockd.tls.credentials import Credentials, Settings
from tests.tls.authority import DAY, NOW, Issued, issue
from tests.tls.ends import Client, Pair, Recorder, connected

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


@pytest.mark.parametrize("version", VERSIONS)
def test_there_is_no_session_before_the_handshake_is_complete(credentials: Credentials, version: int) -> None:
    pair = Pair(credentials, Client(version=version))
    pair.to_server(pair.client.speak())
    assert pair.raw.dataBuffer
    assert pair.stream.protocol is None
    assert not pair.completed
    pair.exchange()
    assert (pair.completed, pair.protocol.made) == (1, 1)
    assert not pair.failures


@pytest.mark.parametrize("version", VERSIONS)
def test_a_handshake_may_come_byte_by_byte(credentials: Credentials, version: int) -> None:
    pair = Pair(credentials, Client(version=version))
    for _ in range(4):
        for byte in pair.client.speak():
            pair.to_server(bytes([byte]))
        pair.raw.turn()
        pair.to_client()
    assert pair.completed == 1
    pair.say(b"hello")
    assert pair.protocol.data == b"hello"


def greet(credentials: Credentials, protocol: Protocol) -> Pair:
    """Let the client's last message of the handshake and its first data come in one read."""
    pair = Pair(credentials, Client(), protocol)
    pair.to_server(pair.client.speak())
    pair.raw.turn()
    pair.to_client()
    pair.to_server(pair.client.speak() + pair.client.encrypt(b"at once") + pair.client.encrypt(b", more"))
    return pair


def test_data_that_comes_with_the_end_of_the_handshake_is_delivered(credentials: Credentials) -> None:
    pair = greet(credentials, Recorder())
    assert pair.protocol.made == 1
    assert pair.protocol.data == b"at once, more"


def test_a_protocol_that_pauses_at_once_gets_that_data_when_it_resumes(credentials: Credentials) -> None:
    class Paused(Recorder):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.pauseProducing()  # type: ignore[attr-defined]

    pair = greet(credentials, Paused())
    assert not pair.protocol.reads
    assert not pair.raw.reading
    pair.stream.resumeProducing()
    assert pair.protocol.data == b"at once, more"
    assert pair.raw.reading


def test_a_protocol_that_aborts_at_once_gets_nothing(credentials: Credentials) -> None:
    class Aborting(Recorder):
        def connectionMade(self) -> None:
            assert self.transport is not None
            self.transport.abortConnection()  # type: ignore[attr-defined]

    pair = greet(credentials, Aborting())
    pair.exchange()
    assert not pair.protocol.reads
    assert pair.protocol.ends == ["ConnectionAborted"]
    assert not pair.failures


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"CONNECT localhost:443 HTTP/1.1\r\n\r\n", bytes(100)],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_a_peer_that_speaks_no_tls_is_told_apart(credentials: Credentials, said: bytes, size: int) -> None:
    pair = Pair(credentials, Client())
    for start in range(0, len(said), size):
        pair.to_server(said[start : start + size])
    assert not pair.failures, "it is not over before the connection is gone"
    pair.raw.turn()
    assert pair.failures == ["not tls"]
    assert not pair.completed


def refused(credentials: Credentials, client: Client) -> tuple[list[str], str]:
    """Return why there was no session, as the server and as the client saw it."""
    pair = Pair(credentials, client)
    pair.exchange()
    assert not pair.completed
    assert pair.raw.lost
    return pair.failures, client.error


def test_a_client_without_a_modern_version_is_refused(credentials: Credentials) -> None:
    assert refused(credentials, Client(version=SSL.TLS1_1_VERSION)) == (
        ["tls version"],
        "tlsv1 alert protocol version",
    )


def test_the_lowest_version_can_be_raised(server: Issued, tmp_path: Path) -> None:
    credentials = Credentials(Settings(*server.write(tmp_path), min_version="1.3"))
    assert refused(credentials, Client(version=SSL.TLS1_2_VERSION))[0] == ["tls version"]
    connected(credentials)


@pytest.mark.parametrize("cipher", [b"AES128-GCM-SHA256", b"ECDHE-ECDSA-AES128-SHA"])
def test_a_client_without_a_modern_cipher_is_refused(credentials: Credentials, cipher: bytes) -> None:
    client = Client(version=SSL.TLS1_2_VERSION, ciphers=cipher + b":@SECLEVEL=0")
    assert refused(credentials, client)[0] == ["no shared cipher"]


def test_a_client_that_does_not_trust_the_certificate_is_told_apart(
    credentials: Credentials, stranger: Issued
) -> None:
    assert refused(credentials, Client(trust=stranger))[0] == ["certificate not trusted"]


def test_a_client_verifies_the_chain_that_the_server_sends(root: Issued, tmp_path: Path) -> None:
    between = issue("between", issuer=root, authority=True)
    credentials = Credentials(Settings(*issue("localhost", issuer=between).write(tmp_path)))
    connected(credentials, trust=root)


@pytest.fixture
def asking(server: Issued, root: Issued, tmp_path: Path) -> Settings:
    """Return credentials that ask for client certificates."""
    authorities = tmp_path / "clients.pem"
    authorities.write_bytes(root.pem)
    return Settings(*server.write(tmp_path), client_ca=authorities)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_must_show_a_certificate_where_it_is_required(asking: Settings, version: int) -> None:
    assert refused(Credentials(asking), Client(version=version))[0] == ["no client certificate"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_may_come_without_a_certificate_where_it_is_optional(asking: Settings, version: int) -> None:
    credentials = Credentials(Settings(asking.certificate, asking.key, (), asking.client_ca, "optional"))
    assert connected(credentials, version=version).stream.getPeerCertificate() is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("policy", ["required", "optional"])
def test_a_client_certificate_is_verified_and_shown(
    asking: Settings, root: Issued, stranger: Issued, policy: str, version: int
) -> None:
    credentials = Credentials(
        Settings(asking.certificate, asking.key, (), asking.client_ca, policy)  # type: ignore[arg-type]
    )
    good = issue("ann", issuer=root)
    shown = connected(credentials, version=version, identity=good).stream.getPeerCertificate()
    assert shown is not None
    assert shown.to_cryptography() == good.certificate
    for bad in (
        issue("ann", issuer=stranger),
        issue("ann", issuer=root, ends=NOW - DAY),
        issue("ann", issuer=root, begins=NOW + DAY),
    ):
        client = Client(version=version, identity=bad)
        assert refused(credentials, client)[0] == ["client certificate refused"]


def test_an_authority_for_clients_need_not_be_a_root(server: Issued, root: Issued, tmp_path: Path) -> None:
    between = issue("between", issuer=root, authority=True)
    authorities = tmp_path / "clients.pem"
    authorities.write_bytes(between.pem)
    credentials = Credentials(Settings(*server.write(tmp_path), client_ca=authorities))
    connected(credentials, identity=issue("ann", issuer=between))
    assert refused(credentials, Client(identity=issue("ann", issuer=root)))[0] == [
        "client certificate refused"
    ]


def test_client_and_server_agree_on_the_protocol_that_the_server_prefers(
    server: Issued, tmp_path: Path
) -> None:
    credentials = Credentials(Settings(*server.write(tmp_path), alpn=("irc", "chat")))
    assert connected(credentials, alpn=[b"chat", b"irc"]).stream.negotiatedProtocol == b"irc"
    assert connected(credentials, alpn=[b"x", b"chat"]).stream.negotiatedProtocol == b"chat"
    assert connected(credentials).stream.negotiatedProtocol is None
    assert refused(credentials, Client(alpn=[b"x"])) == (
        ["no shared protocol"],
        "tlsv1 alert no application protocol",
    )


def test_a_peer_that_goes_during_the_handshake_is_a_failure(credentials: Credentials) -> None:
    pair = Pair(credentials, Client())
    pair.to_server(pair.client.speak())
    pair.raw.end_of_file()
    pair.raw.turn()
    assert pair.failures == ["peer closed"]
    reset = Pair(credentials, Client())
    reset.raw.lose(ConnectionLost())
    assert reset.failures == ["peer closed"]


@pytest.mark.parametrize("way", ["abortConnection", "loseConnection"])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_handshake_can_be_given_up(credentials: Credentials, way: str, steps: int) -> None:
    pair = Pair(credentials, Client())
    for _ in range(steps):
        pair.to_server(pair.client.speak())
    getattr(pair.stream, way)()
    pair.exchange()
    assert pair.raw.lost
    assert pair.failures == ["aborted"]
    assert not pair.completed


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_resumed(credentials: Credentials, version: int) -> None:
    """The server needs less time than for a handshake."""
    first = connected(credentials, version=version)
    again = connected(credentials, version=version, again=first.client)
    again.say(b"hello")
    assert again.protocol.data == b"hello"
    certificate = credentials.identities[0].chain[0].public_bytes(Encoding.DER)
    assert len(again.raw.taken) < len(first.raw.taken) - len(certificate), "it was shown again"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_with_a_client_certificate_is_resumed_until_the_files_change(
    asking: Settings, root: Issued, version: int
) -> None:
    credentials = Credentials(asking)
    ann = issue("ann", issuer=root)
    first = connected(credentials, version=version, identity=ann)
    again = connected(credentials, version=version, again=first.client)
    shown = again.stream.getPeerCertificate()
    assert shown is not None
    assert shown.to_cryptography() == ann.certificate
    assert asking.client_ca is not None
    asking.client_ca.write_bytes(root.pem + root.pem)
    assert credentials.refresh()
    assert refused(credentials, Client(version=version, again=again.client))[0] == ["no client certificate"]


def test_a_client_cannot_renegotiate(credentials: Credentials) -> None:
    pair = connected(credentials, version=SSL.TLS1_2_VERSION)
    pair.client.tls.renegotiate()
    pair.client.ready = False
    pair.exchange()
    assert "no renegotiation" in pair.client.error
    assert pair.stream.getHandle().total_renegotiations() == 0


@given(st.lists(st.binary(min_size=1), max_size=5), st.booleans())
def test_random_bytes_cause_one_failure_and_no_session(
    credentials: Credentials, said: list[bytes], begin_well: bool
) -> None:
    pair = Pair(credentials, Client())
    if begin_well:
        pair.to_server(pair.client.speak())
    for data in said:
        pair.to_server(data)
        pair.raw.turn()
    pair.raw.end_of_file()
    pair.raw.turn()
    assert len(pair.failures) == 1
    assert not pair.completed
