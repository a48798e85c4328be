"""Discovery of plugins: the class behind a name, and whether it keeps the contract."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from types import NoneType
from typing import get_args

from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyClass

from sockd.endpoint import Transport
from sockd.errors import PluginError, in_words
from sockd.plugin import IDatagramPlugin, IStreamPlugin, Plugin, Replies

GROUP = "sockd.plugins"
"""Group of the entry points that name plugins."""

_TRANSPORTS: Mapping[object, Transport] = {IStreamPlugin: "stream", IDatagramPlugin: "datagram"}
"""Transport that each interface of the contract serves."""


def find(name: str) -> type[Plugin]:
    """Return the plugin called `name`: an entry point of the group `sockd.plugins`, or `module:Class`.

    Raises:
        PluginError: there is none, it cannot be imported, or it breaks the contract.
    """
    if ":" in name:
        return _load(name, name)
    for entry in installed():
        if entry.name == name:
            return _load(name, entry.value)
    known = sorted(entry.name for entry in installed())
    nearest = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean '{nearest[0]}'? " if nearest else ""
    raise PluginError(
        f"no plugin '{name}' is installed; {meant}known: {', '.join(known)};"
        " a class that is no entry point is written module:Class"
    )


@cache
def installed() -> Sequence[EntryPoint]:
    """Return every entry point of the group, sorted by name; nothing is imported."""
    return sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


@cache  # a thousand services may have the same plugin; what fails is tried again
def _load(name: str, target: str) -> type[Plugin]:
    try:
        found = resolve_name(target)
    except BaseException as error:  # a module may raise anything while it is imported, SystemExit too
        raise PluginError(f"plugin '{name}' cannot be imported: {in_words(error)}") from error
    return _check(name, target, found)


def _check(name: str, target: str, found: object) -> type[Plugin]:
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise PluginError(
            f"plugin '{name}' ({target}) is {_article(found)}, expected a subclass of sockd.plugin.Plugin"
        )
    interfaces = [face for face in (IStreamPlugin, IDatagramPlugin) if face.implementedBy(found)]
    if not interfaces:
        raise PluginError(
            f"plugin '{name}' ({target}) serves nothing: mark the class with"
            " @implementer(IStreamPlugin), @implementer(IDatagramPlugin) or both"
        )
    for interface in interfaces:
        try:
            verifyClass(interface, found)
        except Invalid as error:
            reason = " ".join(str(error).split())
            raise PluginError(f"plugin '{name}' ({target}) breaks the contract: {reason}") from error
    replies = getattr(found, "replies", None)
    if IDatagramPlugin.implementedBy(found) and not isinstance(replies, (Replies, property, NoneType)):
        raise PluginError(
            f"plugin '{name}' ({target}) breaks the contract: 'replies' is a {type(replies).__name__},"
            " expected sockd.plugin.Replies"
        )
    if not found.protocols:
        raise PluginError(f"plugin '{name}' ({target}) names no protocol: 'protocols' is empty")
    if wrong := _undeclared(found.protocols, [_TRANSPORTS[interface] for interface in interfaces]):
        raise PluginError(f"plugin '{name}' ({target}) breaks the contract: {wrong}")
    return found


def _undeclared(protocols: object, served: Sequence[Transport]) -> str | None:
    """Return what is wrong with the transports that a class gives its protocols; None if nothing is."""
    if not isinstance(protocols, Mapping):
        return None
    for protocol, transports in protocols.items():
        given = () if isinstance(transports, str) or not isinstance(transports, Collection) else transports
        if not given or not set(given) <= set(get_args(Transport)):
            return (
                f"'protocols' gives '{protocol}' {transports!r}, expected ('stream',), ('datagram',) or both"
            )
        for transport in set(given) - set(served):
            return f"'protocols' lets '{protocol}' go over '{transport}', which the class does not serve"
    for transport in served:
        if not any(transport in transports for transports in protocols.values()):
            return f"it serves '{transport}', but no name in 'protocols' goes over it"
    return None


def _article(found: object) -> str:
    return f"the class {found.__qualname__}" if isinstance(found, type) else f"a {type(found).__name__}"
