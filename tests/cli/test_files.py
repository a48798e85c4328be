"""`sockd files`, beside no daemon."""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sockd.cli import files as command
from sockd.cli import main
from sockd_plugins.files.access.credentials import is_token
from sockd_plugins.files.access.tokens import Tokens
from sockd_plugins.files.notices.notice import Notice
from sockd_plugins.files.notices.outbox import Outbox
from sockd_plugins.files.storage.parts import PARTS, Part, Parts, open_parts
from sockd_plugins.files.storage.sender import Sender
from sockd_plugins.files.storage.state import Facts

COLON = "a character that not every system takes in a file name (:)"
CONFIG = """
[daemon]
state_dir = "state"
[service.drop]
plugin = "files"
listen = [{ endpoint = "tcp:7021:interface=127.0.0.1", protocol = "upload" }]
[service.drop.options]
directory = "received"
users = "users.txt"
user_quota = "5KiB"
user_quotas = { ann = { files = 3 } }
[service.echo]
plugin = "echo"
listen = ["tcp:7007:interface=127.0.0.1"]
"""

USERS = f"""
ann:$scrypt$ln=4,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qZhEfTwICSXByfxC9mbEkzGSX5KmzAvMx/tJ1vfvyxg
bob:ssh-ed25519 {base64.b64encode(bytes.fromhex("0000000b") + b"ssh-ed25519" + bytes(36)).decode()} bob@laptop
"""


