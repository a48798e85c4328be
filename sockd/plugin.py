"""Plugin contract: what a plugin gives to sockd, and what it gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationInfo,
)
from pydantic_core import core_schema
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from zope.interface import Attribute, Interface

from sockd.broker import (
    Broker,
    BrokerAway,
    BrokerFull,
    BrokerRefused,
    Draft,
    Entry,
    Receiver,
    Record,
    Registry,
    Subject,
    Watcher,
)
from sockd.broker.memory import MemoryBroker
from sockd.broker.scope import Scope
from sockd.config import Duration, Size
from sockd.endpoint import Endpoint, Transport
from sockd.errors import ValueFault
from sockd.reading import Unreadable, read_bytes

__all__ = [
    "Broker",
    "BrokerAway",
    "BrokerFull",
    "BrokerRefused",
    "Command",
    "ConfigPath",
    "Configured",
    "Context",
    "Draft",
    "Duration",
    "Entry",
    "FileContent",
    "IDatagramPlugin",
    "IDrained",
    "IStreamPlugin",
    "Listening",
    "Plugin",
    "Receiver",
    "Record",
    "Registry",
    "Replies",
    "Size",
    "Subject",
    "Transport",
    "Watcher",
]


def _own_memory() -> Broker:
    """Return a broker for a context that is made by hand, as in tests."""

    def raised() -> None:
        raise  # called where an exception is handled

    return Scope(MemoryBroker("memory"), "", raised)


@dataclass(frozen=True, slots=True)
class Context:
    """Parts of the daemon that a plugin may use.

    Attributes:
        service: the service's name, as in `[service.NAME]`.
        clock: the reactor's clock, for `callLater` and `seconds`; it never goes back, and is no date.
        logger: writes events under the service's name.
        state_dir: a folder of the service's own, which exists only once the plugin makes it.
        broker: the way to the same service in other processes; without servers, in this one alone.
    """

    service: str
    clock: IReactorTime
    logger: Logger
    state_dir: Path
    broker: Broker = field(default_factory=_own_memory)


@dataclass(frozen=True, slots=True)
class Listening:
    """Listener of a service, as it is configured.

    Attributes:
        endpoint: its address.
        protocol: one of the plugin's `protocols`.
        encrypted: whether peers have to speak TLS.
    """

    endpoint: Endpoint
    protocol: str
    encrypted: bool


@dataclass(frozen=True, slots=True)
class Configured:
    """Service as its configuration has it, whether or not a daemon serves it.

    Attributes:
        service: the service's name.
        listeners: the service's, in their order.
        state_dir: the folder of `Context.state_dir`.
    """

    service: str
    listeners: tuple[Listening, ...]
    state_dir: Path


Command = Callable[..., Any]
"""Command of a plugin for operators: its arguments are keywords, its result is what JSON can hold."""


@dataclass(frozen=True, slots=True)
class Replies:
    """Bound on the bytes that a datagram service sends to an address, by the bytes that came from there.

    A sender's address is easily forged, so a service whose answers are larger than the questions helps to
    flood others. The guard lets `max(floor, factor * size of the datagram)` bytes go back for each datagram.
    Larger replies are dropped and counted.

    Attributes:
        factor: bytes of reply for each byte received.
        floor: bytes of reply that are always permitted.
        unasked: whether the service also writes to a peer while it serves another one, as a chat does. The
            unused part of each peer's allowance then adds up.
        kept_for: time for which at least an unused allowance is kept for a later reply, in seconds.
    """

    factor: float = 1.0
    floor: int = 0
    unasked: bool = False
    kept_for: float = 120.0


class Plugin(BaseModel):
    """Base class of plugins. Its fields are the service's options, its docstring is their help.

    There is one instance for each configured service, shared by its listeners. It is frozen; state that
    changes
    at run time belongs into private attributes (`pydantic.PrivateAttr`). A plugin also provides
    `IStreamPlugin`, `IDatagramPlugin` or both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(Replies,))

    protocols: ClassVar[Sequence[str] | Mapping[str, tuple[Transport, ...]]] = ("default",)
    """Names that a listener's `protocol` may have; the first is the default.

    A mapping gives each name its transports: `{"clients": ("stream", "datagram"), "operator": ("stream",)}`.
    Plain names go over each transport that the class serves.
    """

    shared_state: ClassVar[bool] = False
    """Whether the plugin keeps state in memory that its peers share, as a chat does; one worker then serves
    them all."""

    def refuses(self, protocol: str, *, stream: bool) -> str | None:  # noqa: ARG002  # for those who do
        """Return why the options rule out a protocol over a transport; None if they do not.

        Called while the configuration is read, before anything is opened. What holds whatever the options
        are is declared in `protocols`.

        Args:
            protocol: one of `protocols`.
            stream: whether it would be over connections.
        """
        return None

    def problems(self) -> Iterable[tuple[str, str]]:
        """List what on this machine prevents the options: the name of an option, and the reason.

        `sockd check` calls this before a start. It must not change or make anything.
        """
        return ()

    def commands(self, configured: Configured) -> Mapping[str, Command]:  # noqa: ARG002  # for those who do
        """Return the commands with which an operator looks into the service's files, by name.

        They run in the process of `sockd`, beside a daemon that may serve the service in this moment, and may
        wait for the disk. A refusal is a `sockd.errors.CommandRefused`.
        """
        return {}

    def start(self, context: Context) -> Awaitable[None] | None:
        """Prepare, before the first listener opens to peers. A failure stops the start of the daemon."""

    def drain(self) -> None:
        """Bring open connections to their end: accepting has stopped, and the end is near."""

    def stop(self) -> Awaitable[None] | None:
        """Release everything. Called when the last connection is gone or the deadline has passed."""


