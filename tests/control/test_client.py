"""The end that gives orders, against servers that are not what they should be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sockd.control.client import Unreachable, ask, configured
from sockd.control.words import Refused
from sockd.errors import ConfigError


@contextmanager
def says(path: Path, *parts: bytes, read: bool = True) -> Iterator[None]:
    """A server that says this to the first who comes, then closes."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            peer, _ = listening.accept()
            with peer:
                if read:
                    peer.recv(1000)
                for part in parts:
                    peer.sendall(part)

        server = threading.Thread(target=serve)
        server.start()
        yield
        server.join()


def test_an_answer_may_come_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with says(path, b'{"ok":true,', b'"result":[1,', b"2]}\n"):
        assert ask(path, "ps", 10) == [1, 2]


def test_a_refusal_says_why_without_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with (
        says(path, b'{"ok":false,"error":"no \\u001b[31m","result":{"report":"r"}}\n'),
        pytest.raises(Refused, match=r"no \\x1b\[31m") as refused,
    ):
        ask(path, "stop", 10)
    assert refused.value.result == {"report": "r"}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"ok":false,"error":"no","code":"unknown-service"}\n', "unknown-service"),
        (b'{"ok":false,"error":"no"}\n', ""),  # from a daemon of an earlier version
    ],
)
def test_a_refusal_has_its_code(tmp_path: Path, line: bytes, code: str) -> None:
    with says(tmp_path / "c", line), pytest.raises(Refused) as refused:
        ask(tmp_path / "c", "stop", 10)
    assert refused.value.code == code


def test_a_refusal_that_comes_before_the_request_is_read_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with says(path, b'{"ok":false,"error":"full"}\n', read=False), pytest.raises(Refused, match="full"):
        ask(path, "set", 10, key="x" * 1_000_000)


@pytest.mark.parametrize("line", [b"hello\n", b"[]\n", b"{}\n", b'{"ok":false}\n', b"[" * 100_000 + b"\n"])
def test_another_program_at_the_socket_is_told_as_such(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "c"
    with says(path, line), pytest.raises(Unreachable, match=r"what answers at .*/c is no sockd"):
        ask(path, "status", 10)


def test_a_daemon_that_ends_before_it_answers_is_told(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with says(path, b'{"ok":tr'), pytest.raises(Unreachable, match="closed the connection without an answer"):
        ask(path, "status", 10)


def test_no_answer_in_time_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "c"))
        listening.listen()
        with pytest.raises(Unreachable, match=r"no answer from .*/c within 0\.01 seconds"):
            ask(tmp_path / "c", "status", 0.01)


def test_a_socket_that_is_not_there_or_left_behind_asks_whether_the_daemon_runs(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "stale"))
    for name in ("none", "stale"):
        with pytest.raises(Unreachable, match=f"nobody listens at .*/{name}: is the daemon running"):
            ask(tmp_path / name, "status", 10)


def test_a_path_that_is_no_socket_or_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"cannot speak with .*: af_unix path too long"):
        ask(tmp_path / ("x" * 200), "status", 10)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_socket_of_somebody_else_is_told(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from sockd.control.client import *; os.setuid(65534)\n"
        "try: ask(Path(sys.argv[1]), 'status', 10)\n"
        "except Unreachable as error: print(error)"
    )
    (tmp_path / "locked").mkdir(0o700)
    path = tmp_path / "locked" / "c"
    said = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert said.stdout == f"no permission for {path}: be root or the daemon's user\n"


def test_the_socket_is_found_whatever_else_is_wrong_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sockd.toml"
    path.write_text('[control]\nlisten = "unix:c"\n[sevice]\n[daemon]\nstate_dir = "${UNSET_HERE}"')
    assert configured(path) == tmp_path / "c"


@pytest.mark.parametrize(
    ("listen", "found"),
    [
        ("unix:run/control.sock", "run/control.sock"),
        ("unix:/run/sockd/c", "/run/sockd/c"),
        ("unix:./a-b_c.1", "a-b_c.1"),
        ("unix:${CONTROL_HERE}/c", "here/c"),
        ("unix:a\\\\:b", "a:b"),
        ("unix:straße", "straße"),
        ("unix:c:mode=600", "c"),
    ],
)
def test_the_socket_is_found_in_whatever_way_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listen: str, found: str
) -> None:
    monkeypatch.setenv("CONTROL_HERE", "here")
    path = tmp_path / "sockd.toml"
    path.write_text(f'[control]\nlisten = "{listen}"\n')
    assert configured(path) == tmp_path / found


def test_a_file_without_a_control_socket_tells_how_to_have_one(tmp_path: Path) -> None:
    path = tmp_path / "sockd.toml"
    path.write_text("")
    with pytest.raises(Unreachable, match=r"has no control socket: add \[control\] with listen = "):
        configured(path)


@pytest.mark.parametrize(
    "text", ['[control]\nlisten = "tcp:1"', "[control", '[control]\nx = "${UNSET_HERE}"']
)
def test_a_fault_of_the_table_itself_is_a_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "sockd.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        configured(path)


def test_asking_for_the_status_imports_nothing_that_is_slow(tmp_path: Path) -> None:
    """Somebody waits for it; pydantic alone takes longer than everything else together."""
    path = tmp_path / "sockd.toml"
    path.write_text('[control]\nlisten = "unix:c"\n')
    answer = b'{"ok":true,"result":{"version":"1","state":"ready","pid":1,"started":1.0,"services":[]}}\n'
    code = (
        "import sys; from sockd.cli import main\n"
        "main(['status', '-c', sys.argv[1]], standalone_mode=False)\n"
        "assert not {'twisted', 'pydantic', 'rich'} & sys.modules.keys(), sorted(sys.modules)"
    )
    with says(tmp_path / "c", answer):
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("sockd 1 ready, pid 1, ")


def test_it_does_not_import_twisted() -> None:
    code = "import sys, sockd.cli.status, sockd.cli.operate, sockd.cli.ps, sockd.cli.top, sockd.config\n"
    code += "assert not {'twisted', 'rich'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