class Machine:
    """Folder with a configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "sockd.toml"
        self.config.write_text(CONFIG)
        (folder / "users.txt").write_text(USERS)

    def run(self, *words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, ["files", words[0], "-c", str(self.config), *words[1:]], input=stdin)

    def asks(self, *words: str) -> Any:
        result = self.run(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.output)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def parts(machine: Machine) -> Iterator[Parts]:
    """Return the unfinished uploads of a service that has received something."""
    (machine.folder / "received").mkdir()
    around = os.open(machine.folder / "received", os.O_RDONLY)
    folder = open_parts(around, machine.folder / "received")
    yield Parts(folder, 86400)
    os.close(folder)
    os.close(around)


def test_a_token_is_printed_with_the_ways_to_use_it(machine: Machine) -> None:
    result = machine.run(
        "invite", "--max", "5GiB", "--once", "--for", "2d", "--folder", "in/ann", "--note", "Ann"
    )
    assert result.exit_code == 0
    head, ways, note = result.output.rstrip().split("\n\n")
    assert head.startswith("token ")
    assert ": 1 file, 5.0GiB, until " in head
    text = ways.split()[4]
    assert is_token(text)
    assert ways == f"sockd  sockd send --token {text} FILE tcp:127.0.0.1:7021"
    assert note.startswith("the service takes files from anyone")
    tokens = Tokens(machine.folder / "state" / "drop")
    try:
        token = tokens.find(text)
    finally:
        tokens.close()
    assert (token.max_size, token.max_files, token.folder, token.note) == (5 << 30, 1, "in/ann", "Ann")
    assert token.until == pytest.approx(token.made + 2 * 86400)


def test_tokens_are_listed_and_ended(machine: Machine) -> None:
    made = machine.asks("invite", "--max", "5KiB", "drop")
    assert [row["id"] for row in machine.asks("tokens")] == [made["id"]]
    assert machine.run("end", made["id"]).output == f"ended token {made['id']}\n"
    assert machine.asks("tokens") == []
    (row,) = machine.asks("tokens", "--all")
    assert row["state"] == "ended"
    table = machine.run("tokens", "--all").output.splitlines()
    assert table[0].split() == ["ID", "STATE", "FILES", "BYTES", "UNTIL", "FOLDER", "NOTE"]
    assert table[1].split()[:4] == [made["id"], "ended", "0", "0/5.0K"]


def test_users_are_listed_with_what_their_folders_hold(machine: Machine) -> None:
    (machine.folder / "received" / "ann" / "x").mkdir(parents=True)
    (machine.folder / "received" / "ann" / "a").write_bytes(bytes(1000))
    (machine.folder / "received" / "ann" / "x" / "b").write_bytes(bytes(48))
    (machine.folder / "received" / "ann" / "link").symlink_to("a")
    assert [line.split() for line in machine.run("users").output.splitlines()] == [
        ["NAME", "PASSWORDS", "KEYS", "FILES", "BYTES"],
        ["ann", "1", "0", "2/3", "1.0K/5.0K"],
        ["bob", "0", "1", "0", "0/5.0K"],
    ]


def test_notices_that_nobody_has_taken_are_listed(machine: Machine) -> None:
    assert machine.asks("notices") == []
    outbox = Outbox(machine.folder / "state" / "drop", machine.folder / "received", {"webhook": 20.0})
    outbox.write(Notice("0123456789abcdef", "in/a.txt", 5, "sha256=00", "-", "", 1_700_000_000.0), 1)
    outbox.close()
    (row,) = machine.asks("notices")
    assert (row["id"], row["file"], row["recipient"], row["attempts"]) == (
        "0123456789abcdef",
        "in/a.txt",
        "webhook",
        0,
    )
    table = machine.run("notices").output.splitlines()
    assert table[1].split()[:6] == ["0123456789abcdef", "in/a.txt", "webhook", "0", "2023-11-14", "22:13"]


def kept(parts: Parts, sender: Sender) -> Part:
    part = parts.create(0o600, 10, sender.source)
    parts.keep(part, Facts("a.txt", 10), sender)
    return part


def test_an_upload_that_waits_is_listed_and_ended(machine: Machine, parts: Parts) -> None:
    part = kept(parts, Sender("192.0.2.1", "user:ann", "ann"))
    part.close()
    (row,) = machine.asks("uploads")
    assert (row["id"], row["name"], row["size"], row["sender"], row["busy"]) == (
        part.id,
        "ann/a.txt",
        10,
        "user:ann",
        False,
    )
    assert machine.run("uploads").output.splitlines()[1].split()[:4] == [part.id, "ann/a.txt", "0", "10"]
    assert machine.run("end", part.id).output == f"ended upload {part.id}\n"
    assert machine.asks("uploads") == []
    assert list((machine.folder / "received" / PARTS).iterdir()) == []


def test_an_upload_that_its_connection_does_not_leave_is_told(
    machine: Machine, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sockd_plugins.files.commands._END_SECONDS", 0.0)
    part = kept(parts, Sender())
    result = machine.run("end", part.id)
    assert result.exit_code == 1
    assert result.output == f"sockd: its connection does not leave {part.id}; `sockd kick` ends it\n"
    assert machine.asks("uploads")[0]["busy"] is True
    fcntl.flock(part.file, fcntl.LOCK_UN)
    part.close()
    assert machine.run("end", part.id).exit_code == 0


def test_what_is_neither_token_nor_upload_is_told(machine: Machine) -> None:
    for id in ("12345678", "0123456789abcdef", "x"):  # noqa: A001
        result = machine.run("end", id)
        assert result.exit_code == 1
        assert result.output == f"sockd: there is no token and no unfinished upload {id}\n"


def test_looking_makes_nothing(machine: Machine) -> None:
    assert machine.asks("tokens") == []
    assert machine.asks("uploads") == []
    assert machine.asks("notices") == []
    assert machine.asks("users")[0]["files"] == 0
    assert sorted(path.name for path in machine.folder.iterdir()) == ["sockd.toml", "users.txt"]


def test_the_public_key_is_always_the_same(machine: Machine) -> None:
    first = machine.run("key").output
    assert first.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert machine.run("key").output == first


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tokens", "echo"], "service 'echo' receives no files; expected one of drop"),
        (["tokens", "other"], "there is no service 'other'; expected one of drop"),
        (
            ["invite", "--folder", "../x"],
            "expected a plain file name, found a dot, a dash or a space in front: '..'",
        ),
    ],
)
def test_a_command_that_is_refused_has_one_line(machine: Machine, words: list[str], text: str) -> None:
    result = machine.run(*words)
    assert (result.exit_code, result.output) == (1, f"sockd: {text}\n")
    assert json.loads(machine.run(*words, "--json").output) == {"error": text}


def test_a_service_must_be_named_if_there_are_several(machine: Machine) -> None:
    more = CONFIG[CONFIG.index("[service.drop]") : CONFIG.index("[service.echo]")]
    machine.config.write_text(CONFIG + more.replace("drop", "in").replace("7021", "7022"))
    result = machine.run("tokens")
    assert result.exit_code == 1
    assert "expected SERVICE, one of drop, in" in result.output
    machine.config.write_text(CONFIG.replace(more, ""))
    assert "has no service that receives files" in machine.run("tokens").output


@pytest.mark.parametrize(
    "words",
    [
        ["invite", "--max", "5 GB"],
        ["invite", "--for", "2"],
        ["invite", "--files", "0"],
        ["invite", "--once", "--files", "2"],
    ],
)
def test_a_wrong_command_line_is_told(machine: Machine, words: list[str]) -> None:
    assert machine.run(*words).exit_code == 2


def test_faults_of_the_configuration_are_shown_at_their_place(machine: Machine) -> None:
    machine.config.write_text(CONFIG.replace("directory", "directroy"))
    result = machine.run("tokens")
    assert result.exit_code == 1
    assert "did you mean 'directory'?" in result.output


def test_the_link_is_shown_as_a_code_too() -> None:
    code = command._qr_code("http://127.0.0.1:8080/t/abcdefgh/")
    assert len(code.splitlines()) > 10
    assert set(code) <= set("█▀▄ \n\x1b[97;40m")
