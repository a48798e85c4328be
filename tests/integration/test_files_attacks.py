"""Senders that mean harm, and programs that do while files come: clear answers, and a clean folder."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from crews import wait_until
from running import BIN, PATIENCE, Daemon, Start

CONFIG = """
[service.files]
plugin = "files"
listen = [
  {{ endpoint = "tcp:0:interface=127.0.0.1", protocol = "upload" }},
  {{ endpoint = "tcp:0:interface=127.0.0.1", protocol = "raw" }},
  {{ endpoint = "tcp:0:interface=127.0.0.1", protocol = "http" }},
  {{ endpoint = "udp:0:interface=127.0.0.1", protocol = "tftp" }},
]
[service.files.limits]
idle_timeout = "{idle}"
[service.files.options]
directory = "received"
unverified = "unverified"
max_size = "64MiB"
folders = {folders}
"""
PARTS = ".sockd-part"
NOTES = {".stored", ".finished", ".names"}
"""Names among the parts that are no uploads."""

DATA = bytes(range(256)) * 4000
NO_FIELDS: Mapping[str, str] = {}
MIB = 1 << 20


class Receiver:
    """Daemon that receives files, and its folder."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon.ready()
        self.folder = folder
        self.around = set(os.listdir(folder.parent))

    def connect(self, protocol: str = "upload") -> socket.socket:
        which = ("upload", "raw", "http").index(protocol)
        return socket.create_connection(self.daemon.port("files", which=which), PATIENCE)

    def send(self, protocol: str, name: bytes, data: bytes = DATA) -> str:
        """Send a file; return the last line of the answer, which begins with a word of the protocol."""
        senders: dict[str, Callable[[bytes, bytes], str]] = {
            "upload": self.upload,
            "http": self.put,
            "tus": self.tus,
            "tftp": self.tftp,
        }
        return senders[protocol](name, data)

    def upload(self, name: bytes, data: bytes = DATA, head: str = "") -> str:
        """Send a file over `upload`; return the last line of the answer."""
        head = head or f"put {len(data)} -"
        with self.connect() as connection:
            connection.sendall(head.encode() + b" " + name + b"\n" + data)
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("r").read().splitlines()[-1]

    def put(self, name: bytes, data: bytes = DATA, fields: Mapping[str, str] = NO_FIELDS) -> str:
        """Send a file by PUT; return the first line of the answer."""
        return self.ask("PUT", f"/{quote(name, safe='/')}", data, fields)

    def tus(self, name: bytes, data: bytes = DATA, fields: Mapping[str, str] = NO_FIELDS) -> str:
        """Send a file over tus, in the request that creates the upload."""
        head = {
            "Tus-Resumable": "1.0.0",
            "Content-Type": "application/offset+octet-stream",
            "Upload-Length": str(len(data)),
            "Upload-Metadata": f"filename {base64.b64encode(name).decode()}",
        }
        return self.ask("POST", "/", data, {**head, **fields})

    def ask(self, method: str, path: str, data: bytes, fields: Mapping[str, str]) -> str:
        lines = [f"{method} {path} HTTP/1.1", "Host: here", *(": ".join(field) for field in fields.items())]
        if "Content-Length" not in fields:
            lines.append(f"Content-Length: {len(data)}")
        with self.connect("http") as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + data)
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("r", encoding="latin-1").readline().removeprefix("HTTP/1.1 ").strip()

    def tftp(self, name: bytes, data: bytes = DATA, told: int | None = None) -> str:
        """Send a file over TFTP, in blocks of 512 bytes; return `ok`, or the error."""
        size = len(data) if told is None else told
        with socket.socket(type=socket.SOCK_DGRAM) as own:
            own.settimeout(PATIENCE)
            own.connect(self.daemon.port("files", "udp"))
            own.send(b"\0\2" + name + b"\0octet\0tsize\0%d\0" % size)
            answer = own.recv(1000)
            for number, start in enumerate(range(0, len(data) + 1, 512), 1):
                if answer[1] == 5:
                    return f"error {answer[3]} {answer[4:-1].decode()}"
                own.send(b"\0\3" + number.to_bytes(2, "big") + data[start : start + 512])
                answer = own.recv(1000)
            return f"error {answer[3]} {answer[4:-1].decode()}" if answer[1] == 5 else "ok"

    def files(self) -> dict[str, bytes]:
        """Return what is stored, when no upload is left."""
        wait_until(lambda: set(os.listdir(self.folder / PARTS)) <= NOTES)
        found = (path for path in self.folder.rglob("*") if PARTS not in path.parts)
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found if path.is_file()}

    def empty(self) -> None:
        """Remove what is stored."""
        for name in self.files():
            (self.folder / name).unlink()

    def is_clean(self) -> None:
        """Check that nothing is stored, and nothing was made elsewhere."""
        assert self.files() == {}
        assert set(os.listdir(self.folder.parent)) == self.around


