"""Who may send files: tokens, users and certificates, with real clients and a daemon that is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest

from crews import wait_until
from running import BIN, PATIENCE, Daemon, Start
from tests.tls.authority import issue

CONFIG = """
[daemon]
state_dir = "state"
workers = {workers}
[service.drop]
plugin = "files"
listen = [
  {{ endpoint = "tcp:{http}:interface=127.0.0.1", protocol = "http" }},
  {{ endpoint = "tcp:{upload}:interface=127.0.0.1", protocol = "upload" }},
  {{ endpoint = "udp:{tftp}:interface=127.0.0.1", protocol = "tftp" }},
]
options = {{ directory = "received", access = ["tokens", "users"], users = "users.txt" }}
"""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")


def free_ports(number: int) -> list[int]:
    """Return ports that are free for TCP and UDP; a link has the port of the configuration."""
    found: list[int] = []
    with suppress(OSError):
        while len(found) < number:
            with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagram:
                stream.bind(("127.0.0.1", 0))
                datagram.bind(stream.getsockname())
                found.append(stream.getsockname()[1])
    return found


class Drop:
    """Daemon that receives files, and the commands beside it."""

    def __init__(self, start: Start, folder: Path, workers: int = 0) -> None:
        self.folder = folder
        self.start = start
        self.http, self.upload, self.tftp = free_ports(3)
        password = self.run("sockd", "files", "password", "ann", text="swordfish\n").stdout
        (folder / "users.txt").write_text(password)
        self.config = CONFIG.format(workers=workers, http=self.http, upload=self.upload, tftp=self.tftp)
        self.daemon = self.begin()

    def begin(self) -> Daemon:
        self.daemon = self.start(self.config, how="sockd")
        return self.daemon.ready()

    def run(self, *words: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
        command = [BIN / "sockd", *words[1:]] if words[0] == "sockd" else list(words)
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=self.folder,
            check=False,
        )

    def asks(self, *words: str) -> Any:
        done = self.run("sockd", "files", *words, "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def ways(self, invited: Any) -> dict[str, str]:
        return {way["name"]: way["text"] for way in invited["ways"]}

    def stored(self) -> dict[str, bytes]:
        folder = self.folder / "received"
        files = [path for path in folder.rglob("*") if path.is_file() and ".sockd-part" not in path.parts]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def drop(start: Start, tmp_path: Path) -> Drop:
    return Drop(start, tmp_path)


def test_every_line_of_an_invitation_works_as_it_is_printed(drop: Drop) -> None:
    (drop.folder / "FILE").write_bytes(b"hello\n")
    ways = drop.ways(drop.asks("invite", "--folder", "in"))
    for name in ("curl", "tftp", "sockd"):
        done = drop.run("sh", "-c", f"PATH={BIN}:$PATH; {ways[name]}")
        assert done.returncode == 0, done
        (drop.folder / "FILE").write_bytes(f"after {name}\n".encode())
    assert drop.stored() == {
        "in/FILE": b"hello\n",
        "in/FILE (2)": b"after curl\n",
        "in/FILE (3)": b"after tftp\n",
    }


def test_a_token_for_one_file_takes_one_file_over_whatever_protocol(drop: Drop) -> None:
    (drop.folder / "FILE").write_bytes(b"hello\n")
    (drop.folder / "OTHER").write_bytes(b"other\n")
    ways = drop.ways(drop.asks("invite", "--once"))
    for name in ("tftp", "curl", "sockd", "tftp"):  # again, as the answer may have been lost
        done = drop.run("sh", "-c", f"PATH={BIN}:$PATH; {ways[name]}")
        assert done.returncode == 0, (name, done)
    done = drop.run("sh", "-c", ways["curl"].replace("FILE", "OTHER"))
    assert done.returncode == 22
    assert "is used up: 1 of 1 file sent" in done.stdout
    assert drop.stored() == {"FILE": b"hello\n"}


def test_a_sender_gets_a_receipt_that_verifies(drop: Drop) -> None:
    (drop.folder / "FILE").write_bytes(b"hello\n")
    token = drop.asks("invite")["token"]
    (drop.folder / "server.pem").write_text(drop.run("sockd", "files", "key").stdout)
    url = f"http://127.0.0.1:{drop.http}/t/{token}/"
    told = drop.run("curl", "-sSf", "-H", "Accept: application/json", "-T", "FILE", url).stdout
    sent = drop.run(
        "sockd", "send", "--token", token, "--receipts", "R", "--json", "FILE", f"127.0.0.1:{drop.upload}"
    )
    written = (drop.folder / "R" / "FILE.receipt.json").read_text()
    for receipt in (told, sent.stdout, written):
        (drop.folder / "receipt").write_text(receipt)
        done = drop.run("sockd", "verify", "receipt", "FILE", "--key", "server.pem")
        assert done.returncode == 0, done


def test_without_a_token_each_protocol_refuses_in_its_words(drop: Drop) -> None:
    (drop.folder / "FILE").write_bytes(b"hello\n")
    done = drop.run("curl", "-sS", "--fail-with-body", "-T", "FILE", f"http://127.0.0.1:{drop.http}/")
    assert done.returncode == 22
    assert "error denied: expected a token or a user" in done.stdout
    done = drop.run("curl", "-sS", "-T", "FILE", f"tftp://127.0.0.1:{drop.tftp}/FILE")
    assert done.returncode != 0
    with socket.create_connection(("127.0.0.1", drop.upload), PATIENCE) as connection:
        connection.sendall(b"put 0 - FILE\n")
        assert connection.makefile().readline().startswith("error denied expected a token or a user")
    assert drop.stored() == {}
    drop.daemon.wait_for("file refused", code="denied")


def test_a_user_sends_with_a_password(drop: Drop) -> None:
    (drop.folder / "FILE").write_bytes(b"hello\n")
    url = f"http://127.0.0.1:{drop.http}/"
    assert drop.run("curl", "-sSf", "-u", "ann:swordfish", "-T", "FILE", url).returncode == 0
    assert drop.run("curl", "-sSf", "-u", "ann:x", "-T", "FILE", url).returncode == 22
    assert drop.stored() == {"ann/FILE": b"hello\n"}


def test_kills_never_give_more_than_was_granted(drop: Drop) -> None:
    (drop.folder / "FILE").write_bytes(os.urandom(300_000))
    link = drop.ways(drop.asks("invite", "--files", "4"))["link"]
    acknowledged = 0
    for number in range(12):
        client = subprocess.Popen(
            ["curl", "-sSf", "-T", "FILE", f"{link}{number}"], cwd=drop.folder, stdout=DEVNULL, stderr=DEVNULL
        )
        if number % 2:
            time.sleep(0.002 * number)
            drop.daemon.process.kill()
            drop.daemon.wait()
            acknowledged += client.wait(PATIENCE) == 0
            drop.begin()
        else:
            acknowledged += client.wait(PATIENCE) == 0
    assert acknowledged <= len(drop.stored()) <= 4
    (token,) = drop.asks("tokens", "--all")
    assert len(drop.stored()) <= token["files"] <= 4


def test_workers_share_a_token(start: Start, tmp_path: Path) -> None:
    drop = Drop(start, tmp_path, workers=2)
    (drop.folder / "FILE").write_bytes(b"x" * 100)
    link = drop.ways(drop.asks("invite", "--files", "5"))["link"]
    clients = [
        subprocess.Popen(
            ["curl", "-sSf", "-T", "FILE", f"{link}{number}"], cwd=drop.folder, stdout=DEVNULL, stderr=DEVNULL
        )
        for number in range(12)
    ]
    codes = [client.wait(PATIENCE) for client in clients]
    assert codes.count(0) == len(drop.stored()) == 5


def test_a_running_upload_is_listed_and_ended(drop: Drop) -> None:
    link = drop.ways(drop.asks("invite"))["link"]
    path = link.partition(str(drop.http))[2]
    with socket.create_connection(("127.0.0.1", drop.http), PATIENCE) as connection:
        head = f"PUT {path}a.bin HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n"
        connection.sendall(head.encode() + b"hello")
        wait_until(lambda: bool(drop.asks("uploads")))
        (upload,) = drop.asks("uploads")
        assert (upload["name"], upload["size"], upload["busy"]) == ("a.bin", 9_000_000, True)
        assert upload["sender"].startswith("token:")
        assert drop.asks("end", upload["id"]) == [{"kind": "upload", "id": upload["id"]}]
        assert drop.asks("uploads") == []
        assert connection.makefile("rb").readline().startswith(b"HTTP/1.1 409 ")
    drop.daemon.signal(signal.SIGTERM)
    assert drop.daemon.wait() == 0


def test_a_client_certificate_names_the_sender(start: Start, tmp_path: Path) -> None:
    root = issue("root", authority=True)
    issue("127.0.0.1", issuer=root).write(tmp_path, "server")
    issue("ann", issuer=root).write(tmp_path, "ann")
    root.write(tmp_path, "root")
    config = """
    [service.drop]
    plugin = "files"
    options = { directory = "received", access = ["certificates"] }
    [[service.drop.listen]]
    endpoint = "tcp:0:interface=127.0.0.1"
    protocol = "http"
    [service.drop.listen.tls]
    certificate = "server.pem"
    key = "server.key"
    client_ca = "root.pem"
    client_certificate = "optional"
    """
    daemon = start(config, how="sockd").ready()
    (tmp_path / "FILE").write_bytes(b"hello\n")
    url = f"https://127.0.0.1:{daemon.port('drop')[1]}/"
    command = ["curl", "-sSf", "--cacert", "root.pem", "-T", "FILE", url]
    assert (
        subprocess.run(
            [*command, "--cert", "ann.pem", "--key", "ann.key"], cwd=tmp_path, check=False
        ).returncode
        == 0
    )
    assert (tmp_path / "received" / "ann" / "FILE").read_bytes() == b"hello\n"
    assert subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode == 22
