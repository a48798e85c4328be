from __future__ import annotations

from pathlib import Path

import pytest

from sockd_plugins.files.sftp.scp import ScpSession, Target, parse_command
from sockd_plugins.files.storage.refused import FileRefused
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.stream.inbox import Inbox
from tests.plugins.files.sftp.client import Service

OK = b"\0"


class Client:
    """Client of the old protocol, in memory."""

    def __init__(self, service: Service, target: str = ".", *, is_folder: bool = False) -> None:
        self.service = service
        self.output = b""
        self.inbox = Inbox()
        self.refused: list[FileRefused] = []
        self.status: int | None = None
        self.session = ScpSession(
            service.engine,
            Sender("192.0.2.1"),
            self.receive,
            lambda _: None,
            self.refused.append,
            Target(target, is_folder),
        )
        assert self.say(b"") == OK

    def receive(self, data: bytes) -> None:
        self.output += data

    def say(self, data: bytes, *, ended: bool = False) -> bytes:
        """Send bytes and return the answer."""
        if data:
            self.inbox.append(data)
        self.status = self.service.run(self.session.advance(self.inbox, ended=ended))
        answer, self.output = self.output, b""
        return answer

    def put(self, name: str, data: bytes) -> bytes:
        """Send a file; return the answers."""
        return self.say(b"C0644 %d %b\n" % (len(data), name.encode())) + self.say(data + OK)


@pytest.mark.parametrize(
    ("command", "target"),
    [
        (b"scp -t .", Target(".", False)),
        (b"scp -v -r -p -t -- 'a b'/", Target("a b/", True)),
        (b"scp -pdt dir", Target("dir", True)),
        (b"scp -f file", None),
        (b"scp -t", None),
        (b"scp -t a b", None),
        (b"scp -t 'a", None),
        (b"sh -c 'scp -t .'", None),
        (b"scp -t \xff", None),
        (b"", None),
    ],
)
def test_only_the_receiving_side_is_served(command: bytes, target: Target | None) -> None:
    assert parse_command(command) == target


@pytest.mark.parametrize("size", [0, 1, 65536, 1 << 20])
def test_a_file_is_stored_with_its_times(service: Service, folder: Path, size: int) -> None:
    client = Client(service)
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert client.say(b"T20 0 10 0\n") == OK
    assert client.put("a", data) == OK + OK
    assert (folder / "a").read_bytes() == data
    assert (folder / "a").stat().st_mtime == 20
    client.say(b"", ended=True)
    assert client.status == 0


def test_a_tree_is_stored_below_its_target(service: Service, folder: Path) -> None:
    client = Client(service, "new")
    for line in (b"D0755 0 tree\n", b"D0755 0 deep\n"):
        assert client.say(line) == OK
    client.put("a", b"data")
    assert client.say(b"E\n") == OK
    client.put("b", b"more")
    assert client.say(b"E\n") == OK
    assert (folder / "new" / "deep" / "a").read_bytes() == b"data"
    assert (folder / "new" / "b").read_bytes() == b"more"


def test_a_file_goes_into_a_folder_that_is_there(service: Service, folder: Path) -> None:
    Client(service).say(b"D0755 0 there\n")
    Client(service, "there").put("a", b"data")
    Client(service, "other").put("a", b"data")
    assert (folder / "there" / "a").exists()
    assert (folder / "other").is_file()


def test_a_refused_file_is_told_and_the_next_one_is_stored(service: Service, folder: Path) -> None:
    client = Client(service)
    answer = client.say(b"C0644 5 .hidden\n")
    assert answer.startswith(b"\1scp: expected a plain file name")
    assert answer.endswith(b"\n")
    assert client.put("a", b"data") == OK + OK
    assert (folder / "a").exists()
    client.say(b"", ended=True)
    assert client.status == 1


def test_a_path_in_a_name_is_refused(service: Service) -> None:
    client = Client(service)
    assert client.say(b"C0644 5 ../a\n").startswith(b"\2scp: ")
    assert client.status == 1


def test_a_file_of_which_the_client_tells_a_fault_is_not_stored(service: Service, folder: Path) -> None:
    client = Client(service)
    client.say(b"C0644 5 a\n")
    assert client.say(b"data.\1cannot read\n").startswith(b"\1scp: ")
    assert not (folder / "a").exists()


def test_a_lost_connection_stores_nothing(service: Service, folder: Path) -> None:
    client = Client(service)
    client.say(b"C0644 5 a\n")
    client.say(b"data.")
    service.run(client.session.leave())
    assert not (folder / "a").exists()


@pytest.mark.parametrize("line", [b"X\n", b"C0644 x a\n", b"C0644 -1 a\n", b"x" * 5000, b"D0755 0 a/b\n"])
def test_a_malformed_line_ends_the_session(service: Service, line: bytes) -> None:
    client = Client(service)
    assert client.say(line).startswith(b"\2scp: ")
    assert client.status == 1