@pytest.fixture
def receive(start: Start, tmp_path: Path) -> Callable[..., Receiver]:
    """Start a daemon for a test that changes more than files."""

    def started(idle: str = "1m", folders: str = "false") -> Receiver:
        text = CONFIG.format(idle=idle, folders=folders)
        return Receiver(start(text, how="sockd"), tmp_path / "received")

    return started


def served(folder: Path, folders: str) -> Iterator[Receiver]:
    (folder / "sockd.toml").write_text(CONFIG.format(idle="1m", folders=folders))
    daemon = Daemon(BIN / "sockd", "run", cwd=folder)
    try:
        yield Receiver(daemon, folder / "received")
    finally:
        code = daemon.stop()
    assert code == 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    yield from served(tmp_path_factory.mktemp("attacks"), "false")


@pytest.fixture(scope="module")
def shared_with_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    yield from served(tmp_path_factory.mktemp("attacks"), "true")


@pytest.fixture
def receiver(shared: Receiver) -> Iterator[Receiver]:
    """Give the daemon that most tests share, with an empty folder."""
    yield shared
    shared.empty()


@pytest.fixture
def receiver_of_folders(shared_with_folders: Receiver) -> Iterator[Receiver]:
    """Give the one that permits folders, likewise."""
    yield shared_with_folders
    shared_with_folders.empty()


BAD_NAMES = [
    b"../escape", b"..", b".", b"/etc/sockd-escape", b"a/../../escape", b"a/b", b"..\\escape", b"C:\\escape",
    b".sockd-part", b".sockd-part/x", b"unverified/x", b".hidden", b"-rf", b" a", b"a ", b"a.",
    b"a\x00b", b"a\rb", b"a\x1b[2Jb", b"a\x7fb", "a\u202etxt.exe".encode(), "a\u2028b".encode(), b"\xff\xfe",
    b"\xed\xa0\x80", b"CON", b"nul.txt", b"COM1", b"a:b", b"a|b", b"a*", b"a" * 201, b"\xcc\x81" * 101,
    "\u200b".encode(), "\uff0e\uff0e/x".encode(), b"%2e%2e%2f/x",
]  # fmt: skip


REFUSED = (
    "error bad-name",
    "error bad-request",
    "error 2 ",
    "error 4 ",
    "400 ",
    "403 ",
    "404 ",
    "409 ",
    "422 ",
)
"""Beginnings of an answer, in the words of each protocol."""


@pytest.mark.parametrize("protocol", ["upload", "http", "tus", "tftp"])
def test_a_name_that_means_another_place_or_hides_something_is_refused(
    receiver: Receiver, protocol: str
) -> None:
    answers = {name: receiver.send(protocol, name) for name in BAD_NAMES}
    assert {name: answer for name, answer in answers.items() if not answer.startswith(REFUSED)} == {}
    receiver.is_clean()
    receiver.send(protocol, b"good")
    assert receiver.files() == {"good": DATA}


BAD_PATHS = [
    b"../escape", b"a/../../escape", b"a/..", b"a//b", b"a/./b", b"a/", b"/", b"a/.sockd-part/b",
    b".sockd-part/a", b"a/.hidden/b", b"a/ b/c", b"a/b./c", b"a/CON/b", b"a\\..\\b",
    b"a/" * 100 + b"b", b"a/\xff", b"a/\x00/b",
]  # fmt: skip


@pytest.mark.parametrize("protocol", ["upload", "http", "tftp"])
def test_a_path_stays_within_the_directory_where_folders_are_permitted(
    receiver_of_folders: Receiver, protocol: str
) -> None:
    receiver = receiver_of_folders
    answers = {path: receiver.send(protocol, path) for path in BAD_PATHS}
    assert {path: answer for path, answer in answers.items() if not answer.startswith(REFUSED)} == {}
    receiver.is_clean()
    assert receiver.send(protocol, b"a/b/good").startswith(("ok", "201 "))
    assert receiver.files() == {"a/b/good": DATA}


