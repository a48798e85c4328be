"""Clients of TFTP as people have them, against a real daemon."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from running import PATIENCE, Daemon
from serving import serving

CONFIG = """
[service.files]
plugin = "files"
listen = [{ endpoint = "udp:0:interface=127.0.0.1", protocol = "tftp" }]
options = { directory = "received", reserve = "1MiB" }
[service.small]
plugin = "files"
listen = [{ endpoint = "udp:0:interface=127.0.0.1", protocol = "tftp" }]
options = { directory = "small", max_size = "100KiB", reserve = "1MiB" }
"""

Command = Callable[[Path, str, int], Sequence[str | Path]]

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Client:
    """Client of TFTP.

    Attributes:
        program: its name.
        command: sends a file under a name to a port.
        block: bytes of its blocks.
        code: exit code after the error that there is no room.
    """

    program: str
    command: Command
    block: int
    code: int


def curl(*options: str) -> Command:
    return lambda file, name, port: ["curl", "-sSv", *options, "-T", file, f"tftp://{HOST}:{port}/{name}"]


def hpa(*options: str) -> Command:
    return lambda file, name, port: ["tftp", *options, HOST, str(port), "-c", "put", file, name]


def atftp(*options: str) -> Command:
    words = [word for option in options for word in ("--option", option)]
    return lambda file, name, port: ["atftp", *words, "--put", "-l", file, "-r", name, HOST, str(port)]


def busybox(*options: str) -> Command:
    return lambda file, name, port: [
        "busybox",
        "tftp",
        *options,
        "-p",
        "-l",
        file,
        "-r",
        name,
        HOST,
        str(port),
    ]


CLIENTS = {
    "curl": Client("curl", curl(), 512, 70),
    "curl, 1428": Client("curl", curl("--tftp-blksize", "1428"), 1428, 70),
    "curl, no options": Client("curl", curl("--tftp-no-options"), 512, 70),
    "tftp-hpa": Client("tftp", hpa("-m", "binary"), 512, 0),
    "atftp": Client("atftp", atftp(), 512, 255),
    "atftp, windows": Client("atftp", atftp("blksize 1024", "windowsize 8"), 1024, 255),
    "atftp, large blocks": Client("atftp", atftp("blksize 8192", "windowsize 16"), 8192, 255),
    "busybox": Client("busybox", busybox(), 512, 1),
    "busybox, 1400": Client("busybox", busybox("-b", "1400"), 1400, 1),
}

EACH = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


class Receiver:
    """Daemon that receives files by TFTP."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder

    @property
    def port(self) -> int:
        return self.daemon.port("files", "udp")[1]

    def send(
        self, client: Client, content: bytes, name: str, port: int = 0
    ) -> subprocess.CompletedProcess[str]:
        if shutil.which(client.program) is None:
            pytest.skip(f"{client.program} is not installed")
        file = self.folder / f"sent-{name}"
        file.write_bytes(content)
        # atftp and busybox read their terminal otherwise, or write a bar to it.
        return subprocess.run(
            client.command(file, name, port or self.port),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def received(self, name: str) -> bytes | None:
        path = self.folder / "received" / name
        return path.read_bytes() if path.exists() else None


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("tftp")
    with serving(folder, CONFIG, "uv") as daemon:
        yield Receiver(daemon, folder)


@EACH
def test_files_of_every_size_arrive_as_they_were_sent(receiver: Receiver, client: Client) -> None:
    sizes = {0, 1, 511, 512, 513, client.block - 1, client.block, client.block + 1, 3 * client.block, 100_000}
    for size in sorted(sizes):
        content, name = os.urandom(size), f"{os.urandom(4).hex()}-{size}"
        sent = receiver.send(client, content, name)
        assert sent.returncode == 0, sent
        assert receiver.received(name) == content


@pytest.mark.parametrize("key", ["curl", "tftp-hpa"])  # each costs seconds, and the server sees no difference
def test_a_file_of_more_than_65535_blocks_is_whole(receiver: Receiver, key: str) -> None:
    content, name = os.urandom(33 << 20), f"large-{key}"
    sent = receiver.send(CLIENTS[key], content, name)
    assert sent.returncode == 0, sent
    assert receiver.received(name) == content


@EACH
def test_a_file_that_is_too_large_is_refused_in_the_words_of_the_client(
    receiver: Receiver, client: Client
) -> None:
    sent = receiver.send(client, b"x" * 102_401, "too-large", receiver.daemon.port("small", "udp")[1])
    assert sent.returncode == client.code
    assert "expected at most 102400 bytes, found" in sent.stdout + sent.stderr
    assert not (receiver.folder / "small/too-large").exists()


@EACH
def test_a_name_that_is_refused_is_told(receiver: Receiver, client: Client) -> None:
    sent = receiver.send(client, b"x", "COM1")
    assert sent.returncode == (69 if client.program == "curl" else client.code)
    assert "found the name of a device" in sent.stdout + sent.stderr


def test_a_text_in_netascii_is_converted(receiver: Receiver) -> None:
    text = b"one\ntwo\r\nthree\r" + b"x" * 511 + b"\n" * 600
    sent = receiver.send(Client("tftp", hpa("-m", "netascii"), 512, 0), text, "text")
    assert sent.returncode == 0, sent
    assert receiver.received("text") == text
    sent = receiver.send(Client("curl", curl("-B"), 512, 0), text, "text-curl")
    assert sent.returncode == 0, sent
    assert receiver.received("text-curl") == text.replace(b"\r\n", b"\n")  # curl does not convert


def test_curl_sends_what_it_reads_from_a_pipe(receiver: Receiver) -> None:
    content = os.urandom(100_000)
    words = ["curl", "-sS", "--tftp-blksize", "1428", "-T", "-", f"tftp://{HOST}:{receiver.port}/piped"]
    subprocess.run(words, input=content, check=True, timeout=PATIENCE)
    assert receiver.received("piped") == content


def test_a_file_is_not_sent_back(receiver: Receiver) -> None:
    words = ["curl", "-sSv", f"tftp://{HOST}:{receiver.port}/empty"]
    asked = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert asked.returncode == 69
    assert "files are only received here, not sent" in asked.stderr


class Relay:
    """Relay between a client and the service that loses packets, by their number in each direction."""

    def __init__(self, port: int, lost: Callable[[int], bool]) -> None:
        self._front = socket.socket(type=socket.SOCK_DGRAM)
        self._front.bind((HOST, 0))
        self._back = socket.socket(type=socket.SOCK_DGRAM)
        self._back.connect((HOST, port))
        self._lost = lost
        self._client: tuple[str, int] | None = None
        self.port = self._front.getsockname()[1]
        self._threads = [threading.Thread(target=work) for work in (self._there, self._back_again)]
        for thread in self._threads:
            thread.start()

    def _there(self) -> None:
        number = 0
        while True:
            packet, client = self._front.recvfrom(65536)
            if not packet:
                return
            self._client = client
            number += 1
            if not self._lost(number):
                self._back.send(packet)

    def _back_again(self) -> None:
        number = 0
        while packet := self._back.recv(65536):
            number += 1
            if not self._lost(number) and self._client is not None:
                self._front.sendto(packet, self._client)

    def close(self) -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as last:
            last.sendto(b"", (HOST, self.port))
        self._back.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
        self._front.close()
        self._back.close()


@pytest.mark.parametrize(
    "key", ["curl", "curl, no options", "tftp-hpa", "atftp", "atftp, windows", "busybox", "busybox, 1400"]
)
def test_a_lost_block_and_a_lost_acknowledgement_do_not_end_a_transfer(receiver: Receiver, key: str) -> None:
    # The third packet of each direction is one in the middle; the request and its answer come before.
    relay = Relay(receiver.port, lambda number: number == 3)
    content, name = os.urandom(20_000), f"lossy-{key.replace(', ', '-').replace(' ', '-')}"
    try:
        sent = receiver.send(CLIENTS[key], content, name, relay.port)
    finally:
        relay.close()
    assert sent.returncode == 0, sent
    assert receiver.received(name) == content


def test_a_transfer_that_has_begun_ends_before_the_daemon_does(tmp_path: Path) -> None:
    with (
        serving(tmp_path, CONFIG, "uv") as daemon,
        socket.socket(type=socket.SOCK_DGRAM) as client,
        socket.socket(type=socket.SOCK_DGRAM) as late,
    ):
        for sock in (client, late):
            sock.settimeout(PATIENCE)
            sock.connect((HOST, daemon.port("files", "udp")[1]))
        client.send(b"\0\2whole\0octet\0")
        assert client.recv(100) == b"\0\4\0\0"
        client.send(b"\0\3\0\1" + bytes(512))
        assert client.recv(100) == b"\0\4\0\1"
        daemon.signal()
        daemon.wait_for("stopping")
        late.send(b"\0\2late\0octet\0")
        assert late.recv(100) == b"\0\5\0\0the service ends; send the file later\0"
        client.send(b"\0\3\0\2end")
        assert client.recv(100) == b"\0\4\0\2"
        assert daemon.wait() == 0
    assert [path.name for path in (tmp_path / "received").iterdir() if path.is_file()] == ["whole"]
