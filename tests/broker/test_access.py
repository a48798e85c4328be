"""Who a server lets in, and whom a client trusts: passwords, tokens, keys and TLS, with real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from sockd.config import read_key
from tests.broker.parties import Nats, said, until
from tests.broker.servers import NatsServer, one
from tests.tls.authority import Issued, issue

SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
KEY = read_key(SEED)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """Serve a server that asks who comes."""
    users = f'{{ user: ann, password: "hunter2" }}, {{ nkey: {KEY.public} }}'
    yield from one(tmp_path_factory.mktemp("guarded"), f"authorization {{ users: [{users}] }}")


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue("authority", authority=True)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, authority: Issued) -> Iterator[NatsServer]:
    """Serve a server that speaks TLS, and takes certificates of the authority only."""
    folder = tmp_path_factory.mktemp("encrypted")
    certificate, key = issue("127.0.0.1", issuer=authority).write(folder)
    ca = folder / "ca.pem"
    ca.write_bytes(authority.pem)
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{ca}", verify: true }}'
    yield from one(folder, tls)


async def talks(nats: Nats) -> None:
    """Connect, and have something come back."""
    ann = await nats.party()
    ann.enter().publish(said("hello"))
    await until(lambda: ann.reader.texts == ["hello"])
    await nats.stop()


async def is_refused(nats: Nats, *words: str) -> None:
    """Fail to connect, with a reason."""
    ann = nats.absent()
    await until(lambda: any(all(word in why for word in words) for _, why in nats.states), "no such reason")
    assert not ann.connected
    await nats.stop()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
@pytest.mark.parametrize("identity", [{"user": "ann", "password": "hunter2"}, {"key": KEY}])
async def test_who_can_prove_it_comes_in(guarded: NatsServer, identity: dict[str, Any]) -> None:
    await talks(Nats(guarded.url, **identity))


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
@pytest.mark.parametrize("identity", [{}, {"user": "ann", "password": "x"}, {"token": "x"}])
async def test_who_cannot_is_told_the_servers_reason(guarded: NatsServer, identity: dict[str, Any]) -> None:
    await is_refused(Nats(guarded.url, **identity), "Authorization Violation", guarded.url)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_token_is_enough_where_the_server_takes_one(tmp_path: Path) -> None:
    for server in one(tmp_path, 'authorization { token: "s3cr3t" }'):
        await talks(Nats(server.url, token="s3cr3t"))


def secure(server: NatsServer) -> str:
    return server.url.replace("nats://", "tls://")


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_both_ends_prove_themselves_by_certificates(encrypted: NatsServer, authority: Issued) -> None:
    own = issue("sockd", issuer=authority)
    certificate = (own.pem + own.key_pem()).decode()
    await talks(Nats(secure(encrypted), ca=authority.pem, certificate=certificate))
    await talks(Nats(encrypted.url, ca=authority.pem, certificate=certificate))  # the server asks for TLS


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_server_that_another_authority_has_signed_is_not_told_anything(
    encrypted: NatsServer, authority: Issued
) -> None:
    own = issue("sockd", issuer=authority)
    other = issue("other", authority=True)
    nats = Nats(secure(encrypted), ca=other.pem, certificate=(own.pem + own.key_pem()).decode())
    await is_refused(nats, "certificate verify failed")


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_server_must_speak_tls_where_it_is_asked_to(nats: NatsServer) -> None:
    await is_refused(Nats(secure(nats)), "does not speak TLS")


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_stream_of_something_else_is_left_as_it_is(nats: NatsServer) -> None:
    first = Nats(nats.url)
    ann = await first.party()
    connection = ann.core.stream.connection  # type: ignore[attr-defined]
    orders = json.dumps({"name": "orders", "subjects": ["orders.new"]}).encode()
    await connection.ask("$JS.API.STREAM.CREATE.orders", orders, 5)
    await is_refused(Nats(nats.url, name="orders"), "the stream orders is not sockd's")
    info = json.loads((await connection.ask("$JS.API.STREAM.INFO.orders", b"", 5)).data)
    assert info["config"]["subjects"] == ["orders.new"]
    await first.stop()
