"""Promises about the code itself: its rooms, its sizes, and what each plugin must have."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("sockd/**/*.py"), *ROOT.glob("plugins/**/*.py")])
LONGEST = 400
"""Lines of a source file."""

LONGEST_FUNCTION = 60
"""Lines of a function without a comment that says why it is longer."""

DESCRIBED = [*SOURCES, *sorted(ROOT.glob("benchmarks/**/*.py"))]
"""Files whose docstrings are held to the rule of their first word."""

FILLERS = (
    *("it", "its", "they", "their", "those", "these", "this", "that", "he", "she", "we", "you"),
    *("what", "whatever", "who", "whoever", "whose", "which", "whether", "how", "why", "when", "where"),
    *("nobody", "nothing", "everybody", "everyone", "everything", "somebody", "someone", "something"),
    *("anybody", "anything", "one", "the same", "some", "other", "another", "both", "only", "there", "here"),
    *("as", "of", "so", "if", "and", "but", "or", "because", "then", "also"),
)
"""No docstring begins so: the first word is a verb or a noun of the field."""

ROOMS = [
    {"text"},
    {"reading", "errors"},
    {"endpoint"},
    {"config"},
    {"broker"},
    {"plugin", "framing", "telnet"},
    {"discovery"},
    {"sockets"},
    {"limits", "tls", "telemetry"},
    {"stream"},
    {"datagram"},
    {"control"},
    {"process"},
    {"ipc"},
    {"serving", "supervisor"},
    {"tap"},
    {"cli"},
]
"""Rooms in their order; each imports only from itself and from those before it, never from a neighbour."""

APART = "uvreactor"
"""Imports nothing else of sockd, so that any Twisted program can use it; `process.reactor` installs it."""

FREE_OF_PEERS = {"stream", "datagram", "serving"}
"""What a supervisor must not load: it reads no byte of a peer."""

MOST_ENTRIES = 10
"""Modules of sockd beside its rooms."""

FOR_PLUGINS = {"errors", "text", "endpoint", "reading", "plugin", "framing", "telnet"}
"""What a plugin may import of sockd."""

PLUGINS = sorted(entry.name for entry in entry_points(group="sockd.plugins"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place(room: str) -> int:
    return next(level for level, names in enumerate(ROOMS) if room in names)


def own(path: Path) -> str:
    """The room that a file belongs to."""
    return path.relative_to(ROOT / "sockd").parts[0].removesuffix(".py")


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in ROOT.glob("sockd/**/*.py")}


@cache
def arrows(name: str) -> set[str]:
    """Return what a module imports of sockd, also where only a type checker looks."""
    return {other for other in imports(MODULES[name]) if other in MODULES}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_each_module_imports_only_from_its_own_room_and_those_before_it(name: str) -> None:
    room = own(MODULES[name])
    if room == "__init__":
        assert not arrows(name)
        return
    for other in arrows(name) - {"sockd"}:
        there = own(MODULES[other])
        if APART in (room, there):
            assert room == there or name == "sockd.process.reactor", f"{name} imports {other}"
        else:
            assert room == there or place(there) < place(room), f"{name} imports {other}"
    assert not [other for other in imports(MODULES[name]) if other.startswith("sockd_plugins")]


def test_no_modules_import_each_other_in_a_circle() -> None:
    finished: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name in finished:
            return
        for other in arrows(name) - {name}:
            # A package is there before its modules; what it imports of them is no circle.
            if not name.startswith(f"{other}."):
                visit(other, (*way, name))
        finished.add(name)

    for name in MODULES:
        visit(name, ())


def test_a_supervisor_loads_nothing_that_reads_a_peers_bytes() -> None:
    loaded: set[str] = set()
    todo = [name for name in MODULES if own(MODULES[name]) == "supervisor"]
    while todo:
        name = todo.pop()
        if name not in loaded:
            loaded.add(name)
            todo += arrows(name)
    assert not sorted(name for name in loaded if own(MODULES[name]) in FREE_OF_PEERS)


def test_few_modules_stand_beside_the_rooms() -> None:
    assert len(list(ROOT.glob("sockd/*.py"))) <= MOST_ENTRIES


@pytest.mark.parametrize("path", sorted(ROOT.glob("sockd/config/*.py")), ids=lambda path: path.name)
def test_the_configuration_knows_nothing_of_twisted(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith(("twisted", "zope"))]


def test_one_module_imports_the_reactor() -> None:
    """Importing it installs it; so does importing some other modules of Twisted."""
    installs = {"twisted.internet.reactor", "twisted.words.protocols.irc", "twisted.mail.smtp"}
    assert [module(path) for path in SOURCES if installs & set(imports(path))] == ["sockd.process.reactor"]


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("plugins/sockd_plugins/**/*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_built_in_plugin_imports_only_what_a_strangers_may(path: Path) -> None:
    for name in imports(path):
        if name.startswith("sockd."):
            assert name.split(".")[1] in FOR_PLUGINS, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_file_is_too_long_to_have_one_role(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


def blocks(path: Path) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield the module, the classes and the functions of a file."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", DESCRIBED, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(parsed(path)), f"{path.relative_to(ROOT)}:1: no docstring"


def filler(text: str) -> str | None:
    """Return the filler that a docstring begins with."""
    return next((word for word in FILLERS if re.match(rf"{word}\b", text, re.IGNORECASE)), None)


@pytest.mark.parametrize("folder", sorted({str(path.parent.relative_to(ROOT)) for path in DESCRIBED}))
def test_no_docstring_begins_with_a_pronoun_or_a_filler(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.body[0].lineno}: a verb or a noun instead of {filler(text)!r}"
        for path in DESCRIBED
        if path.parent == ROOT / folder
        for node in blocks(path)
        if filler(text := ast.get_docstring(node) or "")
    ]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("sockd/**/*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_long_function_has_a_comment_with_the_reason(path: Path) -> None:
    lines = path.read_text().splitlines()
    for node in blocks(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            explained = lines[first - 2].strip().startswith("#")
            where = f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
            assert length <= LONGEST_FUNCTION or explained, f"{where} has {length} lines, no comment above"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_generator_of_deferreds_is_used(path: Path) -> None:
    assert "inlineCallbacks" not in path.read_text()


def test_every_room_has_a_place_in_the_order() -> None:
    modules = {own(path) for path in ROOT.glob("sockd/**/*.py")} - {"__init__"}
    assert modules == set().union(*ROOMS) | {APART}


SHARED_BY_PLUGINS = {"database", "own_files", "token_bucket", "users"}
"""Modules of the plugins that are no plugins."""


def modules_of_plugins() -> set[str]:
    found = {path.stem for path in ROOT.glob("plugins/sockd_plugins/*.py")}
    found |= {path.parent.name for path in ROOT.glob("plugins/sockd_plugins/*/__init__.py")}
    return found - {"__init__"} - SHARED_BY_PLUGINS


def test_every_plugin_module_has_an_entry_point() -> None:
    named = {entry.value.partition(":")[0].split(".")[1] for entry in entry_points(group="sockd.plugins")}
    assert named == modules_of_plugins()


@pytest.mark.parametrize("module", sorted(modules_of_plugins()))
def test_every_plugin_has_a_test(module: str) -> None:
    assert [*ROOT.glob(f"tests/plugins/test_{module}*.py"), *ROOT.glob(f"tests/plugins/{module}/test_*.py")]


@pytest.mark.parametrize("name", PLUGINS)
def test_every_plugin_is_in_the_sample_configuration(name: str) -> None:
    sample = tomllib.loads((ROOT / "config/sockd.toml").read_text())
    assert name in {service["plugin"] for service in sample["service"].values()}


@pytest.mark.parametrize("name", PLUGINS)
def test_every_plugin_has_a_line_in_the_readme(name: str) -> None:
    assert f"| `{name}` |" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", PLUGINS)
def test_every_plugin_and_every_option_of_it_is_described(name: str) -> None:
    from sockd import discovery

    plugin = discovery.find(name)
    assert plugin.__doc__
    assert not [field for field, info in plugin.model_fields.items() if not info.description]
    head = import_module(plugin.__module__).__doc__ or ""
    assert len(head.splitlines()) > 3, "the head of the module describes the wire"


def test_every_command_has_a_line_in_the_readme() -> None:
    from sockd.cli import COMMANDS

    text = (ROOT / "README.md").read_text()
    assert not [command for command in COMMANDS if not re.search(rf"^\| .*`sockd {command}[ `]", text, re.M)]