# other programs change the folder


SWAPPER = """
import os, sys
received, outside = sys.argv[1:]
names = [os.path.join(received, name) for name in ("a", "b", "inner", ".sockd-part", "unverified")]
print("ready", flush=True)
for turn in range(1 << 62):
    for name in names:
        spare = f"{outside}-spare-{os.path.basename(name)}"
        try:
            if os.path.islink(name):
                os.unlink(name)
                if os.path.lexists(spare):
                    os.rename(spare, name)
            else:
                if os.path.lexists(name):
                    os.rename(name, spare)
                os.symlink(outside, name)
        except OSError:
            pass
"""
"""Program that replaces names in the folder by links to another one, and back, as fast as it can."""


@contextmanager
def swapping(receiver: Receiver, outside: Path) -> Iterator[None]:
    command = [sys.executable, "-c", SWAPPER, str(receiver.folder), str(outside)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        try:
            yield
        finally:
            swapper.kill()


def test_links_that_come_and_go_in_the_folder_lead_nobody_outside(
    receive: Callable[..., Receiver], tmp_path: Path
) -> None:
    receiver = receive(folders="true")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    with swapping(receiver, outside), ThreadPoolExecutor(4) as pool:
        ways = [
            ("upload", b"a"),
            ("http", b"b"),
            ("upload", b"inner/x"),
            ("http", b"inner/y"),
            ("upload", b"c"),
        ]
        answers = list(pool.map(lambda way: receiver.send(*way), ways * 15))
    for answer in answers:
        assert answer.startswith(("ok ", "error ", "201 ", "4", "5")), answer
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"precious": b"precious"}
    assert any(answer.startswith("ok c") for answer in answers)


@pytest.mark.parametrize("name", ["a", "unverified"])
def test_a_link_in_place_of_a_file_or_a_folder_is_not_followed(
    receive: Callable[..., Receiver], tmp_path: Path, name: str
) -> None:
    receiver = receive()
    precious = tmp_path / "precious"
    precious.write_bytes(DATA)
    if name == "unverified":
        (receiver.folder / name).rmdir()
    (receiver.folder / name).symlink_to(precious)
    assert receiver.upload(name.encode()).startswith(f"ok {name} (2) ")
    assert precious.stat().st_nlink == 1
    assert (receiver.folder / f"{name} (2)").read_bytes() == DATA


def test_uploads_of_one_name_at_the_same_time_are_all_stored(receiver: Receiver) -> None:
    contents = [bytes([number]) * (3 * MIB + number) for number in range(8)]
    with ThreadPoolExecutor(len(contents)) as pool:
        answers = list(pool.map(lambda data: receiver.upload(b"a.bin", data), contents))
    assert all(answer.startswith("ok a") for answer in answers), answers
    assert sorted(receiver.files().values()) == contents
    assert sorted(receiver.files()) == sorted(["a.bin", *(f"a ({number}).bin" for number in range(2, 9))])


def test_uploads_of_one_name_over_all_protocols_at_the_same_time_are_all_stored(receiver: Receiver) -> None:
    contents = [bytes([number]) * (100_000 + number) for number in range(12)]
    ways = ["upload", "http", "tus", "tftp"] * 3
    with ThreadPoolExecutor(len(ways)) as pool:
        answers = list(pool.map(lambda way, data: receiver.send(way, b"a.bin", data), ways, contents))
    assert all(answer.startswith(("ok", "201 ")) for answer in answers), answers
    assert sorted(receiver.files().values()) == contents


def test_uploads_of_one_file_at_the_same_time_are_all_acknowledged(receiver: Receiver) -> None:
    """Each is stored, or found to be there already."""
    ways = ["upload", "http", "tus", "tftp"] * 3
    with ThreadPoolExecutor(len(ways)) as pool:
        answers = list(pool.map(lambda way: receiver.send(way, b"a.bin"), ways))
    assert all(answer.startswith(("ok", "201 ")) for answer in answers), answers
    assert set(receiver.files().values()) == {DATA}


# senders that lie


WRONG = hashlib.sha256(b"something else").hexdigest()


LIES = {
    f"put {len(DATA) + 1} -": "incomplete",
    f"put {len(DATA)} sha256={WRONG}": "digest-mismatch",
    f"keep {len(DATA)} sha256={WRONG}": "digest-mismatch",
    f"put {10**18 - 1} -": "too-large",
    f"put {10**18} -": "bad-request",
    "put -1 -": "bad-request",
    "put 0x10 -": "bad-request",
    "put \u0661 -": "bad-request",
}


