"""Files of every kind that a person may name."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from sockd.reading import Unencoded, Unreadable, absolute, read_bytes, read_text


def reason(path: Path, most: int = 100) -> str:
    with pytest.raises(Unreadable) as caught:
        read_bytes(path, most)
    return str(caught.value)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    content = os.urandom(600_000)
    (tmp_path / "file").write_bytes(content)
    assert read_bytes(tmp_path / "file", len(content)) == content


def test_a_file_that_is_longer_than_asked_for_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(101))
    assert reason(tmp_path / "file") == "expected at most 100 bytes, found more"


def test_a_pipe_without_a_writer_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert reason(tmp_path / "pipe") == "expected a regular file, found a pipe"


def test_a_file_that_is_not_regular_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        assert reason(tmp_path / "socket") == "expected a regular file, found a socket"
    assert reason(Path("/dev/zero")) == "expected a regular file, found a device"
    assert reason(tmp_path) == "expected a regular file, found a folder"


def test_a_link_is_followed_and_what_it_leads_to_counts(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "good").symlink_to("file")
    (tmp_path / "bad").symlink_to("/dev/zero")
    assert read_bytes(tmp_path / "good") == b"text"
    assert reason(tmp_path / "bad") == "expected a regular file, found a device"


def test_a_path_that_leads_nowhere_is_told_in_the_words_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert reason(tmp_path / "none") == "no such file or directory"
    assert reason(tmp_path / "loop") == "too many levels of symbolic links"
    assert reason(tmp_path / "a\0b") == "embedded null byte"
    assert reason(tmp_path / ("x" * 300)) == "file name too long"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(bytes(200))
    before = len(os.listdir("/proc/self/fd"))
    for path in (tmp_path / "pipe", tmp_path / "file", tmp_path / "none", tmp_path):
        reason(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pipe_is_read_to_its_end_where_one_is_taken(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b"text"))
    writer.start()
    assert read_bytes(tmp_path / "pipe", pipes=True) == b"text"
    writer.join()
    with pytest.raises(Unreadable, match="found a device"):
        read_bytes(Path("/dev/zero"), 100, pipes=True)


@pytest.mark.parametrize("content", [b"t\xc3\xa9xt", b"\xef\xbb\xbft\xc3\xa9xt"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_text(tmp_path / "file") == "t\u00e9xt"


@pytest.mark.parametrize(
    ("content", "at", "message"),
    [
        (b"a\nb\xff", 3, "expected UTF-8, found the byte 0xff in line 2"),
        (b"\xef\xbb\xbfa\n\xc3", 5, "expected UTF-8, found the byte 0xc3 in line 2"),
        ("a".encode("utf-16"), 0, "expected UTF-8, found UTF-16 in line 1"),
    ],
)
def test_bytes_that_are_no_utf_8_are_told_with_their_place(
    tmp_path: Path, content: bytes, at: int, message: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(Unencoded) as caught:
        read_text(tmp_path / "file")
    assert (caught.value.at, str(caught.value)) == (at, message)


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("x.toml", "/a/b/x.toml"),
        ("../x.toml", "/a/x.toml"),
        ("../../../x.toml", "/x.toml"),
        ("link/../x.toml", "/a/b/link/../x.toml"),
        ("/etc/../x.toml", "/etc/../x.toml"),
    ],
)
def test_a_path_does_not_lead_through_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, path: str, made: str
) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: Path("/a/b"))
    assert absolute(Path(path)) == Path(made)