class IStreamPlugin(Interface):
    """Service of connections: TCP, UNIX stream sockets, and TLS over either."""

    def stream_factory(protocol: str, context: Context) -> IProtocolFactory:  # noqa: N805
        """Return the factory that builds the Twisted protocol for each connection of one listener.

        Args:
            protocol: one of the plugin's `protocols`.
            context: what the plugin may use.
        """


class IDatagramPlugin(Interface):
    """Service of datagrams: UDP and UNIX datagram sockets."""

    replies: Replies = Attribute("What may be sent back; without it, `Replies()`: no more than was sent.")

    def datagram_protocol(protocol: str, context: Context) -> DatagramProtocol:  # noqa: N805
        """Return the Twisted datagram protocol of one listener.

        Args:
            protocol: one of the plugin's `protocols`.
            context: what the plugin may use.
        """


class IDrained(Interface):
    """Datagram protocol that has begun something with a peer, such as the transfer of a file."""

    def drain() -> Deferred[None]:
        """Begin nothing new, as the daemon ends; return what fires when nothing is under way any more.

        The port stays open until then, or until the time for connections is over, too.
        """


def first_message_received(transport: object) -> None:
    """Declare that a peer's first message has arrived, for a protocol that reads on for long before it
    answers.

    This ends the wait of `first_message_timeout`. Without it, the first answer does.

    Args:
        transport: the protocol's; on one that is not sockd's this does nothing.
    """
    told = getattr(transport, "first_message_received", None)
    if told is not None:
        told()


def takes_at_once(transport: object) -> None:
    """Declare that a protocol only keeps what it is handed, and works on it in a thread or a later turn.

    Its `dataReceived` is called with whole reads, of up to 256,000 bytes, and not timed; otherwise sockd
    keeps back what a plugin might not take quickly, and hands it over piece by piece.

    Args:
        transport: the protocol's; on one that is not sockd's this does nothing.
    """
    told = getattr(transport, "takes_at_once", None)
    if told is not None:
        told()


class Sink(Protocol):
    """Buffers of a protocol that is fast enough for data without a copy."""

    def space(self) -> memoryview | None:
        """Return where the next bytes go, at least one; None to get them by `dataReceived`."""

    def filled(self, size: int) -> None:
        """Take so many bytes, which have come at the beginning of the space that was asked for last."""


def reads_into(transport: object, sink: Sink | None) -> bool:
    """Let data be read into the buffers of a protocol, in place of `dataReceived`.

    For protocols that take at once what they are handed (`takes_at_once`). Where it cannot be done, as under
    TLS, under a limit on the bytes or with another reactor, `dataReceived` is called as before; and it is
    called again when that changes. So call this from time to time, such as once for a megabyte.

    Args:
        transport: the protocol's.
        sink: has the buffers; None to end it.

    Returns:
        Whether it is done from now on.
    """
    told = getattr(transport, "reads_into", None)
    return told is not None and bool(told(sink))


def _from_config_folder(path: Path, info: ValidationInfo) -> Path:
    folder: Any = (info.context or {}).get("folder")
    return Path(folder, path) if folder is not None else path


ConfigPath = Annotated[Path, AfterValidator(_from_config_folder)]
"""Path among a plugin's options: a relative one counts from the folder of the file that it is written in."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """Content of a file among a plugin's options: `Annotated[bytes, FileContent(65536)]`.

    The option is written as a path, and the file is read with the configuration. Its faults are told at its
    place, and a reload starts the service anew if the content has changed. Only regular files are read.

    Args:
        most: bytes that the file may have.
    """

    most: int

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.with_info_before_validator_function(self._read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}

    def _read(self, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, (str, Path)):
            return value  # code gives the content itself
        path = _from_config_folder(Path(value), info)
        try:
            return read_bytes(path, self.most)
        except Unreadable as error:
            what = f"a readable file of at most {self.most} bytes"
            raise ValueFault(what, f"{path}: {error}") from error
