from __future__ import annotations

import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, Logger

from sockd.reading import Unreadable
from sockd_plugins.chat.charters import FILE, SAVE_SECONDS, Charters
from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.events import Change, Topic
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.people import Person, Room
from sockd_plugins.chat.hub.rules import RoomRules, Rules

NOON = 1_800_000_000.0
OPS = RoomRules(topic="pagers", owners=frozenset({"ann"}), read_back="joined")


class Deaf:
    def deliver(self, batch: Batch) -> None:
        """Hear nothing."""


def done(work: Coroutine[Deferred[Any], Any, Any]) -> Any:
    found: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(found.append)
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


class Daemon:
    """Chat from one start to its end."""

    def __init__(self, folder: Path, rules: RoomRules = OPS) -> None:
        self.clock = Clock()
        self.told: list[Any] = []
        log = Logger(observer=cast("ILogObserver", self.told.append))
        limits = Rules("lobby", 10, 10, 16, 60, 3, 1000, 1000, rooms={"ops": rules})
        self.hub = Hub(limits, self.clock, log, now=lambda: NOON)
        self.charters = Charters(folder, execute, self.clock, log)
        done(self.charters.open(self.hub.kept_rooms()))

    @property
    def ops(self) -> Room:
        room = self.hub.kept_rooms()[1]
        assert room.name == "ops"
        return room

    def person(self, name: str) -> Person:
        person = self.hub.enter(name, Deaf(), account=name)
        self.hub.join(person, "ops")
        self.clock.advance(0)
        return person

    def changes(self) -> None:
        """Change everything that an operator can."""
        ann = self.person("ann")
        modes = [("m", ""), ("k", "word"), ("l", "9"), ("b", "eve*")]
        self.hub.set_modes(ann, "ops", [Change(True, mode, argument) for mode, argument in modes])
        self.hub.set_topic(ann, "ops", "new")
        self.clock.advance(0)


def test_what_operators_change_is_there_after_a_restart(tmp_path: Path) -> None:
    before = Daemon(tmp_path / "state")
    before.changes()
    done(before.charters.close())
    after = Daemon(tmp_path / "state").ops
    assert after.charter.shown(to_member=True) == before.ops.charter.shown(to_member=True)
    assert list(after.charter.listed("b")) == [("eve*!*@*", "ann")]
    assert after.topic == Topic("new", "ann", NOON)
    assert after.charter.known == {"ann": 0}
    assert after.charter.owners == {"ann"}


def test_a_change_is_written_a_second_later_once_and_readable_by_the_daemon_alone(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.changes()
    assert not (tmp_path / FILE).exists()
    daemon.clock.advance(SAVE_SECONDS)
    assert json.loads((tmp_path / FILE).read_text())["rooms"]["ops"]["limit"] == 9
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == [FILE]
    assert not daemon.clock.getDelayedCalls()


def test_a_topic_that_was_taken_away_stays_away(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.hub.set_topic(daemon.person("ann"), "ops", "")
    done(daemon.charters.close())
    assert Daemon(tmp_path).ops.topic is None


def test_without_changes_the_configured_topic_holds(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.person("bob")
    done(daemon.charters.close())
    assert Daemon(tmp_path).ops.topic == Topic("pagers", "", NOON)


def test_a_new_configuration_of_the_room_holds_alone(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.changes()
    done(daemon.charters.close())
    after = Daemon(tmp_path, RoomRules(topic="other")).ops
    assert after.topic == Topic("other", "", NOON)
    assert not after.charter.key


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"rooms": {"ops": {}}}', '{"rooms": {"ops": 1}}', "{"])
def test_a_damaged_file_is_no_start(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(Unreadable, match="is damaged: remove it"):
        Daemon(tmp_path)


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    (tmp_path / f"{Path(FILE).stem}.new").mkdir()
    daemon.changes()
    daemon.clock.advance(SAVE_SECONDS)
    [event] = daemon.told
    assert (event["log_format"], event["reason"]) == ("rooms not kept", "is a directory")
    assert daemon.ops.charter.key == "word"
