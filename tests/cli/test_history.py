"""`sockd history`, beside no daemon and beside a history that is in use."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from twisted.logger import Logger

from benchmarks.history_crash import Turns
from sockd.cli import main
from sockd_plugins.chat.history.erasing import Bounds
from sockd_plugins.chat.history.history import History
from sockd_plugins.chat.history.upkeep import Change
from sockd_plugins.chat.hub.events import Said

CONFIG = """
[daemon]
state_dir = "state"
[service.talk]
plugin = "chat"
listen = ["tcp:7020:interface=127.0.0.1"]
[service.echo]
plugin = "echo"
listen = ["tcp:7007:interface=127.0.0.1"]
"""

NOON = 1_764_331_200.0

MESSAGES = [
    Said("lobby", "ann", "the password is Zwiebelkuchen", 1, NOON),
    Said("lobby", "bob", "I did not read Zwiebelkuchen", 2, NOON + 60),
    Said("ops", "Ann", "good night", 1, NOON + 61),
]


class Machine:
    """Folder with a configuration, and the history of its chat as a daemon has it."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "sockd.toml"
        self.config.write_text(CONFIG)
        self.state = folder / "state" / "talk"
        self.turns = Turns()

    def run(self, *words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(
            main, ["history", words[0], "-c", str(self.config), *words[1:]], input=stdin
        )

    def says(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return result.output

    def refuses(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exit_code == 1
        return result.output

    def history(self) -> History:
        return History(self.state, Bounds(age=0), self.turns, Logger())

    def on_disk(self, text: bytes) -> bool:
        return any(text in path.read_bytes() for path in self.state.iterdir())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def spoken(machine: Machine) -> Machine:
    """Return a machine on which messages were stored, and whose daemon has ended."""
    history = machine.history()
    machine.turns.wait_for(history.keep(MESSAGES))
    history.tidy()
    machine.turns.wait_for(history.close())
    return machine


def test_messages_are_found_by_their_words_the_last_one_last(spoken: Machine) -> None:
    assert spoken.says("search", "zwiebel").splitlines() == [
        "2025-11-28 12:00:00 lobby/1 <ann> the password is Zwiebelkuchen",
        "2025-11-28 12:01:00 lobby/2 <bob> I did not read Zwiebelkuchen",
    ]
    assert spoken.says("search", "-r", "LOBBY", "-n", "1", "zwiebel").count("\n") == 1
    assert json.loads(spoken.says("search", "--json", "good", "night")) == [
        {"room": "ops", "number": 1, "at": NOON + 61, "name": "Ann", "text": "good night"}
    ]


def test_all_messages_of_a_person_are_exported_as_json_lines(spoken: Machine) -> None:
    found: list[dict[str, Any]] = [json.loads(line) for line in spoken.says("export", "ANN").splitlines()]
    assert [(each["room"], each["number"], each["name"]) for each in found] == [
        ("lobby", 1, "ann"),
        ("ops", 1, "Ann"),
    ]
    assert spoken.says("export", "cleo") == ""


def test_a_message_is_removed_from_the_disk_without_a_daemon(spoken: Machine) -> None:
    assert spoken.on_disk(b"wiebelkuchen")
    assert spoken.says("redact", "lobby", "1") == "removed the text of lobby/1\n"
    assert spoken.says("redact", "Lobby", "2") == "removed the text of Lobby/2\n"
    assert not spoken.on_disk(b"wiebelkuchen")
    assert spoken.says("search", "zwiebel") == "\n"
    assert '"text": "(removed)"' in spoken.says("export", "bob")


def test_a_person_is_forgotten_after_a_question(spoken: Machine) -> None:
    assert spoken.run("forget", "ann", stdin="n\n").exit_code == 1
    assert spoken.on_disk(b"good night")
    assert spoken.run("forget", "ann", stdin="y\n").exit_code == 0
    assert not spoken.on_disk(b"good night")
    assert spoken.says("forget", "--yes", "bob") == "removed 1 message of bob\n"
    assert spoken.says("export", "bob") == ""


def test_a_daemon_cleans_up_and_is_told_what_a_command_has_removed(machine: Machine) -> None:
    history = machine.history()
    told: list[Change] = []
    history.on_changes = told.extend
    machine.turns.wait_for(history.keep(MESSAGES))
    outputs: list[str] = []

    def remove() -> None:
        outputs.append(machine.says("redact", "lobby", "1", "--reason", "a secret"))
        outputs.append(machine.says("forget", "--yes", "bob"))

    command = threading.Thread(target=remove)
    command.start()
    command.join()
    assert outputs == ["removed the text of lobby/1\n", "removed 1 message of bob\n"]
    assert not machine.on_disk(b"wiebelkuchen")
    machine.turns.wait_for(history.keep([Said("lobby", "bob", "again", 3, NOON)]))
    assert machine.turns.wait_for(history.latest("lobby", 1))[1][0].text == "again"
    machine.turns.wait_for(history.close())
    assert told == [Change("lobby", 1, "", "a secret"), Change("", 0, "bob", "")]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("search", "x"), "sockd: no message was ever stored\n"),
        (("export", "ann"), "sockd: no message was ever stored\n"),
        (("forget", "--yes", "ann"), "sockd: no message was ever stored\n"),
        (("redact", "lobby", "1"), "sockd: no message was ever stored\n"),
        (("search", "-s", "echo", "x"), "sockd: service 'echo' stores no messages; expected one of talk\n"),
    ],
)
def test_a_refusal_is_one_line(machine: Machine, words: tuple[str, ...], reason: str) -> None:
    assert machine.refuses(*words) == reason
    assert not machine.state.exists()


def test_what_cannot_be_found_is_told(spoken: Machine) -> None:
    assert spoken.refuses("redact", "lobby", "99") == "sockd: there is no message 99 in lobby\n"
    assert spoken.refuses("search", "!") == "sockd: there is no word to search for\n"
