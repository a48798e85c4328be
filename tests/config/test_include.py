"""Configurations of several files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sockd.config import Config
from sockd.endpoint import UnixEndpoint
from sockd.errors import Fault

Load = Callable[[str], Config]
Faulty = Callable[[str], tuple[Fault, ...]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], None]:
    """Writes a file beside `sockd.toml`."""

    def written(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    return written


def echo(name: str, endpoint: str = "") -> str:
    return f'[service.{name}]\nplugin = "echo"\nlisten = ["{endpoint or "unix:" + name}"]\n'


def test_included_services_come_after_those_of_the_file_in_sorted_order(
    config: Load, write: Callable[[str, str], None]
) -> None:
    write("d/b.toml", echo("b"))
    write("d/a.toml", echo("z"))
    write("d/c.txt", "no TOML")
    write("last.toml", echo("last"))
    services = config(f'daemon.include = ["d/*.toml", "last.toml"]\n{echo("own")}').services
    assert list(services) == ["own", "z", "b", "last"]


def test_relative_paths_of_an_included_file_count_from_its_own_folder(
    config: Load, write: Callable[[str, str], None], tmp_path: Path
) -> None:
    write("d/a.toml", echo("a", "unix:run/a"))
    endpoint = config('daemon.include = ["d/*"]').services["a"].listen[0].endpoint
    assert endpoint == UnixEndpoint("unix", tmp_path / "d/run/a")


def test_included_services_start_from_the_common_limits(
    config: Load, write: Callable[[str, str], None]
) -> None:
    write("d/a.toml", echo("a"))
    text = 'daemon.include = ["d/*"]\nlimits.max_connections = 5'
    assert config(text).services["a"].limits.max_connections == 5


def test_an_absolute_pattern_is_fine(config: Load, write: Callable[[str, str], None], tmp_path: Path) -> None:
    write("d/a.toml", echo("a"))
    assert list(config(f'daemon.include = ["{tmp_path}/d/*"]').services) == ["a"]


def test_a_file_is_read_once_and_the_including_file_is_not_its_own_include(
    config: Load, write: Callable[[str, str], None]
) -> None:
    write("a.toml", echo("a"))
    assert list(config('daemon.include = ["*.toml", "a.toml", "a*"]').services) == ["a"]


def test_a_single_pattern_needs_no_brackets(
    config: Load, faults: Faulty, write: Callable[[str, str], None]
) -> None:
    write("d/a.toml", echo("a"))
    loaded = config('daemon.include = "d/*"')
    assert (list(loaded.services), loaded.daemon.include) == (["a"], ("d/*",))
    [fault] = faults('daemon.include = "nope.toml"')
    assert fault.message == "daemon.include[0]: there is no such file"
    assert fault.source[fault.column - 1 :][: fault.length] == '"nope.toml"'


def test_a_pattern_may_match_nothing_but_a_name_must_exist(config: Load, faults: Faulty) -> None:
    assert config('daemon.include = ["d/*.toml", "x?", "[ab]"]').services == {}
    [fault] = faults('daemon.include = ["d/*.toml", "nope.toml"]')
    assert fault.message == "daemon.include[1]: there is no such file"
    assert fault.source[fault.column - 1 :][: fault.length] == '"nope.toml"'


def test_an_included_file_holds_only_services(faults: Faulty, write: Callable[[str, str], None]) -> None:
    write("a.toml", f"[limits]\n[daemon]\ninclude = ['*']\n{echo('a')}")
    first, second = faults('daemon.include = ["a.toml"]')
    assert first.message == "an included file holds only services, found 'limits'"
    assert second.message == "an included file holds only services, found 'daemon'"
    assert (Path(second.file).name, second.line, second.column) == ("a.toml", 2, 2)


def test_a_service_defined_twice_is_a_fault_that_names_both_places(
    faults: Faulty, write: Callable[[str, str], None], tmp_path: Path
) -> None:
    write("a.toml", f"# first\n{echo('x', 'tcp:1')}")
    write("b.toml", echo("x", "tcp:2"))
    [fault] = faults('daemon.include = ["?.toml"]')
    assert fault.message == f"service 'x': this service is already defined at {tmp_path / 'a.toml'}:2"
    assert (Path(fault.file).name, fault.line, fault.column) == ("b.toml", 1, 10)


def test_the_faults_of_all_files_come_in_one_run(
    faults: Faulty, write: Callable[[str, str], None], tmp_path: Path
) -> None:
    write("a.toml", "not toml")
    write("b.toml", echo("b").replace("echo", "nope"))
    (tmp_path / "c.toml").mkdir()
    found = faults('daemon.include = ["?.toml", 5]\ndaemon.workers = "x"')
    places = [(Path(fault.file).name, fault.line) for fault in found]
    assert places == [("a.toml", 1), ("b.toml", 2), ("c.toml", 0), ("sockd.toml", 1), ("sockd.toml", 2)]


def test_a_link_that_leads_nowhere_is_a_file_that_cannot_be_read(faults: Faulty, tmp_path: Path) -> None:
    (tmp_path / "a.toml").symlink_to("a.toml")
    [fault] = faults('daemon.include = ["a.toml"]')
    assert fault.message == "cannot read the file: too many levels of symbolic links"
