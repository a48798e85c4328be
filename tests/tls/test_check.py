from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sockd.tls.check import problems
from sockd.tls.credentials import Credentials, Settings
from tests.tls.authority import DAY, NOW, Issued, issue


def told(settings: Settings) -> list[tuple[str, str, str]]:
    return [(problem.severity, problem.path.name, problem.message) for problem in problems(settings, NOW)]


@pytest.fixture
def sound(server: Issued, tmp_path: Path) -> Settings:
    return Settings(*server.write(tmp_path))


def test_there_is_nothing_to_say_of_sound_files(sound: Settings) -> None:
    assert told(sound) == []


@pytest.mark.parametrize(
    ("begins", "ends", "severity", "words"),
    [
        (NOW - 2 * DAY, NOW - DAY, "error", "certificate 1 expired on"),
        (NOW + DAY, NOW + 90 * DAY, "error", "certificate 1 is not valid before"),
        (NOW - 2 * DAY, NOW + 13 * DAY, "warning", "certificate 1 expires on"),
    ],
)
def test_dates_are_checked_but_keep_nobody_from_serving(
    root: Issued, tmp_path: Path, begins: object, ends: object, severity: str, words: str
) -> None:
    issued = issue("localhost", issuer=root, begins=begins, ends=ends)  # type: ignore[arg-type]
    settings = Settings(*issued.write(tmp_path))
    ((found, name, message),) = told(settings)
    assert (found, name) == (severity, "server.pem")
    assert message.startswith(words)
    Credentials(settings)


def test_the_dates_of_issuers_count_too(tmp_path: Path) -> None:
    old = issue("root", authority=True, ends=NOW - DAY)
    settings = Settings(*issue("localhost", issuer=old).write(tmp_path))
    assert told(settings)[0][2].startswith("certificate 2 expired on")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o600, []),
        (0o640, [("warning", "server.key", "its group may read the private key (mode 640)")]),
        (0o644, [("error", "server.key", "anybody may read the private key (mode 644): chmod 600")]),
    ],
)
def test_a_private_key_is_for_the_daemon_alone(
    sound: Settings, mode: int, expected: list[tuple[str, str, str]]
) -> None:
    assert sound.key is not None
    sound.key.chmod(mode)
    assert told(sound) == expected


def test_a_chain_is_in_order(server: Issued, root: Issued, stranger: Issued, sound: Settings) -> None:
    sound.certificate.write_bytes(server.pem + stranger.pem)
    ((severity, name, message),) = told(sound)
    assert (severity, name) == ("error", "server.pem")
    assert message.startswith("certificate 1 is not signed by certificate 2: order them")
    sound.certificate.write_bytes(server.pem)
    assert told(sound) == []
    sound.certificate.write_bytes(root.pem + server.pem)
    assert [words for _, _, words in told(sound)] == [
        "expected the key's certificate first, found it in place 2: move it up"
    ]


def test_a_weak_key_is_told(tmp_path: Path) -> None:
    settings = Settings(*issue("localhost", rsa_bits=1024).write(tmp_path))
    assert told(settings) == [
        ("error", "server.key", "expected an RSA key of at least 2048 bits, found 1024")
    ]


def test_a_certificate_that_names_no_host_is_told(tmp_path: Path) -> None:
    settings = Settings(*issue().write(tmp_path))
    assert told(settings) == [
        ("warning", "server.pem", "the certificate names no host (subjectAltName): clients refuse it")
    ]


def test_a_certificate_that_no_name_leads_to_is_told(sound: Settings, server: Issued, tmp_path: Path) -> None:
    again = server.write(tmp_path, "again")
    assert told(replace(sound, more=(again,))) == [
        ("warning", "again.pem", "never used: others before it have all its names")
    ]


def test_an_authority_for_clients_is_one(
    sound: Settings, server: Issued, root: Issued, tmp_path: Path
) -> None:
    clients = tmp_path / "clients.pem"
    settings = replace(sound, client_ca=clients)
    assert told(settings) == [("error", "clients.pem", "cannot be read: no such file or directory")]
    clients.write_bytes(server.pem)
    assert told(settings) == [
        ("error", "clients.pem", "expected the certificate of an authority (CA), found none that is one")
    ]
    clients.write_bytes(server.pem + root.pem)
    assert told(settings) == []


@pytest.mark.parametrize("name", ["", "x" * 256, "ü" * 128])
def test_the_names_of_protocols_fit_their_message(sound: Settings, name: str) -> None:
    ((severity, _, message),) = told(replace(sound, alpn=("chat", name)))
    assert severity == "error"
    assert message.startswith("expected names of 1 to 255 bytes for alpn, found one of")


def test_a_fault_that_only_openssl_finds_is_reported(sound: Settings) -> None:
    ((severity, _, message),) = told(replace(sound, ciphers="nonsense"))
    assert severity == "error"
    assert "expected ciphers in OpenSSL's syntax" in message


def test_every_problem_is_reported_at_once(sound: Settings, tmp_path: Path) -> None:
    old = issue("old.example", ends=NOW - DAY).write(tmp_path, "old")
    settings = replace(sound, more=(old, (tmp_path / "gone.pem", None)), alpn=("",))
    assert [name for _, name, _ in told(settings)] == ["gone.pem", "old.pem", "server.pem"]


def test_a_problem_shows_where_it_is(tmp_path: Path) -> None:
    (problem,) = problems(Settings(tmp_path / "gone.pem"), NOW)
    assert str(problem) == f"{tmp_path / 'gone.pem'}: cannot be read: no such file or directory"
