"""Search of a command for the configuration that no option names."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sockd.cli import main
from sockd.process import places

GOOD = '[service.e]\nplugin = "echo"\nlisten = ["tcp:0"]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the present folder, on a machine without any configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOCKD_CONFIG", raising=False)
    monkeypatch.setattr(places, "PLACES", ("sockd.toml", "config/sockd.toml", f"{tmp_path}/etc/sockd.toml"))
    for name in ("sockd.toml", "config/sockd.toml", "etc/sockd.toml", "named.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(GOOD)
    return tmp_path


def checked(*words: str) -> str:
    return CliRunner().invoke(main, ["check", *words]).output.partition(":")[0]


def test_the_file_that_is_named_is_taken_then_the_variables_then_the_first_of_the_usual_places(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked() == "sockd.toml"
    (folder / "sockd.toml").unlink()
    assert checked() == "config/sockd.toml"
    (folder / "config" / "sockd.toml").unlink()
    assert checked() == f"{folder}/etc/sockd.toml"
    monkeypatch.setenv("SOCKD_CONFIG", "named.toml")
    assert checked() == "named.toml"
    assert checked("-c", "etc/sockd.toml") == "etc/sockd.toml"


def test_a_file_that_the_variable_names_has_to_be_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOCKD_CONFIG", "missing.toml")
    for command in ("check", "status", "systemd"):
        done = CliRunner().invoke(main, [command])
        assert done.exit_code in (1, 3)
        assert "missing.toml" in done.output


def test_without_any_file_the_places_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOCKD_CONFIG", raising=False)
    monkeypatch.setattr(places, "PLACES", ("sockd.toml",))
    for command, code in {"check": 2, "run": 2, "status": 3}.items():
        done = CliRunner().invoke(main, [command])
        assert done.exit_code == code
        assert "/etc/sockd/sockd.toml: name one with -c FILE or SOCKD_CONFIG" in done.output
