from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sockd.tls.credentials import Credentials, Settings
from sockd.tls.pem import MAX_FILE, CredentialsFault
from tests.tls.authority import DAY, NOW, Issued, issue
from tests.tls.ends import Client, Pair, connected


def shown(credentials: Credentials, name: bytes = b"") -> object:
    """Return the certificate that a client sees."""
    client = connected(credentials, name=name).client
    return client.tls.get_peer_certificate(as_cryptography=True)


def test_certificate_and_key_may_stand_in_one_file(server: Issued, tmp_path: Path) -> None:
    path = tmp_path / "both.pem"
    path.write_bytes(server.key_pem() + server.chain)
    assert shown(Credentials(Settings(path))) == server.certificate
    path.write_bytes(server.chain + server.key_pem())
    assert shown(Credentials(Settings(path))) == server.certificate


def test_the_certificate_is_chosen_by_the_name_that_the_client_asks_for(
    server: Issued, root: Issued, tmp_path: Path
) -> None:
    plain = issue("Chat.example", issuer=root)
    wild = issue("*.example.org", "192.0.2.7", issuer=root)
    credentials = Credentials(
        Settings(
            *server.write(tmp_path),
            more=(plain.write(tmp_path, "plain"), wild.write(tmp_path, "wild")),
        )
    )
    for name, chosen in {
        b"": server,
        b"localhost": server,
        b"unknown.example": server,
        b"chat.example": plain,
        b"CHAT.Example": plain,
        b"chat.example.": plain,
        b"a.example.org": wild,
        b"a.b.example.org": server,
        b"example.org": server,
        b"192.0.2.7": wild,
        b"\xff.example.org": wild,
    }.items():
        assert shown(credentials, name) == chosen.certificate, name
    assert credentials.names == ("localhost", "chat.example", "*.example.org", "192.0.2.7")


def test_a_certificate_by_name_asks_for_client_certificates_too(
    server: Issued, root: Issued, tmp_path: Path
) -> None:
    authorities = tmp_path / "clients.pem"
    authorities.write_bytes(root.pem)
    other = issue("other.example", issuer=root).write(tmp_path, "other")
    credentials = Credentials(
        Settings(*server.write(tmp_path), more=(other,), client_ca=authorities, alpn=("chat",))
    )
    pair = Pair(credentials, Client(name=b"other.example"))
    pair.exchange()
    assert pair.failures == ["no client certificate"]
    ann = issue("ann", issuer=root)
    good = connected(credentials, name=b"other.example", identity=ann, alpn=[b"chat"])
    assert good.stream.negotiatedProtocol == b"chat"


def test_the_first_certificate_to_expire_is_told(server: Issued, root: Issued, tmp_path: Path) -> None:
    soon = issue("soon.example", issuer=root, ends=NOW + DAY)
    credentials = Credentials(Settings(*server.write(tmp_path), more=(soon.write(tmp_path, "soon"),)))
    assert credentials.expires == soon.certificate.not_valid_after_utc
    assert [identity.expires for identity in credentials.identities] == [
        server.certificate.not_valid_after_utc,
        soon.certificate.not_valid_after_utc,
    ]


def test_a_private_key_is_not_shown_in_a_log(credentials: Credentials) -> None:
    assert "PrivateKey" not in repr(credentials.identities)


# Files that change.


def test_new_handshakes_use_new_files_and_running_connections_stay(
    server: Issued, root: Issued, tmp_path: Path
) -> None:
    credentials = Credentials(Settings(*server.write(tmp_path)))
    assert not credentials.refresh()
    old = connected(credentials)
    renewed = issue("localhost", issuer=root)
    renewed.write(tmp_path)
    assert credentials.refresh()
    assert not credentials.refresh()
    assert shown(credentials) == renewed.certificate
    old.say(b"still here")
    assert old.protocol.data == b"still here"


def test_a_handshake_that_has_begun_ends_with_the_files_it_began_with(
    server: Issued, root: Issued, tmp_path: Path
) -> None:
    credentials = Credentials(Settings(*server.write(tmp_path)))
    pair = Pair(credentials, Client())
    issue("localhost", issuer=root).write(tmp_path)
    assert credentials.refresh()
    pair.exchange()
    assert pair.client.tls.get_peer_certificate(as_cryptography=True) == server.certificate