def test_a_sender_that_lies_about_size_or_digest_is_told_and_leaves_nothing(receiver: Receiver) -> None:
    answers = {head: receiver.upload(b"a", head=head).split()[1] for head in LIES}
    assert answers == LIES
    receiver.is_clean()


def test_a_sender_of_more_than_it_has_announced_gets_the_announced_file_and_a_refusal(
    receiver: Receiver,
) -> None:
    with receiver.connect() as connection:
        connection.sendall(b"put 10 - a\n" + b"0123456789" + b"more and more")
        connection.shutdown(socket.SHUT_WR)
        answers = connection.makefile("r").read().splitlines()
    assert answers[1].startswith("ok a 10 ")
    assert answers[2].startswith("error ")
    assert receiver.files() == {"a": b"0123456789"}


def test_a_sender_that_lies_over_http_is_told_and_leaves_nothing(receiver: Receiver) -> None:
    wrong = base64.b64encode(bytes(32)).decode()
    lies = [
        receiver.put(b"a", fields={"Content-Length": str(len(DATA) + 1)}),
        receiver.put(b"a", fields={"Content-Length": "-1"}),
        receiver.put(b"a", fields={"Content-Length": "1, 2"}),
        receiver.put(b"a", fields={"Content-Length": str(10**18)}),
        receiver.put(b"a", fields={"Content-Length": "1" * 5000}),
        receiver.put(b"a", fields={"Repr-Digest": f"sha-256=:{wrong}:"}),
        receiver.put(b"a", fields={"Content-Range": f"bytes 5-{len(DATA) + 4}/{len(DATA) + 5}"}),
        receiver.tus(b"a", fields={"Upload-Checksum": f"sha256 {wrong}"}),
        receiver.tus(b"a", fields={"Upload-Length": "10"}),
        receiver.tus(b"a", fields={"Upload-Length": "-1"}),
        receiver.tus(b"a", fields={"Upload-Length": str(10**18)}),
    ]
    assert [answer for answer in lies if not answer.startswith("4")] == [], lies
    receiver.is_clean()


def test_a_sender_that_lies_over_tftp_is_told_and_leaves_nothing(receiver: Receiver) -> None:
    assert receiver.tftp(b"a", DATA[:5000], told=4000).startswith("error ")
    assert receiver.tftp(b"a", DATA[:5000], told=6000).startswith("error ")
    assert receiver.tftp(b"a", DATA[:5000], told=10**18 - 1).startswith("error 3 ")
    receiver.is_clean()


def test_a_raw_sender_whose_digest_is_wrong_leaves_nothing(receiver: Receiver) -> None:
    with receiver.connect("raw") as connection:
        connection.sendall(DATA + f"sha256={WRONG}\n".encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("r").read().startswith("error digest-mismatch")
    receiver.is_clean()


# senders that stop


SENDER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
    connection.sendall(b"put 60000000 - a\\n" + bytes(1000000))
    print("sent", flush=True)
    while connection.recv(100):
        pass
    print("ended", flush=True)
"""


def test_a_sender_that_is_stopped_keeps_nothing_and_nobody_waits_for_it(
    receive: Callable[..., Receiver],
) -> None:
    receiver = receive(idle="1s")
    port = str(receiver.daemon.port("files")[1])
    with subprocess.Popen([sys.executable, "-c", SENDER, port], stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        assert sender.stdout.readline() == "sent\n"
        sender.send_signal(signal.SIGSTOP)
        assert receiver.upload(b"b").startswith("ok b ")
        assert receiver.files() == {"b": DATA}, "the part of the stopped sender goes"
        sender.send_signal(signal.SIGCONT)
        assert sender.stdout.readline() == "ended\n"


def test_hundreds_of_slow_senders_leave_nothing_and_keep_nobody_waiting(receiver: Receiver) -> None:
    slow = [receiver.connect() for _ in range(300)]
    for number, connection in enumerate(slow):
        connection.sendall(f"put 1000000 - {number}\n".encode() + b"x" * 10)
    assert {connection.recv(3) for connection in slow} == {b"go\n"}
    assert receiver.upload(b"quick").startswith("ok quick ")
    for connection in slow:
        connection.sendall(b"x" * 1000)
    for connection in slow:
        connection.close()
    assert receiver.files() == {"quick": DATA}
