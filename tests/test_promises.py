"""Promises about the code itself: its floors, its sizes, and what each plugin must have."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("sockd/**/*.py"), *ROOT.glob("plugins/**/*.py")])
LONGEST = 400

FLOORS = [
    {"errors", "text", "endpoint", "networks", "reading", "config"},
    {"plugin", "framing", "telnet"},
    {
        "aside",
        "deadlines",
        "debounce",
        "descriptors",
        "discovery",
        "holder",
        "inherited",
        "limits",
        "linger",
        "notify",
        "ownership",
        "pidfile",
        "ports",
        "proxy",
        "sockets",
        "starting",
        "startup",
        "store",
        "telemetry",
        "tls",
        "transport",
        "unicast",
    },
    {
        "connection",
        "connections",
        "datagram",
        "entry",
        "handshakes",
        "meter",
        "output",
        "pace",
        "passing",
        "refusal",
        "waiting",
    },
    {"listener", "reload", "server", "service", "status"},
    {"cli", "control", "daemon", "doors", "launch", "supervisor", "sweep", "tap"},
]
"""Modules by floor; each imports only from its own and from lower ones."""

APART = "uvreactor"
"""Imports nothing else of sockd, so that any Twisted program can use it; only tap installs it."""

FOR_PLUGINS = {"errors", "text", "endpoint", "reading", "plugin", "framing", "telnet"}
"""What a plugin may import of sockd."""

PLUGINS = sorted(entry.name for entry in entry_points(group="sockd.plugins"))


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor(module: str) -> int:
    return next(level for level, names in enumerate(FLOORS) if module in names)


def own(path: Path) -> str:
    """The module of the map that a file belongs to."""
    return path.relative_to(ROOT / "sockd").parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("sockd/**/*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_each_module_imports_only_from_its_own_floor_and_those_below(path: Path) -> None:
    module = own(path)
    if module == "__init__":
        assert not list(imports(path))
        return
    for name in imports(path):
        if name.startswith("sockd."):
            other = name.split(".")[1]
            if APART in (module, other):
                assert other == APART, f"{module} imports {name}"
                assert module in (APART, "tap"), f"{module} imports {name}"
            elif other != "__version__":
                assert floor(other) <= floor(module), f"{module} imports {name}"
        assert not name.startswith("sockd_plugins"), f"{module} imports {name}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("sockd/config/*.py")), ids=lambda path: path.name)
def test_the_configuration_knows_nothing_of_twisted(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith(("twisted", "zope"))]


def test_only_tap_imports_the_reactor() -> None:
    """Importing it installs it; so does importing some other modules of Twisted."""
    installs = {"twisted.internet.reactor", "twisted.words.protocols.irc", "twisted.mail.smtp"}
    assert {path.name for path in SOURCES if installs & set(imports(path))} == {"tap.py"}


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


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_generator_of_deferreds_is_used(path: Path) -> None:
    assert "inlineCallbacks" not in path.read_text()


def test_every_module_is_on_the_map() -> None:
    modules = {own(path) for path in ROOT.glob("sockd/**/*.py")} - {"__init__"}
    assert modules == set().union(*FLOORS) | {APART}
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert not [module for module in modules if not re.search(rf"\b{module}\b", text)]


def modules_of_plugins() -> set[str]:
    found = {path.stem for path in ROOT.glob("plugins/sockd_plugins/*.py")}
    found |= {path.parent.name for path in ROOT.glob("plugins/sockd_plugins/*/__init__.py")}
    return found - {"__init__"}


def test_every_plugin_module_has_an_entry_point() -> None:
    named = {entry.value.partition(":")[0].split(".")[1] for entry in entry_points(group="sockd.plugins")}
    assert named == modules_of_plugins()


@pytest.mark.parametrize("module", sorted(modules_of_plugins()))
def test_every_plugin_has_a_test(module: str) -> None:
    assert list(ROOT.glob(f"tests/plugins/test_{module}*.py"))


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
