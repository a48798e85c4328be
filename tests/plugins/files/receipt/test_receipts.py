from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import threading
from base64 import b64decode
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from sockd.cli.verify import verify
from sockd.plugin import Context
from sockd_plugins.files import Files
from sockd_plugins.files.receipt.key import FILE, open_key, public_pem
from sockd_plugins.files.receipt.receipts import Receipts
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.stored import Stored

DATA = b"hello\n"
SHA256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
ID = "0123456789abcdef"
NAME = 'Ölkännchen "1" \\ 😀.txt'


def stored(**other: object) -> Stored:
    facts = {
        "name": NAME,
        "size": 6,
        "sha256": SHA256,
        "digest": f"sha256={SHA256}",
        "id": ID,
    }
    return Stored(**{**facts, **other})  # type: ignore[arg-type]


class Server:
    """Service that has stored a file, with the client's files beside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = open_key(folder / "state")
        self.receipt = dict(
            Receipts("drop", folder / "state", lambda: 1_800_000_000.9).issue(stored(), Sender("192.0.2.1"))
        )
        self.write(self.receipt)
        (folder / "file").write_bytes(DATA)
        (folder / "key.pem").write_text(public_pem(self.key))

    def write(self, receipt: object) -> None:
        (self.folder / "receipt").write_text(json.dumps(receipt, indent=1))

    def verify(self, *options: str) -> Result:
        words = [str(self.folder / "receipt"), str(self.folder / "file"), *options]
        return CliRunner().invoke(verify, words)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def test_a_receipt_has_what_is_known_of_the_file(server: Server) -> None:
    told = server.receipt
    assert b64decode(told.pop("signature"))
    assert told.pop("key")
    assert told == {
        "receipt": 1,
        "id": ID,
        "name": NAME,
        "size": 6,
        "digests": {"sha256": SHA256},
        "time": "2027-01-15T08:00:00Z",
        "service": "drop",
        "sender": "192.0.2.1",
    }


def test_a_receipt_has_every_digest_that_is_known(server: Server) -> None:
    receipts = Receipts("drop", server.folder / "state")
    assert receipts.issue(stored(digest="blake3=ab", sha256=""), Sender())["digests"] == {"blake3": "ab"}
    assert receipts.issue(stored(digest="blake3=ab"), Sender())["digests"] == {
        "blake3": "ab",
        "sha256": SHA256,
    }


def test_a_file_and_its_receipt_are_verified(server: Server) -> None:
    result = server.verify("--key", str(server.folder / "key.pem"))
    assert result.exit_code == 0
    assert result.output == f"{server.folder}/file: stored as {NAME} by drop at 2027-01-15T08:00:00Z\n"


def test_without_the_servers_key_the_fingerprint_is_told(server: Server) -> None:
    result = server.verify()
    assert result.exit_code == 0
    assert "signed by SHA256:" in result.output
    assert json.loads(server.verify("--json").output)["trusted"] is False


def test_a_receipt_in_the_answer_of_a_server_is_found(server: Server) -> None:
    server.write({"name": NAME, "receipt": server.receipt})
    assert server.verify().exit_code == 0
    line = json.dumps({"file": "x", "receipt": server.receipt})
    (server.folder / "receipt").write_text(f'{line}\n{{"summary": {{}}}}\n')
    assert server.verify().exit_code == 0


@pytest.mark.parametrize("name", ["id", "name", "size", "digests", "time", "service", "sender"])
def test_no_part_of_a_receipt_can_be_changed(server: Server, name: str) -> None:
    other: dict[str, object] = {"size": 7, "digests": {"sha256": "0" * 64}}
    server.write({**server.receipt, name: other.get(name, "other")})
    result = server.verify()
    assert result.exit_code == 1
    assert "its signature is wrong" in result.output


def test_another_file_is_told(server: Server) -> None:
    (server.folder / "file").write_bytes(b"hellO\n")
    result = server.verify()
    assert result.exit_code == 1
    assert "but the server has stored 5891b5b5" in result.output
    (server.folder / "file").write_bytes(b"hello")
    assert "5 bytes, but the server has stored 6" in server.verify().output


def test_a_receipt_of_another_server_is_told(server: Server, tmp_path: Path) -> None:
    (server.folder / "key.pem").write_text(public_pem(open_key(tmp_path / "other")))
    result = server.verify("--key", str(server.folder / "key.pem"))
    assert result.exit_code == 1
    assert "signed by SHA256:" in result.output


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"receipt": 1}', "[" * 60_000, '{"receipt": 1, "size": []}']
)
def test_what_is_no_receipt_is_told_in_one_line(server: Server, content: str) -> None:
    (server.folder / "receipt").write_text(content)
    result = server.verify()
    assert result.exit_code == 1
    assert result.output == f"sockd: {server.folder}/receipt: no receipt of a file receiver\n"
    assert "error" in json.loads(server.verify("--json").output)


@pytest.mark.parametrize("name", ["key", "signature"])
def test_a_key_or_signature_that_is_none_is_told_in_one_line(server: Server, name: str) -> None:
    server.write({**server.receipt, name: "!"})
    result = server.verify()
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1


def test_a_digest_that_nobody_knows_verifies_nothing(server: Server) -> None:
    told = Receipts("drop", server.folder / "state").issue(stored(digest="whirlpool=ab", sha256=""), Sender())
    server.write(told)
    result = server.verify()
    assert result.exit_code == 1
    assert "cannot compute whirlpool here" in result.output


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("jq")), reason="openssl or jq is missing")
def test_openssl_verifies_a_receipt(server: Server) -> None:
    script = """
    jq -cSj 'del(.signature)' receipt > signed
    jq -r .signature receipt | base64 -d > signature
    openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in signed -sigfile signature
    """
    subprocess.run(["sh", "-ec", script], cwd=server.folder, check=True, timeout=60)


def test_the_key_is_made_once_for_all_processes(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(public_pem(open_key(tmp_path / "s")))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert os.listdir(tmp_path / "s") == [FILE]
    assert stat.S_IMODE((tmp_path / "s" / FILE).stat().st_mode) == 0o600


def test_a_key_that_is_none_is_an_error_with_its_path(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("no key")
    with pytest.raises(OSError, match=r"receipt\.key: expected an Ed25519 key in PEM, found something else"):
        open_key(tmp_path)


def test_a_service_signs_for_a_sender_who_asks_for_it(tmp_path: Path) -> None:
    context = Context("drop", Clock(), Logger("sockd.drop"), tmp_path / "state")
    plugin = Files(directory=tmp_path / "received")
    assert Deferred.fromCoroutine(plugin.start(context)).called
    peer = plugin.stream_factory("upload", context).buildProtocol(IPv4Address("TCP", "192.0.2.1", 4000))
    assert peer is not None
    wire = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 4000))
    peer.makeConnection(wire)
    peer.dataReceived(b"hello upload receipts\nput 6 - file\nhello\nkeep 6 - other\nhello\n")
    lines = wire.value().decode().splitlines()
    assert " receipts" in lines[0]
    told = [json.loads(line.removeprefix("receipt ")) for line in lines if line.startswith("receipt ")]
    assert [(receipt["name"], receipt["digests"]) for receipt in told] == [
        ("file", {"sha256": SHA256}),
        ("other", {"sha256": SHA256}),
    ]
    assert [line.split()[0] for line in lines[1:] if not line.startswith(("go", "at"))] == [
        "receipt",
        "ok",
    ] * 2
    peer.connectionLost(Failure(ConnectionDone()))
    assert Deferred.fromCoroutine(plugin.stop()).called
