"""Table `[broker]`: what it takes, and how its faults are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from sockd.config import Config, Server, load, report
from sockd.errors import ConfigError

SERVICE = '\n[service.echo]\nplugin = "echo"\nlisten = ["tcp:7007"]\n'


def loaded(folder: Path, text: str) -> Config:
    (folder / "sockd.toml").write_text(f"[broker]\n{text}{SERVICE}")
    return load(folder / "sockd.toml")


def faults(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        loaded(folder, text)
    return report(error.value.faults)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("nats://127.0.0.1:4222", Server("127.0.0.1", 4222)),
        ("nats://nats.example.org", Server("nats.example.org", 4222)),
        ("tls://nats.example.org:443", Server("nats.example.org", 443, True)),
        ("nats://[::1]:4223", Server("::1", 4223)),
    ],
)
def test_servers_are_written_as_nats_writes_them(tmp_path: Path, url: str, server: Server) -> None:
    assert loaded(tmp_path, f'servers = "{url}"\n').broker.servers == (server,)
    assert loaded(tmp_path, f'servers = ["{url}"]\n').broker.servers == (server,)


def test_without_servers_there_is_no_broker(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").broker.servers == ()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "10.0.0.1:4222",
        "http://10.0.0.1",
        "nats://",
        "nats://a:0",
        "nats://a:99999",
        "nats://a/b",
        "nats://a b",
    ],
)
def test_what_is_no_server_is_a_fault_at_its_place(tmp_path: Path, url: str) -> None:
    text = faults(tmp_path, f'servers = ["nats://10.0.0.1", "{url}"]\n')
    assert "sockd.toml:2:" in text
    assert "expected a server such as nats://10.0.0.1:4222" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('servers = "nats://me:secret@a"\n', "user and password are keys of their own"),
        ('servers = ["nats://a", "tls://b"]\n', "expected servers that all speak TLS, or none of them"),
        ('password = "x"\n', "expected a user for the password"),
        ('credentials = "hello"\n', "expected credentials with the seed of a key"),
        ('ca = "ca.pem"\n', "expected certificates in PEM"),
        ('certificate = "ca.pem"\n', "expected certificate and key in PEM"),
        ("replicas = 9\n", "at most 5"),
        ('expiry = "1s"\n', "at least 6"),
        ('server = "nats://a"\n', "servers"),
        ('name = "a.b"\n', "name"),
    ],
)
def test_a_fault_says_what_is_expected(tmp_path: Path, text: str, words: str) -> None:
    assert words in faults(tmp_path, text)


def test_secrets_come_from_files_and_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    broker = loaded(tmp_path, 'user = "sockd"\npassword = { file = "password" }\n').broker
    assert broker.password == "hunter2"
    (tmp_path / "creds").write_text("hunter2\n")
    assert "hunter2" not in faults(tmp_path, 'credentials = { file = "creds" }\n')


def test_the_table_is_read_at_the_start_only(tmp_path: Path) -> None:
    from sockd.config.plan import plan

    old, new = loaded(tmp_path, ""), loaded(tmp_path, 'servers = "nats://a"\n')
    assert plan(old, new).later == ("broker",)
