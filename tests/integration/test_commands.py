"""Commands of `sockd`, as a user types them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from running import BIN, PATIENCE, Daemon, Start

SOCKD = BIN / "sockd"


def sockd(*words: str, text: bytes = b"", cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [SOCKD, *words], input=text, capture_output=True, timeout=PATIENCE, cwd=cwd, check=False
    )


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("kind", ["tcp", "udp", "unix", "unixgram"])
def test_connect_passes_a_pipe_through_over_every_transport(daemon: Daemon, kind: str) -> None:
    address = daemon.addresses("upper", kind)[0]
    done = sockd("connect", address, text="grüße\nund mehr\n".encode())
    assert done.stdout.decode() == "GRÜSSE\nUND MEHR\n"
    assert done.returncode == 0


def test_connect_passes_large_input_through_unchanged(daemon: Daemon) -> None:
    data = os.urandom(3_000_000)
    assert sockd("connect", daemon.addresses("echo", "tcp")[0], text=data).stdout == data


def test_connect_goes_on_reading_while_the_service_answers_with_more_than_it_is_sent(daemon: Daemon) -> None:
    """Answers three times as long, by U+0390: a client that only sent would wait for the service for ever."""
    text = "\u0390" * 3_000_000
    done = sockd("connect", daemon.addresses("upper", "tcp")[0], text=text.encode())
    assert done.stdout.decode() == text.upper()


def test_connect_says_why_there_is_no_connection() -> None:
    port = closed_port()
    done = sockd("connect", f"tcp:{port}")
    assert done.returncode == 1
    assert done.stderr.decode() == f"Error: cannot connect to tcp:127.0.0.1:{port}: connection refused\n"
    assert sockd("connect", "unix:/nowhere/echo.sock").stderr.count(b"\n") == 1


def test_an_address_that_is_none_is_a_usage_error() -> None:
    done = sockd("connect", "nonsense")
    assert done.returncode == 2
    assert b"an address such as tcp:7007" in done.stderr


@pytest.mark.parametrize("kind", ["tcp", "udp", "unix"])
def test_time_prints_the_time_in_a_format(daemon: Daemon, kind: str) -> None:
    address = daemon.addresses("time", kind)[0]
    assert re.fullmatch(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n", sockd("time", address).stdout)
    assert re.fullmatch(rb"\d{4}\n", sockd("time", address, "%Y").stdout)
    refused = sockd("time", address, "%Q")
    assert refused.returncode == 1
    assert b"unknown directive" in refused.stderr


def test_time_does_not_wait_for_ever() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        done = sockd("time", f"udp:{silent.getsockname()[1]}", "--timeout", "0.2")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_chat_joins_with_a_name(daemon: Daemon, kind: str) -> None:
    done = sockd("chat", daemon.addresses("chat", kind)[0], "--name", "zoe", text=b"/who\n/quit\n")
    assert b"zoe" in done.stdout
    assert done.returncode == 0


def test_send_delivers_files_that_arrive_whole(daemon: Daemon, tmp_path: Path) -> None:
    first, second = tmp_path / "one.bin", tmp_path / "two words.txt"
    first.write_bytes(os.urandom(2_000_000))
    second.write_text("hello")
    done = sockd("send", str(first), str(second), daemon.addresses("files", "tcp")[0])
    assert done.returncode == 0, done.stderr
    assert b"one.bin" in done.stdout + done.stderr


def test_send_says_which_file_could_not_be_sent(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    done = sockd(
        "send", str(tmp_path / "missing"), str(tmp_path / "there"), daemon.addresses("files", "tcp")[0]
    )
    assert done.returncode == 4
    assert b"missing" in done.stderr


def test_serve_needs_no_file(tmp_path: Path) -> None:
    words = "serve upper --listen tcp:0:interface=127.0.0.1 --listen udp:0:interface=127.0.0.1"
    daemon = Daemon(SOCKD, *words.split(), cwd=tmp_path)
    try:
        with socket.create_connection(daemon.ready().port("upper"), PATIENCE) as client:
            client.sendall(b"no file")
            assert client.recv(100) == b"NO FILE"
    finally:
        assert daemon.stop() == 0
    assert list(tmp_path.iterdir()) == []


def test_plugins_lists_every_plugin_and_describes_one() -> None:
    listed = sockd("plugins")
    assert listed.returncode == 0
    names = [line.split()[0].decode() for line in listed.stdout.splitlines()]
    assert names == ["banner", "chat", "desk", "echo", "factory", "files", "time", "upper"]
    described = sockd("plugins", "banner").stdout.decode()
    assert "streams and datagrams" in described
    assert 'after = "connect"' in described


def test_plugins_tells_the_transports_of_each_protocol() -> None:
    described = sockd("plugins", "desk").stdout.decode()
    assert "\nserves     streams and datagrams\nprotocols  clients, operator (only streams)\n" in described
    described = sockd("plugins", "files").stdout.decode()
    assert "\nserves     streams and datagrams\nprotocols  upload (only streams), raw (only" in described
    assert "tftp (only datagrams)\n" in described


def test_plugins_says_why_one_cannot_be_used() -> None:
    done = sockd("plugins", "no_such_module:Thing")
    assert done.returncode == 1
    assert b"No module named 'no_such_module'" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_schema_is_a_json_schema_with_the_options_of_the_plugins() -> None:
    schema = json.loads(sockd("schema").stdout)
    assert "2020-12" in schema["$schema"]
    assert "history" in json.dumps(schema)


BROKEN = """
[service.echo]
plugin = "echo"
listen = ["tcp:7007", "udp:70x7"]
[service.echo.limits]
idle_timout = "2m"
"""


def test_check_tells_every_fault_with_exit_code_1_and_usage_with_2(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(BROKEN)
    done = sockd("check", cwd=tmp_path)
    assert done.returncode == 1
    assert b"sockd.toml:4:28: service 'echo'" in done.stderr
    assert b"did you mean 'idle_timeout'?" in done.stderr
    assert sockd("check", "--nonsense").returncode == 2


def test_check_for_machines_is_json(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(BROKEN)
    faults = json.loads(sockd("check", "--json", cwd=tmp_path).stdout)["faults"]
    assert [(fault["line"], fault["column"]) for fault in faults] == [(4, 28), (6, 1)]


def test_check_finds_a_transport_that_the_plugin_does_not_serve(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text(
        '[service.files]\nplugin = "files"\nlisten = ["tcp:0", "udp:0"]\noptions.directory = "in"\n'
    )
    done = sockd("check", cwd=tmp_path)
    assert done.returncode == 1
    assert b"sockd.toml:3:20:" in done.stderr
    assert b"datagrams" in done.stderr


def test_check_finds_paths_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "sockd.toml").write_text(
        '[service.echo]\nplugin = "echo"\nlisten = ["unix:file/echo.sock", "unix:file"]\n'
    )
    done = sockd("check", cwd=tmp_path)
    assert done.returncode == 1
    assert b"sockd.toml:3:11:" in done.stderr
    assert b"sockd.toml:3:34:" in done.stderr


def test_check_with_bind_tries_the_ports_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (tmp_path / "sockd.toml").write_text(
            '[service.echo]\nplugin = "echo"\n'
            f'listen = ["unix:echo.sock", "tcp:{other.getsockname()[1]}:interface=127.0.0.1"]\n'
        )
        assert sockd("check", cwd=tmp_path).returncode == 0
        done = sockd("check", "--bind", cwd=tmp_path)
    assert done.returncode == 1
    assert b"sockd.toml:3:29:" in done.stderr
    assert b"already in use" in done.stderr
    assert not (tmp_path / "echo.sock").exists()
    assert sockd("check", "--bind", cwd=tmp_path).returncode == 0


def test_help_is_there_without_twisted_and_pydantic() -> None:
    """Imports are checked instead of the time that they take."""
    code = (
        "import sys; from click.testing import CliRunner; from sockd.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "heavy = ('twisted', 'pydantic', 'rich', 'ssl', 'prompt_toolkit')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"[]\n"


def test_run_and_twistd_are_the_same_thing(start: Start) -> None:
    text = '[service.echo]\nplugin = "echo"\nlisten = ["tcp:0:interface=127.0.0.1"]\n'
    told = []
    for how in ("twistd", "sockd"):
        daemon = start(text, how=how).ready()
        daemon.signal()
        assert daemon.wait() == 0
        told.append(
            [{k: v for k, v in event.items() if k not in ("time", "address")} for event in daemon.events]
        )
    assert told[0] == told[1]
