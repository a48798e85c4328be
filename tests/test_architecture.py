"""ARCHITECTURE.md is true: its files, its functions and its arrows are those of the code."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.test_promises import MODULES, ROOT, arrows, own

PAGE = (ROOT / "ARCHITECTURE.md").read_text()
STEP = re.compile(r"`([\w/]+\.py): ([^`]+)`")
STEPS = sorted(set(STEP.findall(PAGE)))


def section(title: str) -> str:
    """Return the text below a heading."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def listed() -> dict[str, str]:
    """Return the files of the list with their roles; a folder has a role as well."""
    found: dict[str, str] = {}
    room = ""
    for line in section("Files").partition("```\n")[2].partition("```")[0].splitlines():
        name, role = line.split(maxsplit=1)
        if line.startswith(" "):
            name = f"{room}{name}"
        else:
            room = name
        assert name not in found, f"{name} is listed twice"
        found[name] = role
    return found


def in_the_tree() -> set[str]:
    """Return the modules of sockd without their suffix, and the folders with a slash."""
    files = [path.relative_to(ROOT / "sockd") for path in ROOT.glob("sockd/**/*.py")]
    return {str(path.with_suffix("")) for path in files if path.stem != "__init__"} | {
        f"{path.parent}/" for path in files if path.stem == "__init__" and path.parent != Path()
    }


def test_the_list_of_files_is_that_of_the_tree() -> None:
    assert set(listed()) == in_the_tree()


def test_the_rooms_are_listed_in_their_order() -> None:
    """A room imports only from the rooms above it; `uvreactor` is apart."""
    rooms = [name.rstrip("/") for name in listed() if "/" not in name.rstrip("/")]
    for name in MODULES:
        room = own(MODULES[name])
        for other in {own(MODULES[other]) for other in arrows(name) - {"sockd"}} - {room, "uvreactor"}:
            assert rooms.index(other) < rooms.index(room), f"{name} imports {other}, which stands below"


def arrows_of_the_page() -> dict[str, set[str]]:
    """Return the rooms that each room imports, as the page draws them."""
    block = section("Arrows").partition("```\n")[2].partition("```")[0]
    drawn: dict[str, set[str]] = {}
    room = ""
    for line in block.splitlines():
        name, arrow, others = line.partition("->")
        room = name.strip() if arrow else room
        drawn.setdefault(room, set()).update((others if arrow else name).split())
    return drawn


def arrows_of_the_code() -> dict[str, set[str]]:
    """Return the rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for name in MODULES:
        room = own(MODULES[name])
        if room != "__init__":
            found.setdefault(room, set()).update(own(MODULES[other]) for other in arrows(name) - {"sockd"})
    return {room: others - {room} for room, others in found.items()}


def test_every_arrow_is_one_of_the_code() -> None:
    assert arrows_of_the_page() == arrows_of_the_code()


@cache
def definitions(path: str) -> set[str]:
    """Return the functions and classes of a file, methods with the name of their class."""
    names = set()
    for node in ast.parse((ROOT / "sockd" / path).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return names


def test_the_page_names_functions() -> None:
    assert len(STEPS) > 30


@pytest.mark.parametrize(("path", "name"), STEPS)
def test_every_function_of_the_page_exists(path: str, name: str) -> None:
    assert (ROOT / "sockd" / path).is_file(), f"there is no sockd/{path}"
    assert name in definitions(path), f"there is no {name} in sockd/{path}"


def test_every_path_of_the_page_exists() -> None:
    for path in re.findall(r"`((?:sockd|tests|plugins|docs|config)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path