def test_a_link_to_other_files_is_a_change(server: Issued, root: Issued, tmp_path: Path) -> None:
    renewed = issue("localhost", issuer=root)
    first, second = tmp_path / "1", tmp_path / "2"
    for folder, issued in ((first, server), (second, renewed)):
        folder.mkdir()
        issued.write(folder)
    live = tmp_path / "live"
    live.symlink_to(first)
    credentials = Credentials(Settings(live / "server.pem", live / "server.key"))
    new = tmp_path / "new"
    new.symlink_to(second)
    new.rename(live)
    assert credentials.refresh()
    assert shown(credentials) == renewed.certificate


def test_half_a_change_leaves_what_was_there_until_the_other_half_comes(
    server: Issued, root: Issued, tmp_path: Path
) -> None:
    certificate, key = server.write(tmp_path)
    credentials = Credentials(Settings(certificate, key))
    renewed = issue("localhost", issuer=root)
    certificate.write_bytes(renewed.chain)
    for _ in range(2):
        with pytest.raises(CredentialsFault, match="found that of another certificate"):
            credentials.refresh()
        assert shown(credentials) == server.certificate
    key.write_bytes(renewed.key_pem())
    assert credentials.refresh()
    assert shown(credentials) == renewed.certificate


def test_a_file_that_is_gone_leaves_what_was_there(server: Issued, tmp_path: Path) -> None:
    certificate, key = server.write(tmp_path)
    credentials = Credentials(Settings(certificate, key))
    key.unlink()
    with pytest.raises(CredentialsFault, match="no such file"):
        credentials.refresh()
    assert shown(credentials) == server.certificate


# Files that cannot be used.


def test_every_unusable_file_is_reported_at_once(tmp_path: Path) -> None:
    settings = Settings(
        tmp_path / "a.pem", more=((tmp_path / "b.pem", None),), client_ca=tmp_path / "clients.pem"
    )
    with pytest.raises(CredentialsFault) as fault:
        Credentials(settings)
    assert [problem.path.name for problem in fault.value.problems] == ["a.pem", "b.pem", "clients.pem"]
    assert str(fault.value).count("cannot be read: no such file or directory") == 3


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def large(path: Path) -> None:
    path.write_bytes(b"-----BEGIN" + bytes(MAX_FILE))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.mkdir, "found a folder"),
        (pipe, "found a pipe"),
        (endless, "found a device"),
        (large, "at most 1048576 bytes"),
        (Path.touch, "found no -----BEGIN CERTIFICATE-----"),
    ],
)
def test_reading_is_bounded(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "server.pem"
    make(path)
    with pytest.raises(CredentialsFault, match=message):
        Credentials(Settings(path))


def test_an_unusable_file_is_explained(server: Issued, root: Issued, tmp_path: Path) -> None:
    certificate, key = server.write(tmp_path)

    def fault(settings: Settings) -> str:
        with pytest.raises(CredentialsFault) as caught:
            Credentials(settings)
        return str(caught.value)

    other = tmp_path / "other"
    other.write_bytes(server.key_pem(b"secret"))
    assert "the private key is encrypted" in fault(Settings(certificate, other))
    other.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert "the private key cannot be parsed" in fault(Settings(certificate, other))
    exchange = X25519PrivateKey.generate()
    other.write_bytes(exchange.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert "found one that TLS does not use" in fault(Settings(certificate, other))
    other.write_bytes(server.certificate.public_bytes(Encoding.DER))
    assert "found DER" in fault(Settings(other, key))
    assert "found DER" in fault(Settings(certificate, other))
    assert "expected a private key in PEM" in fault(Settings(certificate, certificate))
    other.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert "one that cannot be parsed" in fault(Settings(other, key))
    other.write_bytes(root.pem + server.pem)
    assert "found it in place 2: move it up" in fault(Settings(other, key))
    assert "none of TLS 1.2 in 'nonsense'" in fault(Settings(certificate, key, ciphers="nonsense"))
    assert "none of TLS 1.2 in ''" in fault(Settings(certificate, key, ciphers=""))
    weak = issue("localhost", rsa_bits=1024).write(tmp_path, "weak")
    assert "OpenSSL does not take the certificate: ee key too small" in fault(Settings(*weak))
