"""Factory: serves existing Twisted code, without code of a plugin.

The name `module:name` may stand for

    a Twisted factory        served as it is, shared by all stream listeners of the service
    a class of factories     called once, then served so
    a Protocol class         called for each connection
    a DatagramProtocol       served as it is, by one datagram listener
    a DatagramProtocol class called for each datagram listener
    another callable         called for what it returns, which is one of the above

and `arguments` are passed to that call. So `factory = "twisted.protocols.wire:Echo"` is an echo service. The
code alone decides what peers send and get; sockd's limits and deadlines apply as to any plugin. Its datagrams
may be answered by as many bytes as they have, unless the service's limits say otherwise.
"""

from __future__ import annotations

import difflib
import inspect
from functools import partial
from importlib import import_module
from pkgutil import resolve_name
from typing import Annotated, Any, ClassVar, Self, cast

from pydantic import AfterValidator, Field, PrivateAttr, model_validator
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import DatagramProtocol, Protocol, ServerFactory
from typing_extensions import override
from zope.interface import implementer

from sockd.errors import PluginError, ValueFault, raised_at
from sockd.plugin import Context, IDatagramPlugin, IStreamPlugin, Plugin, Replies

_KINDS = "a Twisted factory, Protocol, DatagramProtocol, or something that returns one when it is called"

_STREAMS = "streams: list only udp and unixgram endpoints"
_DATAGRAMS = "datagrams: list only tcp and unix endpoints"


def _importable(name: str) -> str:
    module, _, path = name.partition(":")
    if not module or not path:
        raise ValueFault("module:name, such as twisted.protocols.wire:Echo", repr(name))
    _import(module)
    try:
        found = resolve_name(name)
    except (AttributeError, ValueError):  # no such name, or one that no module could have
        meant = difflib.get_close_matches(path, dir(import_module(module)), n=1)
        nearest = f"{module}:{meant[0]}" if meant else None
        raise ValueFault(f"a name in the module {module}", repr(path), nearest=nearest) from None
    if not _can_be_served(found):
        raise ValueFault(_KINDS, _kind(found))
    return name


def _import(module: str) -> None:
    try:
        import_module(module)
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        raise ValueFault("a module that can be imported", _why_not(module, error)) from error


def _why_not(module: str, error: BaseException) -> str:
    match error:
        case ModuleNotFoundError(name=str(missing)) if f"{module}.".startswith(f"{missing}."):
            return f"no module {missing!r}"
        case SyntaxError():  # nothing of the module has run, so no frame has its place
            return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
        case _:
            return f"{type(error).__name__}: {error}{raised_at(error)}"


def _can_be_served(found: object) -> bool:
    if isinstance(found, type):
        twisted = IProtocol.implementedBy(found) or IProtocolFactory.implementedBy(found)
        return twisted or issubclass(found, DatagramProtocol)
    return _is_made(found) or callable(found)


def _served(found: object) -> str:
    """Tell what `found` can serve, `streams` or `datagrams`; empty where only a call of it tells."""
    if isinstance(found, type):
        if IProtocol.implementedBy(found) or IProtocolFactory.implementedBy(found):
            return "streams"
        return "datagrams" if issubclass(found, DatagramProtocol) else ""
    return "datagrams" if isinstance(found, DatagramProtocol) else "streams" if _is_made(found) else ""


def _is_made(found: object) -> bool:
    return IProtocolFactory.providedBy(found) or isinstance(found, DatagramProtocol)


def _kind(found: object) -> str:
    return f"the class {found.__qualname__}" if isinstance(found, type) else f"a {type(found).__name__}"


def _made(found: Any, arguments: dict[str, Any]) -> object:
    """Return the factory or datagram protocol that `found` stands for."""
    if isinstance(found, type) and IProtocol.implementedBy(found):
        return ServerFactory.forProtocol(partial(cast("type[Protocol]", found), **arguments))
    if _is_made(found):
        return found
    result = found(**arguments)
    return _made(result, {}) if isinstance(result, type) and _can_be_served(result) else result


@implementer(IStreamPlugin, IDatagramPlugin)
class Factory(Plugin):
    """Serve a factory or protocol of existing Twisted code."""

    factory: Annotated[str, AfterValidator(_importable)] = Field(
        description="module:name of a Twisted factory or protocol, or of a callable that returns one."
    )
    arguments: dict[str, Any] = Field(default={}, description="Arguments of its call, by name.")

    replies: ClassVar[Replies] = Replies(factor=1)

    _shared: object = PrivateAttr(default=None)
    _taken: object = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _takes_arguments(self) -> Self:
        found = resolve_name(self.factory)
        if _is_made(found):
            if self.arguments:
                raise ValueFault(f"no arguments, as {self.factory} is not called", ", ".join(self.arguments))
            return self
        try:
            signature = inspect.signature(found)
        except ValueError:  # some callables written in C have no signature
            return self
        try:
            signature.bind(**self.arguments)
        except TypeError as error:
            raise ValueFault(f"arguments for {self.factory}{signature}", str(error)) from None
        return self

    @override
    def refuses(self, protocol: str, *, stream: bool) -> str | None:
        found = resolve_name(self.factory)
        serves = _served(found)
        if not serves or (serves == "streams") == stream:
            return None
        return self._mismatch(found, _STREAMS if stream else _DATAGRAMS)

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:  # noqa: ARG002
        """Return the factory that all stream listeners share."""
        if self._shared is None:
            self._shared = _made(resolve_name(self.factory), self.arguments)
        if IProtocolFactory.providedBy(self._shared):
            return self._shared
        raise PluginError(self._mismatch(self._shared, _STREAMS))

    def datagram_protocol(self, protocol: str, context: Context) -> DatagramProtocol:  # noqa: ARG002
        """Build a datagram protocol for each listener."""
        made = _made(resolve_name(self.factory), self.arguments)
        if not isinstance(made, DatagramProtocol):
            raise PluginError(self._mismatch(made, _DATAGRAMS))
        if made is self._taken:
            raise PluginError(self._mismatch(made, "more than one datagram listener: name its class"))
        self._taken = made
        return made

    def _mismatch(self, made: object, what: str) -> str:
        return f"{self.factory} gives {_kind(made)}, which cannot serve {what}"
