"""`sockd send` and a real daemon: breaks, kills on either side, and what is there afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crews import wait_until
from cutting import Proxy
from running import BIN, PATIENCE, Daemon, Start

MIB = 1 << 20
SIZE = 40 * MIB


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
def serve(start: Start, tmp_path: Path, port: int) -> Callable[[], Daemon]:
    config = f"""
        [service.files]
        plugin = "files"
        listen = ["tcp:{port}:interface=127.0.0.1"]
        options = {{ directory = "received", folders = true }}
    """
    return lambda: start(config, how="sockd").ready()


@pytest.fixture
def proxy(port: int) -> Iterator[Proxy]:
    proxy = Proxy(("127.0.0.1", port))
    yield proxy
    proxy.close()


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.iso"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `sockd send` with arguments."""
    running: list[subprocess.Popen[str]] = []

    def run(*arguments: object, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        command = [str(BIN / "sockd"), "send", *map(str, arguments)]
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=stdin, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=tmp_path
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def received(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "received"
    files = (path for path in folder.rglob("*") if path.is_file() and ".sockd-part" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_daemon_that_is_killed_and_comes_back_gets_the_rest(
    serve: Callable[[], Daemon],
    proxy: Proxy,
    client: Callable[..., subprocess.Popen[str]],
    big: Path,
    tmp_path: Path,
) -> None:
    daemon = serve()
    killed = threading.Event()

    def kill() -> None:
        daemon.process.kill()
        killed.set()

    proxy.at = (SIZE // 2, kill)
    sending = client(big, proxy.address)
    assert killed.wait(PATIENCE)
    daemon.process.wait(PATIENCE)
    serve()
    out, errors = sending.communicate(timeout=PATIENCE)
    assert sending.returncode == 0, errors
    assert out.startswith(f"sent {big} (40.0 MiB, ")
    assert received(tmp_path) == {"big.iso": big.read_bytes()}
    assert proxy.sent < 2 * SIZE - 4 * MIB  # it went on, not from the start


def test_a_client_that_is_killed_goes_on_with_the_same_command(
    serve: Callable[[], Daemon],
    proxy: Proxy,
    client: Callable[..., subprocess.Popen[str]],
    big: Path,
    tmp_path: Path,
) -> None:
    serve()
    first = client(big, proxy.address)
    proxy.at = (SIZE // 2, first.kill)
    first.communicate(timeout=PATIENCE)
    assert first.returncode == -signal.SIGKILL
    second = client(big, proxy.address)
    _, errors = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, errors
    assert received(tmp_path) == {"big.iso": big.read_bytes()}
    assert proxy.sent < 2 * SIZE - 4 * MIB
    assert list((tmp_path / "state/sockd/send").iterdir()) == []


def test_a_client_that_has_lost_its_memory_goes_on_by_name(
    serve: Callable[[], Daemon],
    proxy: Proxy,
    client: Callable[..., subprocess.Popen[str]],
    big: Path,
    tmp_path: Path,
) -> None:
    serve()
    first = client(big, proxy.address)
    proxy.at = (SIZE // 2, first.kill)
    first.communicate(timeout=PATIENCE)
    for path in (tmp_path / "state/sockd/send").iterdir():
        path.unlink()
    second = client(big, proxy.address)
    _, errors = second.communicate(timeout=PATIENCE)
    assert second.returncode == 0, errors
    assert received(tmp_path) == {"big.iso": big.read_bytes()}
    assert proxy.sent < 2 * SIZE - 4 * MIB


def test_a_connection_that_is_cut_again_and_again_costs_little(
    serve: Callable[[], Daemon],
    proxy: Proxy,
    client: Callable[..., subprocess.Popen[str]],
    big: Path,
    tmp_path: Path,
) -> None:
    serve()
    proxy.cut_after = 15 * MIB
    sending = client(big, proxy.address)
    _, errors = sending.communicate(timeout=PATIENCE)
    assert sending.returncode == 0, errors
    assert received(tmp_path) == {"big.iso": big.read_bytes()}
    assert proxy.connections >= 3


def test_a_pipe_survives_cuts_without_a_copy(
    serve: Callable[[], Daemon],
    proxy: Proxy,
    client: Callable[..., subprocess.Popen[str]],
    big: Path,
    tmp_path: Path,
) -> None:
    serve()
    proxy.cut_after = 15 * MIB
    ours, theirs = os.pipe()
    sending = client("-", proxy.address, "--name", "dump", stdin=ours)
    os.close(ours)
    with open(theirs, "wb") as pipe:
        pipe.write(big.read_bytes())
    _, errors = sending.communicate(timeout=PATIENCE)
    assert sending.returncode == 0, errors
    assert received(tmp_path) == {"dump": big.read_bytes()}


def test_many_small_files_arrive_once_each_although_the_daemon_is_killed(
    serve: Callable[[], Daemon], proxy: Proxy, client: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    sent = {f"many/{number}": b"%d" % number * 1000 for number in range(1000)}
    (tmp_path / "many").mkdir()
    for name, data in sent.items():
        (tmp_path / name).write_bytes(data)
    daemon = serve()
    killed = threading.Event()

    def kill() -> None:
        daemon.process.kill()
        killed.set()

    proxy.at = (MIB, kill)
    sending = client("many", proxy.address, "--json")
    assert killed.wait(PATIENCE)
    daemon.process.wait(PATIENCE)
    serve()
    out, errors = sending.communicate(timeout=PATIENCE)
    assert sending.returncode == 0, errors
    summary = json.loads(out.splitlines()[-1])["summary"]
    assert summary["stored"] + summary["there"] == 1000
    assert received(tmp_path) == sent


def test_an_interrupted_upload_says_how_to_go_on(
    serve: Callable[[], Daemon], proxy: Proxy, client: Callable[..., subprocess.Popen[str]], big: Path
) -> None:
    serve()
    sending = client(big, proxy.address)
    proxy.at = (SIZE // 2, lambda: sending.send_signal(signal.SIGINT))
    _, errors = sending.communicate(timeout=PATIENCE)
    assert sending.returncode == 130
    assert f"cannot send {big} to {proxy.address}: interrupted; " in errors
    assert "the same command goes on with it" in errors


def test_a_service_that_ends_between_two_files_is_found_again(
    serve: Callable[[], Daemon], client: Callable[..., subprocess.Popen[str]], port: int, tmp_path: Path
) -> None:
    daemon = serve()
    (tmp_path / "a").write_bytes(b"1")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    sending = client("a", "fifo", f"tcp:127.0.0.1:{port}", "--parallel", "1")
    wait_until(lambda: "a" in received(tmp_path))
    daemon.process.kill()
    daemon.process.wait(PATIENCE)
    serve()
    fifo.write_bytes(b"2")
    _, errors = sending.communicate(timeout=PATIENCE)
    assert sending.returncode == 0, errors
    assert received(tmp_path) == {"a": b"1", "fifo": b"2"}
