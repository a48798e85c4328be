"""`sockd send` to web servers: one for PUT, nginx, @tus/server, and our own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from clients import node_modules
from crews import wait_until
from cutting import Proxy
from running import BIN, PATIENCE, Start

MIB = 1 << 20

TUS_SERVER = """
import { Server } from '@tus/server';
import { FileStore } from '@tus/file-store';
const server = new Server({ path: '/files', datastore: new FileStore({ directory: process.argv[2] }) });
const http = server.listen({ host: '127.0.0.1', port: 0 });
http.on('listening', () => console.log(http.address().port));
"""


class Keeper(BaseHTTPRequestHandler):
    """Server that keeps what is PUT, and refuses some names."""

    kept: dict[str, bytes]
    refusals: dict[str, int]
    protocol_version = "HTTP/1.1"

    def do_OPTIONS(self) -> None:
        self.answer(200)

    def do_PUT(self) -> None:
        if status := self.refusals.get(self.path, 0):
            self.answer(status, b"no room for it\nmore\n")
            self.close_connection = True
            return
        self.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201)

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def keeper() -> Iterator[tuple[str, type[Keeper]]]:
    class Own(Keeper):
        kept: dict[str, bytes] = {}  # noqa: RUF012
        refusals: dict[str, int] = {}  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Own
    server.shutdown()
    thread.join()
    server.server_close()


Send = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def send(tmp_path: Path) -> Send:
    def run(*arguments: object, data: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "sockd"), "send", *map(str, arguments)]
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
        return subprocess.run(
            command,
            input=data,
            capture_output=True,
            text=True,
            env=environment,
            timeout=PATIENCE,
            check=False,
        )

    return run


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    sent = {"empty": b"", "a b%": b"1", "big": os.urandom(20 * MIB)}
    for name, data in sent.items():
        (tmp_path / name).write_bytes(data)
    return sent


def test_files_are_put_below_a_folder_of_any_web_server(
    keeper: tuple[str, type[Keeper]], send: Send, files: dict[str, bytes], tmp_path: Path
) -> None:
    address, server = keeper
    done = send(*(tmp_path / name for name in files), f"{address}/in/")
    assert done.returncode == 0, done.stderr
    assert server.kept == {"/in/empty": b"", "/in/a%20b%25": b"1", "/in/big": files["big"]}


def test_a_single_file_is_put_where_the_address_says_and_a_pipe_too(
    keeper: tuple[str, type[Keeper]], send: Send
) -> None:
    address, server = keeper
    assert send("-", f"{address}/report", "--name", "x", data="hello").returncode == 0
    assert server.kept == {"/report": b"hello"}


def test_a_refusal_is_told_in_the_words_of_the_server(
    keeper: tuple[str, type[Keeper]], send: Send, files: dict[str, bytes], tmp_path: Path
) -> None:
    address, server = keeper
    server.refusals["/big"] = 507
    done = send(tmp_path / "big", tmp_path / "empty", address)
    assert done.returncode == 1
    assert f"cannot send {tmp_path}/big to {address}/: refused (507): no room for it\n" in done.stderr
    assert server.kept == {"/empty": b""}


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Start nginx, which takes files by PUT; return its address and its folder."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("needs nginx")
    folder = tmp_path / "dav"
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    (tmp_path / "nginx.conf").write_text(f"""
        daemon off; master_process off; pid {tmp_path}/nginx.pid; error_log stderr; events {{}}
        http {{
            access_log off; client_body_temp_path {tmp_path}/body;
            server {{
                listen 127.0.0.1:{port}; root {folder}; client_max_body_size 25m;
                location / {{ dav_methods PUT; create_full_put_path on; }}
            }}
        }}
    """)
    command = [program, "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: _accepts(port) or process.poll() is not None)
        assert process.poll() is None
        yield f"http://127.0.0.1:{port}/in/", folder / "in"
        process.terminate()


def _accepts(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_nginx_gets_a_folder_by_put_and_refuses_what_is_too_large(
    nginx: tuple[str, Path], send: Send, files: dict[str, bytes], tmp_path: Path
) -> None:
    address, folder = nginx
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 26 << 20)
    done = send(*(tmp_path / name for name in [*files, "huge"]), address)
    assert done.returncode == 1
    assert f"cannot send {tmp_path}/huge to {address}: refused (413): " in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


@pytest.fixture
def tus(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Start @tus/server; return its address and its folder."""
    node, modules = node_modules("@tus/server", "@tus/file-store")
    (tmp_path / "node").mkdir()
    (tmp_path / "node/node_modules").symlink_to(modules)
    (tmp_path / "node/server.mjs").write_text(TUS_SERVER)
    folder = tmp_path / "tus"
    folder.mkdir()
    command = [node, str(tmp_path / "node/server.mjs"), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        if not (port := process.stdout.readline().strip()):
            pytest.skip("@tus/server needs a newer Node")
        yield f"http://127.0.0.1:{port}/files", folder
        process.kill()


def test_files_are_sent_by_tus_where_the_server_speaks_it(
    tus: tuple[str, Path], send: Send, files: dict[str, bytes], tmp_path: Path
) -> None:
    address, folder = tus
    with closing(Proxy(("127.0.0.1", int(address.split(":")[2].split("/")[0])))) as proxy:
        proxy.cut_after = 15 * MIB
        cut = f"{proxy.address.replace('tcp:', 'http://')}/files"
        done = send(*(tmp_path / name for name in files), cut)
    assert done.returncode == 0, done.stderr
    assert proxy.connections > 1
    assert send("-", address, "--name", "pipe", data="from a pipe").returncode == 0
    stored = sorted(path.read_bytes() for path in folder.iterdir() if path.suffix != ".json")
    assert stored == sorted([*files.values(), b"from a pipe"])


def test_an_upload_to_our_own_http_goes_on_after_a_break(
    start: Start, send: Send, files: dict[str, bytes], tmp_path: Path
) -> None:
    daemon = start(
        '[service.files]\nplugin = "files"\n'
        'listen = [{ endpoint = "tcp:0:interface=127.0.0.1", protocol = "http" }]\n'
        'options = { directory = "received" }\n',
        how="sockd",
    ).ready()
    with closing(Proxy(daemon.port("files"))) as proxy:
        proxy.cut_after = 15 * MIB
        done = send(tmp_path / "big", tmp_path / "empty", proxy.address.replace("tcp:", "http://") + "/")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "received/big").read_bytes() == files["big"]
    assert proxy.connections > 1
