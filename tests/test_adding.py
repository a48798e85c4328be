"""Adding a limit, or a command of the control socket: the places that a new one needs, by file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import click
import pytest

from sockd.cli import COMMANDS as CLI
from sockd.config.limits import SCOPES, Limits
from sockd.config.scope import Scope
from sockd.control.limits import limit_of
from sockd.control.operator import COMMANDS
from sockd.telemetry.metrics import FAMILIES

ROOT = Path(__file__).parent.parent

# Limits.

DECLARED = "sockd/config/limits.py"
REFERENCE = "config/reference.toml"
DOCUMENTED = "docs/limits.md"

OF = {
    "service": "all peers",
    "source": "a source",
    "connection": "a connection",
    "datagram": "a datagram",
}
OVER = {None: "both", "stream": "streams", "datagram": "datagrams"}
WORKERS = {"shared": "counted together", "divided": "divided", "own": "each its own", None: ""}
"""Words of the table in docs/limits.md."""


@cache
def text(path: str) -> str:
    return (ROOT / path).read_text()


@cache
def texts(pattern: str) -> dict[str, str]:
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(ROOT.glob(pattern))}


def written_default(key: str) -> str | None:
    """Return a limit's default as the reference has it, "" for one that is commented out."""
    found = re.search(rf"^(# )?{key} = (.+)$", text(REFERENCE).partition("[limits]")[2], re.MULTILINE)
    return found and ("" if found[1] else found[2])


def row(key: str, scope: Scope) -> str:
    """Return the line of the table in docs/limits.md about a limit."""
    default = f"`{value}`" if (value := written_default(key)) else "the plugin's"
    return (
        f"| `{key}` | {default} | {OF[scope.of]} | {OVER[scope.over]} | {WORKERS[scope.workers]} |".replace(
            "|  |", "| |"
        )
    )


def missing_for_limit(key: str) -> Iterator[str]:
    """Yield what is missing of a limit, each with its file."""
    scope = SCOPES.get(key)
    if scope is None:
        yield f"{DECLARED}: Annotated[…, Scope(…)] as its type"
        return
    if not Limits.model_fields[key].description:
        yield f"{DECLARED}: its description"
    if written_default(key) is None:
        yield f"{REFERENCE}: the key with a comment above it, in the order of the model"
    elif row(key, scope) not in text(DOCUMENTED).splitlines():
        yield f"{DOCUMENTED}: the line {row(key, scope)}"
    if scope.metric and scope.metric not in FAMILIES:
        yield f"sockd/telemetry/metrics.py: the family '{scope.metric}'"
    code = {path: source for path, source in texts("sockd/**/*.py").items() if "/config/" not in path}
    if not any(re.search(rf"\.{key}\b", source) for source in code.values()):
        yield f"sockd/: code that reads limits.{key}"
    if not any(key in source for source in texts("tests/**/test_*.py").values()):
        yield f"tests/: a test that names {key}"


@pytest.mark.parametrize("key", Limits.model_fields)
def test_a_limit_has_its_reference_its_documentation_its_code_and_a_test(key: str) -> None:
    missing = list(missing_for_limit(key))
    assert not missing, "\n".join(["missing", *missing])


@pytest.mark.parametrize("key", Limits.model_fields)
def test_a_limit_can_be_set_while_the_daemon_runs(key: str) -> None:
    found = re.search(rf"^(?:# )?{key} = (.+)$", text(REFERENCE).partition("[limits]")[2], re.MULTILINE)
    assert found
    value = found[1].strip('"').replace("_", "").removeprefix("[").removesuffix("]")
    assert limit_of(key, value).model_fields_set == {key}


def test_the_table_of_limits_has_no_line_of_another_limit() -> None:
    table = text(DOCUMENTED).partition("## Every limit")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert named == list(Limits.model_fields)


# Commands.

HELPERS = {"ping"}
"""Commands that no person gives: others use them."""

OPERATORS = {
    path: node
    for path in (*texts("sockd/**/operator.py"), "tests/control/serving.py")
    for node in ast.parse(text(path)).body
    if isinstance(node, ast.ClassDef) and node.name.endswith("Operator")
}
"""Classes that carry the commands out, the contract, and the one that tests speak with, by file."""


def arguments(operator: ast.ClassDef, command: str) -> list[str] | None:
    """Return the names of a method's arguments; None if there is no such method."""
    for node in operator.body:
        if isinstance(node, ast.AsyncFunctionDef) and node.name == command:
            return [argument.arg for argument in node.args.args[1:]]
    return None


def missing_for_command(command: str) -> Iterator[str]:
    """Yield what is missing of a command, each with its file."""
    if command in HELPERS:
        return
    for path, operator in OPERATORS.items():
        taken = arguments(operator, command)
        if taken is None:
            yield f"{path}: {operator.name}.{command}"
        elif sorted(taken) != sorted(COMMANDS[command]):
            yield f"{path}: {operator.name}.{command} with the arguments {list(COMMANDS[command])}"
    if command not in CLI:
        yield "sockd/cli/__init__.py: its module and its help, in COMMANDS"
    elif not isinstance(getattr(import_module(CLI[command][0]), command, None), click.Command):
        yield f"{CLI[command][0]}: a click command '{command}'"
    if not re.search(rf"^\| .*`sockd {command}[ `]", text("README.md"), re.MULTILINE):
        yield f"README.md: `sockd {command}` in the table of commands"
    for room in ("cli", "serving", "integration"):
        if not any(re.search(rf"\b{command}\b", each) for each in texts(f"tests/{room}/test_*.py").values()):
            yield f"tests/{room}/: a test that names {command}"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_its_operators_its_place_on_the_command_line_and_tests(command: str) -> None:
    missing = list(missing_for_command(command))
    assert not missing, "\n".join(["missing", *missing])


def test_the_operators_are_the_contract_and_one_for_each_life_and_for_tests() -> None:
    assert {Path(path).parent.name for path in OPERATORS} == {"control", "serving", "supervisor"}
    assert len(OPERATORS) == 4
