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

from crews import wait_until, workers
from cutting import Proxy
from running import BIN, PATIENCE, Daemon, Start
from tests.tls.authority import issue

MIB = 1 << 20
SIZE = 40 * MIB


class Receiver:
    """Daemon with two workers, which several tests send to, under names of their own.

    Args:
        folder: of it, and of the certificates.
    """

    def __init__(self, folder: Path) -> None:
        root = issue("root", authority=True)
        (folder / "ca.pem").write_bytes(root.pem)
        for name in ("127.0.0.1", "ann"):
            issued = issue(name, issuer=root)
            (folder / f"{name}.pem").write_bytes(issued.chain + issued.key_pem())
        (folder / "sockd.toml").write_text(
            """
            [daemon]
            workers = 2
            [service.plain]
            plugin = "files"
            listen = ["tcp:0:interface=127.0.0.1"]
            options = { directory = "plain", folders = true }
            [service.secure]
            plugin = "files"
            options = { directory = "secure", access = ["certificates"] }
            [[service.secure.listen]]
            endpoint = "tcp:0:interface=127.0.0.1"
            tls = { certificate = "127.0.0.1.pem", key = "127.0.0.1.pem", client_ca = "ca.pem" }
            """
        )
        self.folder = folder
        self.daemon = Daemon(BIN / "sockd", "run", cwd=folder).ready()

    def kill_workers(self) -> None:
        for worker in workers(self.daemon):
            os.kill(worker, signal.SIGKILL)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path_factory.mktemp("receiver"))
    yield receiver
    receiver.daemon.stop()


