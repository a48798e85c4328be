from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from OpenSSL.crypto import X509
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock

from sockd_plugins.files.access.access import Access, Means
from sockd_plugins.files.access.credentials import make_token
from sockd_plugins.files.access.tokens import Tokens
from sockd_plugins.files.access.users import read_users
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender

HOST = "192.0.2.1"
KEY = b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32)
HASHED = "$scrypt$ln=4,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qZhEfTwICSXByfxC9mbEkzGSX5KmzAvMx/tJ1vfvyxg"
PASSWORD = "swordfish"
FILE = f"ann:{HASHED}\nann:ssh-ed25519 {base64.b64encode(KEY).decode()} laptop\nbob:{HASHED}\n"


class Door:
    """Access of a service, as peers meet it."""

    def __init__(self, folder: Path, *means: Means) -> None:
        self.clock = Clock()
        self.tokens = Tokens(folder)
        self.tried = 0
        self.access = Access(means, read_users(FILE.encode()), self.tokens, self.run, self.clock)

    def run(self, work: Any, *args: Any) -> Deferred[Any]:
        self.tried += work.__name__ == "has_password"
        return execute(work, *args)

    def lets_in(self, host: str = HOST, **shown: Any) -> Sender:
        found: list[Any] = []
        Deferred.fromCoroutine(self.access.sender(host, **shown)).addBoth(found.append)
        if not isinstance(found[0], Sender):
            found[0].raiseException()
        sender: Sender = found[0]
        return sender

    def refuses(self, host: str = HOST, **shown: Any) -> tuple[str, str]:
        with pytest.raises(FileRefused) as error:
            self.lets_in(host, **shown)
        return error.value.code, str(error.value)


@pytest.fixture
def door(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Door]:
    found = Door(tmp_path, *getattr(request, "param", ("tokens", "users", "certificates")))
    yield found
    found.tokens.close()


anyone = pytest.mark.parametrize("door", [("anyone",)], indirect=True)
tokens_only = pytest.mark.parametrize("door", [("tokens",)], indirect=True)


def certificate(*names: str) -> X509:
    key = Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    day = datetime(2027, 1, 1)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, day, day)
    return X509.from_cryptography(builder.sign(key, None))


@anyone
def test_an_open_service_lets_anyone_in(door: Door) -> None:
    assert door.lets_in() == Sender(HOST)
    assert door.lets_in(user="guest", password="guest") == Sender(HOST)
    assert door.lets_in(user="ann", password="x") == Sender(HOST)
    assert door.lets_in(user="ann", key=KEY) == Sender(HOST)


@pytest.mark.parametrize("door", [("anyone", "users")], indirect=True)
def test_an_open_service_knows_its_users_all_the_same(door: Door) -> None:
    assert door.lets_in(user="ann", password=PASSWORD).key == "user:ann"
    assert door.refuses(user="ann", password="x") == ("denied", "wrong user or password")
    assert door.lets_in(user="guest", password="guest") == Sender(HOST)
    assert door.lets_in(user="guest", key=b"other") == Sender(HOST)
    assert door.lets_in(user="guest") == Sender(HOST)


@pytest.mark.parametrize("door", [("anyone", "users")], indirect=True)
def test_who_has_the_name_of_a_user_is_that_user_or_nobody(door: Door) -> None:
    """A client of SSH tries to log in without a proof first, and then with each of its keys."""
    assert door.refuses(user="ann") == ("denied", "expected a user with a password or key")
    told = "expected a user with a password or key, found another key"
    assert door.refuses(user="ann", key=b"other") == ("denied", told)
    assert door.lets_in(user="ann", key=KEY).key == "user:ann"


def test_without_proof_a_peer_is_told_what_is_expected(door: Door) -> None:
    text = "expected a token or a user with a password or key or a client certificate"
    assert door.refuses() == ("denied", text)


@tokens_only
def test_only_what_is_expected_counts(door: Door) -> None:
    assert door.refuses(user="ann", password=PASSWORD) == ("denied", "expected a token")
    assert door.refuses(user="ann", key=KEY)[0] == "denied"
    assert door.refuses(certificate=certificate("ann")) == ("denied", "expected a token")


def test_a_token_makes_a_sender_of_its_own(door: Door) -> None:
    text, token = door.tokens.make(folder="in/ann")
    sender = door.lets_in(token=text)
    assert (sender.host, sender.key, sender.folder) == (HOST, f"token:{token.id}", "in/ann")
    assert sender.grant is not None
    assert door.refuses(token=make_token()) == ("denied", "there is no such token")
    door.tokens.end(token.id)
    assert door.refuses(token=text) == ("expired", f"the token {token.id} was ended")


def test_a_token_may_be_the_user_or_the_password(door: Door) -> None:
    text, token = door.tokens.make()
    for shown in ({"user": text, "password": ""}, {"user": text}, {"user": "x", "password": text}):
        assert door.lets_in(**shown).key == f"token:{token.id}"


@anyone
def test_a_wrong_token_is_refused_even_by_an_open_service(door: Door) -> None:
    assert door.refuses(token=make_token())[0] == "denied"
    text, token = door.tokens.make()
    assert door.lets_in(token=text).key == f"token:{token.id}"


def test_a_user_comes_in_with_a_password_or_a_key(door: Door) -> None:
    ann = Sender(HOST, "user:ann", "ann")
    assert door.lets_in(user="ann", password=PASSWORD) == ann
    assert door.lets_in(user="ann", key=KEY) == ann
    assert door.refuses(user="bob", key=KEY)[1].endswith(", found another key")


def test_a_wrong_user_and_a_wrong_password_cannot_be_told_apart(door: Door) -> None:
    wrong = ("denied", "wrong user or password")
    assert door.refuses(user="ann", password="x") == wrong
    assert door.refuses(user="eve", password="x") == wrong
    assert door.tried == 2


def test_a_right_password_is_hashed_once(door: Door) -> None:
    for _ in range(5):
        door.lets_in(user="ann", password=PASSWORD)
    assert door.tried == 1


def test_a_source_that_guesses_passwords_is_stopped_for_a_minute(door: Door) -> None:
    for _ in range(10):
        assert door.refuses(user="ann", password="x")[1] == "wrong user or password"
    assert (
        door.refuses(user="ann", password=PASSWORD)[1] == "10 wrong passwords came from there; wait a minute"
    )
    assert door.tried == 10
    assert door.lets_in("192.0.2.2", user="ann", password=PASSWORD).key == "user:ann"
    door.clock.advance(60)
    assert door.lets_in(user="bob", password=PASSWORD).key == "user:bob"


def test_a_certificate_names_the_user(door: Door) -> None:
    assert door.lets_in(certificate=certificate("ann")) == Sender(HOST, "user:ann", "ann")
    for names in ([], ["../ann"], ["a b"], ["ann", "bob"]):
        assert door.refuses(certificate=certificate(*names))[0] == "denied"


def test_a_token_counts_before_a_certificate(door: Door) -> None:
    text, token = door.tokens.make()
    assert door.lets_in(token=text, certificate=certificate("ann")).key == f"token:{token.id}"
