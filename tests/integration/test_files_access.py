"""Who may send files: tokens, users and certificates, with real clients and a daemon that is killed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
from click.testing import CliRunner

from crews import wait_until
from running import BIN, PATIENCE, Daemon
from sockd.cli import main
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
  {{ endpoint = "tcp:{sftp}:interface=127.0.0.1", protocol = "sftp" }},
  {{ endpoint = "udp:{tftp}:interface=127.0.0.1", protocol = "tftp" }},
]
options = {{ directory = "received", access = ["tokens", "users"], users = "users.txt", user_quota = 10 }}
"""

CERTIFIED = """
[service.certified]
plugin = "files"
options = { directory = "certified", access = ["certificates"] }
[[service.certified.listen]]
endpoint = "tcp:0:interface=127.0.0.1"
protocol = "http"
[service.certified.listen.tls]
certificate = "server.pem"
key = "server.key"
client_ca = "root.pem"
client_certificate = "optional"
"""

USERS = "ann:$scrypt$ln=4,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qZhEfTwICSXByfxC9mbEkzGSX5KmzAvMx/tJ1vfvyxg\n"
"""User whose password is `swordfish`."""

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

    def __init__(self, folder: Path, workers: int = 0, more: str = "") -> None:
        self.folder = folder
        self.http, self.upload, self.sftp, self.tftp = ports = free_ports(4)
        names = dict(zip(("http", "upload", "sftp", "tftp"), ports, strict=True))
        (folder / "users.txt").write_text(USERS)
        (folder / "sockd.toml").write_text(CONFIG.format(workers=workers, **names) + more)
        self.daemon = self.begin()

    def begin(self) -> Daemon:
        self.daemon = Daemon(BIN / "sockd", "run", cwd=self.folder)
        return self.daemon.ready()

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a client."""
        command = [BIN / "sockd", *words[1:]] if words[0] == "sockd" else list(words)
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, cwd=self.folder, check=False
        )

    def does(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line of an invitation, in a shell; the server's key is new to this machine."""
        known = "-o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
        if line.startswith("sftp "):
            line = f"echo put FILE | {line}"
        line = line.replace("scp ", f"scp {known} ").replace("sftp -P", f"sftp {known} -P")
        return self.run("sh", "-c", f"PATH={BIN}:$PATH; {line}")

    def asks(self, *words: str) -> Any:
        """Run a command of `sockd files`, in this process."""
        service = ("-s", "drop") if words[0] == "end" else ("drop",)
        config = str(self.folder / "sockd.toml")
        done = CliRunner().invoke(main, ["files", *words, "--json", "-c", config, *service])
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    def ways(self, invited: Any) -> dict[str, str]:
        return {way["name"]: way["text"] for way in invited["ways"]}

    def stored(self, folder: str = "received") -> dict[str, bytes]:
        top = self.folder / folder
        files = [path for path in top.rglob("*") if path.is_file() and ".sockd-part" not in path.parts]
        return {str(path.relative_to(top)): path.read_bytes() for path in files}

    def empty(self) -> None:
        """Remove what is stored."""
        for name in self.stored():
            (self.folder / "received" / name).unlink()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drop]:
    folder = tmp_path_factory.mktemp("drop")
    root = issue("root", authority=True)
    issue("127.0.0.1", issuer=root).write(folder, "server")
    issue("ann", issuer=root).write(folder, "ann")
    root.write(folder, "root")
    (folder / "OTHER").write_bytes(b"other\n")
    drop = Drop(folder, workers=2, more=CERTIFIED)
    try:
        yield drop
    finally:
        code = drop.daemon.stop()
    assert code == 0


@pytest.fixture
def drop(shared: Drop) -> Iterator[Drop]:
    """Give the daemon that the tests share, with an empty folder."""
    (shared.folder / "FILE").write_bytes(b"hello\n")
    yield shared
    shared.empty()


def test_every_line_of_an_invitation_works_as_it_is_printed(drop: Drop) -> None:
    ways = drop.ways(drop.asks("invite", "--folder", "in"))
    names = [
        name
        for name in ("curl", "tftp", "sockd", "sftp", "scp")
        if name not in ("sftp", "scp") or shutil.which(name)
    ]
    expected = {}
    for number, name in enumerate(names, 1):
        data = f"with {name}\n".encode()
        (drop.folder / "FILE").write_bytes(data)
        done = drop.does(ways[name])
        assert done.returncode == 0, (name, done)
        expected["in/FILE" if number == 1 else f"in/FILE ({number})"] = data
    assert drop.stored() == expected


