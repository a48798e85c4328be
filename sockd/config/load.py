"""Loading of a configuration, from its text to its values: read, include, validate, assemble."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from sockd.config.broker import Broker
from sockd.config.budget import tell_excess
from sockd.config.conflicts import Examine, Placed, tell_conflicts, tell_examined
from sockd.config.control import Control
from sockd.config.diagnose import unknown_key
from sockd.config.document import Document, Faults, Secret, read, sentence
from sockd.config.limits import Limits
from sockd.config.listen import Listener
from sockd.config.metrics import Metrics
from sockd.config.misfits import tell_misfits, tell_problems
from sockd.config.misplaced import tell_misplaced, tell_stray
from sockd.config.model import Config, Daemon, Log, Options, ServiceConfig, ServiceTable
from sockd.config.outside import expand, is_secret_file
from sockd.config.positions import KeyPath
from sockd.config.validate import validate
from sockd.errors import ConfigError, Fault, PluginError

FindPlugin = Callable[[str], type[BaseModel]]
"""Returns the class of the plugin of a name, or raises PluginError."""

TABLES: Mapping[str, type[BaseModel]] = {
    "daemon": Daemon,
    "log": Log,
    "control": Control,
    "metrics": Metrics,
    "broker": Broker,
    "limits": Limits,
}
"""Tables of a file beside its services."""

_NO_SERVICE = (
    "expected a service, found none, neither here nor in what is included: add a table such as"
    ' [service.echo] with plugin = "echo" and listen = ["tcp:7007"]'
)

_NONE_ENABLED = "expected a service that is served, found only such with enabled = false"

_WILDCARD = re.compile(r"[*?[]")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_A_NAME = "a service name of up to 64 letters, digits, '_', '-' or '.', the first of them no '-' or '.'"


def load(
    path: Path,
    find_plugin: FindPlugin | None = None,
    environ: Mapping[str, str] = os.environ,
    examine: Examine | None = None,
    descriptors: int | None = None,
) -> Config:
    """Read and check a configuration file with its includes.

    Args:
        path: the file.
        find_plugin: returns a plugin's class; without it the options of plugins are not checked.
        environ: source of `${NAME}`.
        examine: called for each listener, for faults that only the machine knows.
        descriptors: number that the process may have; without it, they are not counted.

    Raises:
        ConfigError: with every fault of every file.
    """
    return load_document(read(path), find_plugin, environ, examine, descriptors)


def load_document(
    document: Document,
    find_plugin: FindPlugin | None = None,
    environ: Mapping[str, str] = os.environ,
    examine: Examine | None = None,
    descriptors: int | None = None,
    included: Iterable[Document] | None = None,
) -> Config:
    """Check a configuration that was read already; otherwise like `load`.

    Args:
        document: the main file.
        find_plugin: as of `load`.
        environ: as of `load`.
        examine: as of `load`.
        descriptors: as of `load`.
        included: its includes; without them, they are read.
    """
    faults = Faults()
    main = expand(document, environ, faults)
    for key in main.data:
        if key not in (*TABLES, "service"):
            tell_stray(main, key, faults)
            unknown_key(main, (key,), (*TABLES, "service"), faults)
    main = _listed(_listed(main, ("daemon", "include")), ("broker", "servers"))
    daemon = validate(Daemon, main, ("daemon",), faults)
    log = validate(Log, main, ("log",), faults)
    control = validate(Control, main, ("control",), faults)
    metrics = validate(Metrics, main, ("metrics",), faults)
    broker = validate(Broker, main, ("broker",), faults)
    limits = validate(Limits, main, ("limits",), faults)

    if included is None:
        included = _included(main, daemon, faults)
    sources = [main, *(expand(document, environ, faults) for document in included)]
    own = list(_own_listeners(main, metrics))
    every = _services(sources, limits, own, find_plugin, examine, faults)
    services = {name: service for name, service in every.items() if service.enabled}
    if (
        daemon is None
        or log is None
        or limits is None
        or control is None
        or metrics is None
        or broker is None
    ):
        raise faults.error()
    disabled = tuple(name for name in every if name not in services)
    config = Config(daemon, log, limits, services, control, metrics, broker, disabled)
    if descriptors is not None:
        tell_excess(config, sources, descriptors, faults)
    if faults:
        raise faults.error()
    return config


def _included(main: Document, daemon: Daemon | None, faults: Faults) -> Iterator[Document]:
    """Read the includes; those that can be read even if other keys of [daemon] are faulty."""
    own = os.path.realpath(main.name)
    seen = {own}
    patterns = daemon.include if daemon else main.get(("daemon", "include"))
    for index, pattern in enumerate(patterns if isinstance(patterns, (list, tuple)) else ()):
        if not isinstance(pattern, str):
            continue
        path = ("daemon", "include", index)
        names = [] if "\0" in pattern else sorted(glob.glob(pattern, root_dir=main.folder))
        if not names and not _WILDCARD.search(pattern):
            faults.add(main, path, sentence(path, "there is no such file"))
        for name in names:
            file = main.folder / name
            true_name = os.path.realpath(file)
            if true_name in seen:
                if true_name == own and not _WILDCARD.search(pattern):
                    faults.add(main, path, sentence(path, "the file includes itself: leave it out"))
                continue
            seen.add(true_name)
            try:
                document = read(file, str(Path(main.name).parent / name))
            except ConfigError as error:
                faults.extend(error.faults)
                continue
            for key in document.data.keys() - {"service"}:
                faults.add_key(document, (key,), f"an included file holds only services, found '{key}'")
            yield document


def _own_listeners(main: Document, metrics: Metrics | None) -> Iterator[Placed]:
    """Yield the listeners of the daemon itself, which no service may have too."""
    if metrics is not None and metrics.listen is not None:
        yield Placed(Listener(endpoint=metrics.listen), main, ("metrics", "listen"))


def _services(
    sources: Sequence[Document],
    limits: Limits | None,
    own_listeners: Iterable[Placed],
    find_plugin: FindPlugin | None,
    examine: Examine | None,
    faults: Faults,
) -> dict[str, ServiceConfig]:
    """Return every service without faults; add the faults of the others and between them."""
    services: dict[str, ServiceConfig] = {}
    listeners = list(own_listeners)
    defined: dict[str, Document] = {}
    for source in sources:
        for name in _names(source, faults):
            path = ("service", name)
            if name in defined:
                what = f"this service is already defined at {defined[name].place(path)}"
                faults.add_key(source, path, sentence(path, what))
                continue
            defined[name] = source
            source = _listed(source, (*path, "listen"))
            plugin = source.get((*path, "plugin"))
            misplaced = tell_misplaced(source, path, _find(plugin, find_plugin), faults)
            table = validate(ServiceTable, source, path, faults)
            placed = list(_listeners(source, path, table))
            listeners += placed if table is None or table.enabled else ()
            plugin = table.plugin if table else source.get((*path, "plugin"))
            model = _model(source, path, plugin, find_plugin, faults)
            # Misplaced options are not missing.
            options = validate(model, source, (*path, "options"), faults) if model and not misplaced else None
            tell_misfits(placed, model, options, faults)
            if examine is not None and options is not None:
                tell_problems(options, source, (*path, "options"), faults)
            if table and limits and options is not None:
                own = table.limits.under(limits)
                services[name] = ServiceConfig(name, table.plugin, table.listen, own, options, table.enabled)
    tell_conflicts(listeners, faults)
    if examine is not None:
        tell_examined(listeners, examine, faults)
    return services


def _names(source: Document, faults: Faults) -> Iterator[str]:
    """Yield the names of the services that a document defines."""
    table = source.data.get("service", {})
    if not isinstance(table, dict):
        faults.add_key(source, ("service",), "service: expected tables such as [service.echo]")
        return
    for name in table:
        if not _NAME.fullmatch(name):
            faults.add_key(source, ("service", name), f"expected {_A_NAME}, found '{name}'")
        yield name


def _listed(source: Document, path: KeyPath) -> Document:
    """Make a single port or pattern an array of one; `{ file = … }` stands for a text."""
    value = source.get(path)
    one = (
        isinstance(value, str)
        or type(value) is int
        or (isinstance(value, dict) and not is_secret_file(value))
    )
    return source.with_values({path: [value]}) if one else source


def _find(plugin: object, find_plugin: FindPlugin | None) -> type[BaseModel] | None:
    """Return the class of a plugin, if there is one; the reason why there is none is told elsewhere."""
    try:
        return find_plugin(plugin) if find_plugin is not None and isinstance(plugin, str) else None
    except PluginError:
        return None


def _listeners(source: Document, path: KeyPath, table: ServiceTable | None) -> Iterator[Placed]:
    """Yield the listeners of a service that are in order, even if others are not."""
    written = table.listen if table else source.get((*path, "listen"))
    for index, item in enumerate(written if isinstance(written, (list, tuple)) else ()):
        try:
            listener = Listener.model_validate(item, context={"folder": source.folder})
        except ValidationError:
            continue
        yield Placed(listener, source, (*path, "listen", index))


def _model(
    source: Document, path: KeyPath, plugin: object, find_plugin: FindPlugin | None, faults: Faults
) -> type[BaseModel] | None:
    """Return the class of a service's options."""
    if find_plugin is None:
        return Options
    if isinstance(plugin, str):
        try:
            return find_plugin(plugin)
        except PluginError as error:
            at = (*path, "plugin")
            what = " ".join(str(error).split())
            if isinstance(plugin, Secret):  # the error shows parts of it, and similar words
                what = "expected the name of an installed plugin or module:Class, found neither"
            faults.add(source, at, sentence(path, what), found="" if isinstance(plugin, Secret) else plugin)
    return None


def with_services(config: Config, name: str) -> Config:
    """Return a configuration to be served, which needs a service at least.

    Raises:
        ConfigError: it has none, as an empty file or a wrong one, or none that is enabled.
    """
    if not config.services:
        raise ConfigError([Fault(_NONE_ENABLED if config.disabled else _NO_SERVICE, name)])
    return config
