"""Clients of SFTP as people have them, against a real daemon."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from crews import wait_until
from running import BIN, PATIENCE, Daemon, Start
from sockd_plugins.files.storage.store import PARTS
from sockd_plugins.users.passwords import hash_password

MIB = 1 << 20
SIZES = [0, 1, 65535, 65536, 65537, 3 * 32768, 8 * MIB]
SSH = (
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oLogLevel=ERROR",
    "-oIdentitiesOnly=yes",
    "-oIdentityAgent=none",
)
CONFIG = """
[service.files]
plugin = "files"
listen = [{{ endpoint = "tcp:{port}:interface=127.0.0.1", protocol = "sftp" }}]
options = {{ directory = "received", folders = true, access = "users", users = "users.txt" }}
"""

Put = Callable[["Server", Path], None]


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


class Server:
    """Daemon with the user ann, who has a key and the password `secret`.

    Args:
        start: starts a daemon in the folder, by the text of its configuration.
        folder: of the daemon; and of the client, if that has none of its own.
    """

    def __init__(self, start: Callable[[str], Daemon], folder: Path) -> None:
        needs("ssh-keygen")
        self.folder = folder
        self.parts = folder / "received" / PARTS
        self.key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        public = (folder / "key.pub").read_text()
        (folder / "users.txt").write_text(f"ann:{hash_password('secret')}\nann:{public}")
        self.received = folder / "received" / "ann"
        self._start = start
        self.port = 0
        self.daemon = self.start()

    def start(self) -> Daemon:
        """Start the daemon, at the same port as before."""
        self.daemon = self._start(CONFIG.format(port=self.port)).ready()
        self.port = self.daemon.port("files")[1]
        return self.daemon

    def restart(self) -> None:
        """Kill the daemon and start it again."""
        self.daemon.process.kill()
        self.daemon.wait()
        self.start()

    def run(self, *command: str | Path, fails: bool = False, port: int = 0) -> str:
        """Run a client; PORT in its words stands for the port."""
        words = [os.fspath(word).replace("PORT", str(port or self.port)) for word in command]
        result = subprocess.run(
            words, cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert (result.returncode != 0) == fails, (words, result.stdout, result.stderr)
        return result.stdout + result.stderr

    def durable(self) -> int:
        """Return the bytes of an upload that are durable; 0 if there is none."""
        return max((int(state.read_bytes()[:20]) for state in self.parts.glob("*.state")), default=0)

    def interrupted_sftp(self, command: str) -> bytes:
        """Press Ctrl-C in OpenSSH's client when it has sent some megabytes; return what it tells."""
        least = self.durable() + MIB
        client = self.slow_sftp(command)
        wait_until(lambda: self.durable() >= least)
        client.send_signal(signal.SIGINT)
        _, told = client.communicate(timeout=PATIENCE)
        return told

    def slow_sftp(self, command: str) -> subprocess.Popen[bytes]:
        """Start OpenSSH's client with a command that takes some seconds."""
        words = ["sftp", *SSH, "-l40000", "-i", os.fspath(self.key), "-P", str(self.port), "ann@127.0.0.1"]
        client = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.folder,
        )
        assert client.stdin is not None
        client.stdin.write(f"{command}\n".encode())
        client.stdin.flush()
        return client

    def sftp(self, *commands: str, fails: bool = False, options: Sequence[str] = ()) -> str:
        """Run commands of OpenSSH's client."""
        batch = self.folder / "batch"
        batch.write_text("".join(f"{command}\n" for command in commands))
        words = [*SSH, *options, "-P", "PORT"]
        return self.run("sftp", *words, "-i", self.key, "-b", batch, "ann@127.0.0.1", fails=fails)

    def file(self, name: str, size: int, seed: int = 0) -> Path:
        path = self.folder / name
        path.write_bytes(random.Random(seed).randbytes(size))
        return path


@pytest.fixture
def own_server(start: Start, tmp_path: Path) -> Server:
    """Start a daemon for a test that ends it."""
    return Server(lambda text: start(text, how="sockd"), tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sftp")

    def start(text: str) -> Daemon:
        (folder / "sockd.toml").write_text(text)
        return Daemon(BIN / "sockd", "run", cwd=folder)

    server = Server(start, folder)
    try:
        yield server
    finally:
        code = server.daemon.stop()
    assert code == 0


@pytest.fixture
def server(shared: Server, tmp_path: Path) -> Iterator[Server]:
    """Give the daemon that the tests share, with nothing in it, and a folder for the client."""
    shared.folder = tmp_path
    yield shared
    shutil.rmtree(shared.received, ignore_errors=True)
    for path in shared.parts.iterdir():
        if path.suffix in (".part", ".state"):
            path.unlink()


class Cut:
    """Proxy that resets the first connection after some bytes."""

    def __init__(self, port: int, after: int) -> None:
        self._target, self._left = port, after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            for source, target, counted in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._carry, args=[source, target, counted], daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with source, target:
            try:
                while data := source.recv(65536):
                    target.sendall(data)
                    self._left -= len(data) if counted else 0
                    if self._left < 0 and not self.cuts:
                        self.cuts += 1
                        for side in (source, target):
                            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                            side.shutdown(socket.SHUT_RDWR)
                        return
                target.shutdown(socket.SHUT_WR)
            except OSError:
                pass


def put_with_sftp(server: Server, path: Path) -> None:
    server.sftp(f"put {path}")


def put_with_scp(server: Server, path: Path) -> None:
    needs("scp")
    server.run("scp", *SSH, "-p", "-i", server.key, "-P", "PORT", path, "ann@127.0.0.1:")


def put_with_old_scp(server: Server, path: Path) -> None:
    needs("scp")
    server.run("scp", "-O", *SSH, "-p", "-i", server.key, "-P", "PORT", path, "ann@127.0.0.1:")


def put_with_paramiko(server: Server, path: Path) -> None:
    paramiko = pytest.importorskip("paramiko")
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            "127.0.0.1",
            server.port,
            "ann",
            "secret",
            look_for_keys=False,
            allow_agent=False,
            timeout=PATIENCE,
        )
        with client.open_sftp() as sftp:
            assert sftp.put(os.fspath(path), path.name).st_size == path.stat().st_size