def test_a_token_for_one_file_takes_one_file_over_whatever_protocol(drop: Drop) -> None:
    ways = drop.ways(drop.asks("invite", "--once"))
    for name in ("tftp", "curl", "sockd", "tftp"):  # again, as the answer may have been lost
        done = drop.does(ways[name])
        assert done.returncode == 0, (name, done)
    done = drop.does(ways["curl"].replace("FILE", "OTHER"))
    assert done.returncode == 22
    assert "is used up: 1 of 1 file sent" in done.stdout
    assert drop.stored() == {"FILE": b"hello\n"}


def test_a_sender_gets_a_receipt_that_verifies(drop: Drop) -> None:
    token = drop.asks("invite")["token"]
    (drop.folder / "server.pem").write_text(drop.asks("key")["pem"])
    url = f"http://127.0.0.1:{drop.http}/t/{token}/"
    told = drop.run("curl", "-sSf", "-H", "Accept: application/json", "-T", "FILE", url).stdout
    sent = drop.run(
        "sockd", "send", "--token", token, "--receipts", "R", "--json", "FILE", f"127.0.0.1:{drop.upload}"
    )
    written = (drop.folder / "R" / "FILE.receipt.json").read_text()
    for receipt in (told, sent.stdout, written):
        (drop.folder / "receipt").write_text(receipt)
        files = [str(drop.folder / name) for name in ("receipt", "FILE", "server.pem")]
        done = CliRunner().invoke(main, ["verify", *files[:2], "--key", files[2]])
        assert done.exit_code == 0, done.output


def test_without_a_token_each_protocol_refuses_in_its_words(drop: Drop) -> None:
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
    url = f"http://127.0.0.1:{drop.http}/"
    assert drop.run("curl", "-sSf", "-u", "ann:swordfish", "-T", "FILE", url).returncode == 0
    assert drop.run("curl", "-sSf", "-u", "ann:x", "-T", "FILE", url).returncode == 22
    assert drop.stored() == {"ann/FILE": b"hello\n"}


def test_the_folder_of_a_user_holds_its_quota_over_every_protocol(drop: Drop) -> None:
    url = f"http://127.0.0.1:{drop.http}/"
    assert drop.run("curl", "-sSf", "-u", "ann:swordfish", "-T", "FILE", url).returncode == 0
    full = "the folder of ann may hold 10 bytes: 6 are stored, 0 are being received, and 6 more do not fit"
    done = drop.run("curl", "-sS", "--fail-with-body", "-u", "ann:swordfish", "-T", "OTHER", url)
    assert (done.returncode, done.stdout) == (22, f"error quota: {full}\n")
    with socket.create_connection(("127.0.0.1", drop.upload), PATIENCE) as connection:
        connection.sendall(b"user ann swordfish\nput 6 - OTHER\n")
        assert full in connection.makefile().read()
    assert drop.stored() == {"ann/FILE": b"hello\n"}


def test_kills_never_give_more_than_was_granted(tmp_path: Path) -> None:
    drop = Drop(tmp_path)
    (tmp_path / "FILE").write_bytes(os.urandom(300_000))
    link = drop.ways(drop.asks("invite", "--files", "2"))["link"]
    acknowledged = 0
    for number in range(4):
        client = sending(drop, f"{link}{number}")
        if number % 2:
            time.sleep(0.006 * number)
            drop.daemon.process.kill()
            drop.daemon.stop()
            acknowledged += client.wait(PATIENCE) == 0
            drop.begin()
        else:
            acknowledged += client.wait(PATIENCE) == 0
    drop.daemon.stop()
    assert acknowledged <= len(drop.stored()) <= 2
    (token,) = drop.asks("tokens", "--all")
    assert len(drop.stored()) <= token["files"] <= 2


def sending(drop: Drop, url: str) -> subprocess.Popen[bytes]:
    """Begin to send a file."""
    return subprocess.Popen(
        ["curl", "-sSf", "-T", "FILE", url], cwd=drop.folder, stdout=DEVNULL, stderr=DEVNULL
    )


def test_workers_share_a_token(drop: Drop) -> None:
    link = drop.ways(drop.asks("invite", "--files", "5"))["link"]
    clients = [sending(drop, f"{link}{number}") for number in range(12)]
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


def test_a_client_certificate_names_the_sender(drop: Drop) -> None:
    url = f"https://127.0.0.1:{drop.daemon.port('certified')[1]}/"
    command = ["curl", "-sSf", "--cacert", "root.pem", "-T", "FILE", url]
    assert drop.run(*command, "--cert", "ann.pem", "--key", "ann.key").returncode == 0
    assert drop.run(*command).returncode == 22
    assert drop.stored("certified") == {"ann/FILE": b"hello\n"}