@pytest.fixture
def way() -> Iterator[Callable[[tuple[str, int]], Proxy]]:
    """Open ways to services, which can be cut."""
    proxies: list[Proxy] = []

    def open_way(target: tuple[str, int]) -> Proxy:
        proxies.append(Proxy(target))
        return proxies[-1]

    yield open_way
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def proxy(way: Way, receiver: Receiver) -> Proxy:
    return way(receiver.daemon.port("plain"))


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Make a large file, whose name no other test has."""
    path = tmp_path / f"big-{os.urandom(4).hex()}"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
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


Way = Callable[[tuple[str, int]], Proxy]
Client = Callable[..., "subprocess.Popen[str]"]


def succeeds(sending: subprocess.Popen[str]) -> str:
    out, errors = sending.communicate(timeout=PATIENCE)
    assert sending.returncode == 0, errors
    return out


def received(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".sockd-part" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("remembers", [True, False])
def test_a_client_that_is_killed_goes_on_with_the_same_command(
    receiver: Receiver, proxy: Proxy, client: Client, big: Path, tmp_path: Path, remembers: bool
) -> None:
    """It has the id of the upload, or the server finds it by its name."""
    first = client(big, proxy.address)
    proxy.at = (SIZE // 2, first.kill)
    first.communicate(timeout=PATIENCE)
    assert first.returncode == -signal.SIGKILL
    for path in () if remembers else (tmp_path / "state/sockd/send").iterdir():
        path.unlink()
    succeeds(client(big, proxy.address))
    assert (receiver.folder / "plain" / big.name).read_bytes() == big.read_bytes()
    assert proxy.sent < 2 * SIZE - 4 * MIB  # it went on, not from the start
    assert list((tmp_path / "state/sockd/send").iterdir()) == []


def test_over_tls_with_certificates_on_both_sides_it_goes_on_after_the_workers_and_the_client_are_killed(
    receiver: Receiver, way: Way, client: Client, big: Path, tmp_path: Path
) -> None:
    proxy = way(receiver.daemon.port("secure"))
    certificates = receiver.folder
    address = proxy.address.replace("tcp:", "tls:")
    arguments = (big, address, "--ca", certificates / "ca.pem", "--cert", certificates / "ann.pem")
    proxy.at = (SIZE // 3, receiver.kill_workers)
    first = client(*arguments, "--receipts", "receipts")
    wait_until(lambda: proxy.sent > SIZE // 2)
    first.kill()
    first.wait(PATIENCE)
    succeeds(client(*arguments, "--receipts", "receipts"))
    assert received(receiver.folder / "secure") == {f"ann/{big.name}": big.read_bytes()}
    receipt = tmp_path / f"receipts/{big.name}.receipt.json"
    verified = subprocess.run([BIN / "sockd", "verify", receipt, big], capture_output=True, check=False)
    assert verified.returncode == 0, verified.stderr
    stranger = client(big, address, "--insecure")
    assert "the server requires a client certificate" in stranger.communicate(timeout=PATIENCE)[1]
    assert stranger.returncode == 3


def test_a_connection_that_is_cut_again_and_again_costs_little(
    receiver: Receiver, proxy: Proxy, client: Client, big: Path
) -> None:
    proxy.cut_after = 15 * MIB
    succeeds(client(big, proxy.address))
    assert (receiver.folder / "plain" / big.name).read_bytes() == big.read_bytes()
    assert proxy.connections >= 3


def test_a_pipe_survives_cuts_without_a_copy(
    receiver: Receiver, proxy: Proxy, client: Client, big: Path
) -> None:
    proxy.cut_after = 15 * MIB
    ours, theirs = os.pipe()
    sending = client("-", proxy.address, "--name", "dump", stdin=ours)
    os.close(ours)
    with open(theirs, "wb") as pipe:
        pipe.write(big.read_bytes())
    succeeds(sending)
    assert (receiver.folder / "plain/dump").read_bytes() == big.read_bytes()


def test_an_interrupted_upload_says_how_to_go_on(proxy: Proxy, client: Client, big: Path) -> None:
    sending = client(big, proxy.address)
    proxy.at = (SIZE // 2, lambda: sending.send_signal(signal.SIGINT))
    _, errors = sending.communicate(timeout=PATIENCE)
    assert sending.returncode == 130
    assert f"cannot send {big} to {proxy.address}: interrupted; " in errors
    assert "the same command goes on with it" in errors


# daemons that end


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture
def serve(start: Start, port: int) -> Callable[[], Daemon]:
    """Start a daemon on the same port each time."""
    config = f"""
        [service.files]
        plugin = "files"
        listen = ["tcp:{port}:interface=127.0.0.1"]
        options = {{ directory = "received", folders = true }}
    """
    return lambda: start(config, how="sockd").ready()


def test_a_daemon_that_is_killed_and_comes_back_gets_the_rest_and_each_file_once(
    serve: Callable[[], Daemon], way: Way, port: int, client: Client, big: Path, tmp_path: Path
) -> None:
    sent = {f"many/{number}": b"%d" % number * 1000 for number in range(1000)}
    (tmp_path / "many").mkdir()
    for name, data in sent.items():
        (tmp_path / name).write_bytes(data)
    daemon, proxy, killed = serve(), way(("127.0.0.1", port)), threading.Event()

    def kill() -> None:
        daemon.process.kill()
        killed.set()

    proxy.at = (SIZE // 2, kill)
    sending = client("many", big, proxy.address, "--json")
    assert killed.wait(PATIENCE)
    daemon.process.wait(PATIENCE)
    serve()
    summary = json.loads(succeeds(sending).splitlines()[-1])["summary"]
    assert summary["stored"] + summary["there"] == 1001
    assert received(tmp_path / "received") == {**sent, big.name: big.read_bytes()}
    assert proxy.sent < 2 * SIZE


def test_a_service_that_ends_between_two_files_is_found_again(
    serve: Callable[[], Daemon], client: Client, port: int, tmp_path: Path
) -> None:
    daemon = serve()
    (tmp_path / "a").write_bytes(b"1")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    sending = client("a", "fifo", f"tcp:127.0.0.1:{port}", "--parallel", "1")
    wait_until(lambda: "a" in received(tmp_path / "received"))
    daemon.process.kill()
    daemon.process.wait(PATIENCE)
    serve()
    fifo.write_bytes(b"2")
    succeeds(sending)
    assert received(tmp_path / "received") == {"a": b"1", "fifo": b"2"}
