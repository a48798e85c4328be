"""docs/faults.md is a list without gaps, and each of its rows names tests that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs/faults.md").read_text())
PROOF = re.compile(r"`([^`:]+)::([^`]+)`")
NAMED = re.compile(r"\bfaults? (\d+)\b", re.IGNORECASE)

ON_THE_WAY_OF_A_PEER = ("limits", "stream", "datagram", "tls", "sockets", "serving", "telemetry")

LOOK_UPS = {
    *("gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getfqdn", "getnameinfo", "getaddrinfo"),
    *("lookupAddress", "lookupPointer", "nameResolver", "getHostByName"),
}
"""Functions of the standard library and of Twisted that ask a name server."""


@cache
def functions_of(path: str) -> set[str]:
    """Return the names of the test functions in a file of tests/."""
    tree = ast.parse((ROOT / "tests" / path).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


def test_the_faults_are_numbered_without_gaps() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) == len(re.findall(r"^\| \d", (ROOT / "docs/faults.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize(("number", "fault", "handling", "proof"), ROWS, ids=[row[0] for row in ROWS])
def test_each_fault_names_tests_that_exist(number: str, fault: str, handling: str, proof: str) -> None:
    named = PROOF.findall(proof)
    assert named, f"fault {number} ({fault}; {handling}) names no test"
    assert not PROOF.sub("", proof).strip(), f"fault {number} names something that is no test"
    for path, name in named:
        assert (ROOT / "tests" / path).is_file(), f"fault {number}: there is no tests/{path}"
        assert name in functions_of(path), f"fault {number}: there is no {name} in tests/{path}"


def numbers_named() -> Iterator[tuple[str, int]]:
    for folder in ("sockd", "plugins", "benchmarks", "tests"):
        for path in sorted(ROOT.glob(f"{folder}/**/*.py")):
            for line, text in enumerate(path.read_text().splitlines(), 1):
                for number in NAMED.findall(text):
                    yield f"{path.relative_to(ROOT)}:{line}", int(number)


def test_each_number_that_the_code_names_exists() -> None:
    known = {int(number) for number, *_ in ROWS}
    assert not [f"{place}: fault {number}" for place, number in numbers_named() if number not in known]


@pytest.mark.parametrize("room", ON_THE_WAY_OF_A_PEER)
def test_no_room_on_the_way_of_a_peer_looks_up_a_name(room: str) -> None:
    for path in ROOT.glob(f"sockd/{room}/*.py"):
        used = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute | ast.Name)
        }
        assert not used & LOOK_UPS, path.relative_to(ROOT)
