"""Line that is typed: completion, and its history in a file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from sockd.cli.chat.typing import MOST_LINES, Completing, KeptLines
from tests.cli.chat.served import Client, a_hub


def kept(path: Path) -> list[str]:
    return list(KeptLines(path).load_history_strings())[::-1]


def test_lines_are_kept_in_a_file_that_its_owner_alone_can_read(tmp_path: Path) -> None:
    path = tmp_path / "state" / "chat" / "lines"
    lines = KeptLines(path)
    for line in ("hello", "two\nlines", "żółć"):
        lines.store_string(line)
    assert kept(path) == ["hello", "two\nlines", "żółć"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("line", ["/login ann secret", "/LOGIN ann x", "/join den key", "x" * 5000])
def test_lines_with_a_secret_are_not_kept(tmp_path: Path, line: str) -> None:
    KeptLines(tmp_path / "lines").store_string(line)
    assert not (tmp_path / "lines").exists()


def test_the_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("".join(f"{number}\n" for number in range(3 * MOST_LINES)))
    assert len(kept(path)) == MOST_LINES
    assert len(path.read_text().splitlines()) == MOST_LINES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_or_a_pipe_in_its_place_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        KeptLines(tmp_path / name).store_string("hello")
        assert kept(tmp_path / name) == []
    assert (tmp_path / "target").read_text() == ""


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("/jo", ["/join "]),
        ("/JO", ["/join "]),
        ("b", ["bob: "]),
        ("B", ["bob: "]),
        ("hi b", ["bob "]),
        ("hi ", []),
        ("/msg b", ["bob "]),
        ("/msg bob b", ["bob "]),
        ("/join l", ["lobby "]),
        ("a", []),  # one's own name
        ("/dance b", ["bob "]),
        ("", []),
    ],
)
def test_commands_names_and_rooms_are_completed(typed: str, completed: list[str]) -> None:
    hub = a_hub()
    ann = Client(hub)
    Client(hub, "bob")
    ann.passes()
    found = Completing(ann.session).get_completions(Document(typed), CompleteEvent())
    assert [each.text for each in found] == completed
