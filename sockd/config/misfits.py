"""Listeners that ask for what their endpoint, or their plugin, does not have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sockd.config.conflicts import Placed
from sockd.config.diagnose import nearest
from sockd.config.document import Document, Faults, sentence
from sockd.config.listen import Listener
from sockd.config.positions import KeyPath
from sockd.endpoint import Transport

_METHODS: Mapping[Transport, str] = {"stream": "stream_factory", "datagram": "datagram_protocol"}
"""Methods of the plugin contract, which stands above this room, by the transport that each serves."""


def transports(plugin: type) -> Mapping[str, tuple[Transport, ...]]:
    """Return the transports that each protocol of a plugin goes over.

    Args:
        plugin: a class with `protocols` as `sockd.plugin.Plugin` has them. Plain names go over each
            transport that the class has a method for.
    """
    protocols = getattr(plugin, "protocols", ())
    if isinstance(protocols, Mapping):
        return protocols
    served = tuple(transport for transport, method in _METHODS.items() if hasattr(plugin, method))
    return dict.fromkeys(protocols, served)


def tell_misfits(
    listeners: Iterable[Placed], plugin: type | None, options: object | None, faults: Faults
) -> None:
    """Add a fault for each thing that a listener asks for and its endpoint, or its plugin, does not have.

    Args:
        listeners: of one service.
        plugin: its class; None if it was not found.
        options: an instance of it; None if its options have faults.
        faults: takes the faults.
    """
    for placed in listeners:
        listener, document = placed.listener, placed.document
        for key, what in listener.misfits():
            path = (*placed.path, *key)
            faults.add_key(document, path, sentence(path, what))
        if served := _served_instead(plugin, listener):
            taken = _messages(listener.endpoint.transport)
            what = f"the plugin serves only {served}, but {listener.endpoint} takes {taken}"
            faults.add(document, placed.path, sentence(placed.path, what))
        if plugin is None or not hasattr(plugin, "protocols"):
            continue
        if listener.protocol not in (None, *plugin.protocols):
            _tell_unknown(placed, list(plugin.protocols), faults)
        elif not served and (refused := _refused(plugin, options, listener)):
            path = (*placed.path, "protocol") if listener.protocol else placed.path
            faults.add(document, path, sentence(path, refused))


def tell_problems(options: object, document: Document, table: KeyPath, faults: Faults) -> None:
    """Add what a plugin says about its options and the machine.

    Args:
        options: the plugin's instance.
        document: the file that the options are written in.
        table: the path of the options in it.
        faults: takes the faults.
    """
    try:
        problems = list(getattr(options, "problems", tuple)())
    except Exception as error:  # a plugin may raise anything
        problems = [("", f"the plugin cannot look at the machine: {type(error).__name__}: {error}")]
    for key, what in problems:
        path = (*table, key) if key else table
        faults.add(document, path, sentence(path, what))


def _tell_unknown(placed: Placed, protocols: list[str], faults: Faults) -> None:
    """Add a fault for a protocol that the plugin does not have."""
    path, protocol = (*placed.path, "protocol"), placed.listener.protocol or ""
    expected, found = f"one of: {', '.join(protocols)}", f"'{protocol}'"
    faults.add(
        placed.document,
        path,
        sentence(path, f"expected {expected}, found {found}"),
        expected=expected,
        found=found,
        nearest=nearest(protocol, protocols),
    )


def _served_instead(plugin: type | None, listener: Listener) -> str | None:
    """Return the kind of messages that a plugin serves which does not serve the endpoint's kind at all."""
    served = [transport for transport, method in _METHODS.items() if hasattr(plugin, method)]
    if not served or listener.endpoint.transport in served:
        return None
    return "streams" if served == ["stream"] else "datagrams"


def _refused(plugin: Any, options: Any, listener: Listener) -> str | None:
    """Return why the plugin does not serve the listener's protocol over its kind of endpoint."""
    protocol, transport = listener.protocol or next(iter(plugin.protocols)), listener.endpoint.transport
    known = transports(plugin)
    if not isinstance(plugin.protocols, Mapping) or transport in known[protocol]:
        return _refused_by_itself(options, protocol, listener)
    others = [name for name, over in known.items() if transport in over]
    over = " and ".join(_messages(each) for each in known[protocol])
    return (
        f"'{protocol}' goes only over {over}, but {listener.endpoint} takes {_messages(transport)};"
        f" over these go: {', '.join(others) or 'none'}"
    )


def _refused_by_itself(options: Any, protocol: str, listener: Listener) -> str | None:
    """Return what the plugin's own method says against a protocol."""
    refuses = getattr(options, "refuses", None)
    if refuses is None:
        return None
    try:
        reason: str | None = refuses(protocol, stream=listener.endpoint.stream)
    except Exception as error:  # a plugin may raise anything; its author needs the reason
        return f"the plugin failed in refuses: {type(error).__name__}: {error}"
    return f"{reason}, found {listener.endpoint}" if reason else None


def _messages(transport: Transport) -> str:
    return "connections" if transport == "stream" else "datagrams"