def put_with_asyncssh(server: Server, path: Path) -> None:
    asyncssh = pytest.importorskip("asyncssh")

    async def put() -> None:
        async with (
            asyncssh.connect(
                "127.0.0.1",
                server.port,
                username="ann",
                client_keys=[os.fspath(server.key)],
                known_hosts=None,
                config=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):
            await sftp.put(os.fspath(path), path.name, preserve=True)

    asyncio.run(asyncio.wait_for(put(), PATIENCE))


def lftp(server: Server, commands: str, port: int = 0) -> str:
    needs("lftp")
    connect = f"ssh -a -x {' '.join(SSH)} -i {server.key}"
    settings = (
        f'set sftp:connect-program "{connect}"; set net:reconnect-interval-base 1; set net:max-retries 9'
    )
    return server.run("lftp", "-c", f"{settings}; open -u ann, sftp://127.0.0.1:PORT; {commands}", port=port)


def put_with_lftp(server: Server, path: Path) -> None:
    lftp(server, f"put {path}")


def rclone(server: Server, *words: str | Path) -> str:
    needs("rclone")
    remote = f":sftp,host=127.0.0.1,port={server.port},user=ann,key_file={server.key}:"
    replaced = [f"{remote}{word[1:]}" if isinstance(word, str) and word[0] == ":" else word for word in words]
    return server.run("rclone", "--config=/dev/null", *replaced)


def put_with_rclone(server: Server, path: Path) -> None:
    rclone(server, "copyto", path, f":{path.name}")


def put_with_curl(server: Server, path: Path) -> None:
    needs("curl")
    if "sftp" not in subprocess.run(["curl", "-V"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("this curl has no SFTP")
    server.run(
        "curl", "-sSk", "-u", "ann:", "--key", server.key, "--pubkey", f"{server.key}.pub", "-T", path,
        f"sftp://127.0.0.1:PORT/{path.name}",
    )  # fmt: skip


PUTS: list[Put] = [
    put_with_sftp,
    put_with_scp,
    put_with_old_scp,
    put_with_paramiko,
    put_with_asyncssh,
    put_with_lftp,
    put_with_rclone,
    put_with_curl,
]


@pytest.mark.parametrize("put", PUTS)
def test_a_client_stores_files_of_any_size_bit_for_bit(server: Server, put: Put) -> None:
    for size in SIZES:
        path = server.file(f"file-{size}", size, size)
        put(server, path)
        assert (server.received / path.name).read_bytes() == path.read_bytes()
    assert sorted(os.listdir(server.received)) == sorted(f"file-{size}" for size in SIZES)
    assert not server.daemon.has_told("plugin fault")


@pytest.mark.parametrize("words", [["scp"], ["scp", "-O"]])
def test_scp_stores_a_tree(server: Server, words: list[str]) -> None:
    needs("scp")
    tree = server.folder / "tree"
    (tree / "deep" / "deeper").mkdir(parents=True)
    (tree / "empty").mkdir()
    for name in ("a", "deep/b c", "deep/deeper/ü"):
        (tree / name).write_bytes(os.urandom(1000))
    server.run(*words, *SSH, "-rp", "-i", server.key, "-P", "PORT", tree, "ann@127.0.0.1:")
    server.run("diff", "-r", tree, server.received / "tree")
    assert (server.received / "tree" / "a").stat().st_mtime == int((tree / "a").stat().st_mtime)


def test_lftp_mirrors_a_tree(server: Server) -> None:
    (server.folder / "tree" / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (server.folder / "tree" / name).write_bytes(os.urandom(1000))
    lftp(server, "mirror -R tree")
    server.run("diff", "-r", server.folder / "tree", server.received / "tree")


def test_rclone_copies_a_tree_once(server: Server) -> None:
    (server.folder / "tree" / "deep").mkdir(parents=True)
    for number in range(20):
        (server.folder / "tree" / "deep" / f"{number}").write_bytes(os.urandom(1000))
    rclone(server, "copy", server.folder / "tree", ":tree")
    server.run("diff", "-r", server.folder / "tree", server.received / "tree")


def test_reput_goes_on_after_the_daemon_was_killed(own_server: Server) -> None:
    server = own_server
    path = server.file("big", 32 * MIB)
    client = server.slow_sftp(f"put {path}")
    wait_until(lambda: server.durable() > 0)
    server.restart()
    client.communicate(timeout=PATIENCE)
    assert not server.received.exists()
    server.sftp(f"put -a {path}")
    assert (server.received / "big").read_bytes() == path.read_bytes()
    assert not list(server.parts.glob("*.state"))


def test_a_put_that_is_interrupted_stores_nothing_and_goes_on(server: Server) -> None:
    """Ctrl-C makes OpenSSH's client close what it has sent; in `put -a` it sets the size to that first."""
    path = server.file("big", 64 * MIB)
    for command in ("put", "put -a"):
        assert b"close remote: Failure" in server.interrupted_sftp(f"{command} {path}")
        assert not server.received.exists()
    server.sftp(f"put -a {path}")
    assert (server.received / "big").read_bytes() == path.read_bytes()


def test_a_client_may_change_the_keys_all_the_time(server: Server) -> None:
    path = server.file("big", 8 * MIB)
    server.sftp(f"put {path}", options=("-oRekeyLimit=256K",))
    assert (server.received / "big").read_bytes() == path.read_bytes()


def test_lftp_goes_on_after_a_cut(server: Server) -> None:
    path = server.file("big", 16 * MIB)
    cut = Cut(server.port, 6 * MIB)
    lftp(server, f"put {path}", port=cut.port)
    cut.close()
    assert cut.cuts == 1
    assert (server.received / "big").read_bytes() == path.read_bytes()
    assert os.listdir(server.received) == ["big"]


def test_curl_goes_on_where_it_was_cut(server: Server) -> None:
    needs("curl")
    path = server.file("big", 8 * MIB)
    cut = Cut(server.port, 3 * MIB)
    words: list[str | Path] = [
        "curl", "-sSk", "-u", "ann:", "--key", server.key, "--pubkey", f"{server.key}.pub",
        "-C", "-", "-T", path, "sftp://127.0.0.1:PORT/big",
    ]  # fmt: skip
    if "sftp" not in subprocess.run(["curl", "-V"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("this curl has no SFTP")
    server.run(*words, fails=True, port=cut.port)
    cut.close()
    assert not (server.received / "big").exists()
    server.run(*words)
    assert (server.received / "big").read_bytes() == path.read_bytes()


def test_a_file_that_is_there_stays_whatever_is_sent(server: Server) -> None:
    server.file("a", 1000, 1)
    server.sftp("put a")
    first = (server.received / "a").read_bytes()
    server.file("a", 500, 2)
    server.sftp("put a", "ls -l a")
    assert (server.received / "a").read_bytes() == first
    assert (server.received / "a (2)").stat().st_size == 500
    server.sftp("rm a", fails=True)
    server.sftp("reput a", fails=True)
    assert (server.received / "a").read_bytes() == first


def test_a_password_logs_in_and_a_wrong_one_does_not(server: Server) -> None:
    needs("curl")
    path = server.file("a", 10)
    url = "sftp://127.0.0.1:PORT/a"
    if "sftp" not in subprocess.run(["curl", "-V"], capture_output=True, text=True, check=True).stdout:
        pytest.skip("this curl has no SFTP")
    server.run("curl", "-sSk", "-u", "ann:wrong", "-T", path, url, fails=True)
    server.run("curl", "-sSk", "-u", "bob:secret", "-T", path, url, fails=True)
    assert not server.received.exists()
    server.run("curl", "-sSk", "-u", "ann:secret", "-T", path, url)
    assert (server.received / "a").exists()


def test_a_token_is_all_that_a_client_needs(start: Start, tmp_path: Path) -> None:
    needs("sftp")
    config = """
[service.files]
plugin = "files"
listen = [{ endpoint = "tcp:0:interface=127.0.0.1", protocol = "sftp" }]
options = { directory = "received", access = "tokens" }
"""
    daemon = start(config, how="sockd").ready()
    invited = subprocess.run(
        [BIN / "sockd", "files", "invite", "--json", "--files", "1", "files", "-c", "sockd.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert invited.returncode == 0, invited.stderr
    token = json.loads(invited.stdout)["token"]
    (tmp_path / "batch").write_text("put a\n")
    command = ["sftp", *SSH, "-P", str(daemon.port("files")[1]), "-b", "batch"]
    # A token that is used up still opens the service: to a file that was sent, as the answer may be lost.
    for user, data, code in [
        ("x" * 24, b"data", 255),
        (token, b"data", 0),
        (token, b"data", 0),
        (token, b"DATA", 1),
    ]:
        (tmp_path / "a").write_bytes(data)
        done = subprocess.run(
            [*command, f"{user}@127.0.0.1"], cwd=tmp_path, capture_output=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == code, (user, done)
    assert (tmp_path / "received" / "a").read_bytes() == b"data"
