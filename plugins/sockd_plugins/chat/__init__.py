"""Chat rooms for many people, over every transport at once.

`terminal.lines` describes the protocol over TCP and UNIX connections, `terminal.datagrams` the one over
UDP and UNIX datagrams, `irc` the one of listeners with `protocol = "irc"`, `web` those of HTTP with
`protocol = "web"`. All speak for people of one `hub`: the same rooms, one namespace, and private messages
from anybody to anybody. Everything is bounded: people, rooms, names, messages, history, the rate of each
person, and the output that waits for a person who does not read.

Messages are stored before anybody sees them (`history`), so that they are there after a restart. The first
room always exists; other rooms exist while they have members, and have their messages when they are opened
again. When the service drains, everybody with a connection reads `* the server is closing` and is
disconnected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.internet.threads import deferToThread
from typing_extensions import override
from zope.interface import implementer

from sockd.plugin import (
    Command,
    ConfigPath,
    Configured,
    Context,
    Duration,
    IDatagramPlugin,
    IStreamPlugin,
    Plugin,
    Replies,
    Size,
    Transport,
)
from sockd.reading import Unreadable
from sockd_plugins.chat.accounts import Accounts, read_accounts
from sockd_plugins.chat.charters import Charters
from sockd_plugins.chat.commands import Commands, note_changes
from sockd_plugins.chat.history.erasing import Bounds
from sockd_plugins.chat.history.history import History
from sockd_plugins.chat.hub.cloak import keep_secret
from sockd_plugins.chat.hub.delivery import Archive
from sockd_plugins.chat.hub.elsewhere import Elsewhere
from sockd_plugins.chat.hub.exchange import Joint
from sockd_plugins.chat.hub.hub import Hub
from sockd_plugins.chat.hub.register import no_keeper
from sockd_plugins.chat.hub.rules import Rules
from sockd_plugins.chat.irc.connection import IrcConnection
from sockd_plugins.chat.irc.server import Server, checked_name, default_name
from sockd_plugins.chat.joint.exchange import JointExchange
from sockd_plugins.chat.joint.rooms import RoomLogs
from sockd_plugins.chat.options import RoomOptions, check_apart, named_rooms, room_name
from sockd_plugins.chat.terminal.datagrams import REPLIES, ChatDatagrams, Peers
from sockd_plugins.chat.terminal.lines import ChatLines
from sockd_plugins.chat.web.options import MOST_ROOMS, Hook
from sockd_plugins.chat.web.options import Options as WebOptions

if TYPE_CHECKING:
    from sockd_plugins.chat.web.site import Site


@implementer(IStreamPlugin, IDatagramPlugin)
class Chat(Plugin):
    """Chat rooms for many people: one line, or one datagram, is one message to everybody in the room."""

    shared_state: ClassVar[bool] = True
    protocols: ClassVar[Mapping[str, tuple[Transport, ...]]] = {
        "default": ("stream", "datagram"),
        "irc": ("stream",),
        "web": ("stream",),
    }

    room: Annotated[str, AfterValidator(room_name)] = Field(
        default="lobby", description="The room of newcomers."
    )
    rooms: Annotated[dict[str, RoomOptions], AfterValidator(named_rooms)] = Field(
        default_factory=dict,
        description="Rooms that always exist: { ops = { topic = 'pagers', owners = ['ann'] } }.",
    )
    accounts: ConfigPath | None = Field(
        default=None,
        description="File with accounts, a line for each as `sockd password` prints it. Only who knows the"
        " password bears the name. A change of the file holds at once, without a reload.",
    )
    max_members: int = Field(
        default=1000,
        ge=2,
        le=100_000,
        description="Members at once; half of the places are for connections only.",
    )
    max_rooms: int = Field(default=100, ge=1, le=10_000, description="Rooms at once, the first included.")
    name_length: int = Field(default=24, ge=16, le=32, description="Characters in a name or a room's name.")
    message_length: int = Field(
        default=400, ge=16, le=4096, description="Bytes in a message, as it is shown to others."
    )
    history: int = Field(
        default=20,
        ge=0,
        le=200,
        description="Messages that each room keeps and shows to newcomers over a connection.",
    )
    keep: Duration = Field(
        default="30d",
        validate_default=True,
        description="Time for which messages are stored in the service's state folder. With '0s' none are:"
        " a room then forgets its messages when its last member leaves, and all rooms at a restart.",
    )
    keep_size: Annotated[Size, Field(ge=65_536)] = Field(
        default="1GiB",
        validate_default=True,
        description="Bytes of the messages that are stored, about; the oldest ones go first.",
    )
    keep_room_size: Annotated[Size, Field(ge=65_536)] = Field(
        default="128MiB",
        validate_default=True,
        description="Bytes of the messages of one room that are stored, about.",
    )
    rate: float = Field(
        default=10.0, ge=0.1, le=1000, description="Messages and commands of a member per second."
    )
    burst: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Messages and commands of a member at once, after a quiet time.",
    )
    network: str = Field(
        default="sockd",
        pattern=r"^[A-Za-z0-9_.-]{1,32}$",
        description="Name of the chat for IRC clients, which show it and keep their settings under it.",
    )
    server_name: Annotated[str, AfterValidator(checked_name)] = Field(
        default="",
        description="Name of the server for IRC clients, the same on every machine; '' for this machine's.",
    )
    motd: str = Field(
        default="", max_length=4096, description="Message of the day for IRC clients, of several lines."
    )
    silence: Duration = Field(
        default="2m",
        validate_default=True,
        ge=1,
        le=86_400,
        description="Time after which a member over UDP that sends nothing is removed.",
    )

    origins: tuple[Annotated[str, Field(pattern=r"^(\*|https?://[^/\s]+)$")], ...] = Field(
        default=(),
        max_length=100,
        description="Origins of web pages on other hosts that may use the chat over 'web', such as"
        " 'https://example.org'; '*' for all.",
    )
    hosts: tuple[str, ...] = Field(
        default=(),
        max_length=100,
        description="Names and addresses, without ports, under which the chat answers over 'web'; all if left"
        " out.",
    )
    hooks: dict[str, Hook] = Field(
        default_factory=dict,
        max_length=100,
        description="Programs that may speak in a room by a signed POST to /hooks/NAME over 'web', by name.",
    )

    _hub: Hub | None = PrivateAttr(None)
    _accounts: Accounts | None = PrivateAttr(None)
    _charters: Charters | None = PrivateAttr(None)
    _server: Server | None = PrivateAttr(None)
    _site: Site | None = PrivateAttr(None)
    _history: History | None = PrivateAttr(None)
    _end: Deferred[None] | None = PrivateAttr(None)
    _peers: Peers | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _rooms_apart(self) -> Self:
        check_apart(self.room, *self.rooms)
        return self

    @property
    def replies(self) -> Replies:
        """Outer bound; `datagrams` decides what an unverified address gets."""
        return replace(REPLIES, kept_for=self.silence)

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:
        """Build the protocol of each connection."""
        if protocol == "web":
            return self._web_factory(context)
        hub = self._shared_hub(context)
        if protocol == "irc":
            server = self._shared_server(hub, context)
            return Factory.forProtocol(lambda: IrcConnection(server, context.logger))
        return Factory.forProtocol(lambda: ChatLines(hub, context.clock, self._accounts))

    def datagram_protocol(self, protocol: str, context: Context) -> DatagramProtocol:  # noqa: ARG002
        """Build the protocol of a listener; each address is one member."""
        if self._peers is None:
            hub = self._shared_hub(context)
            self._peers = Peers(hub, context.clock, self.max_members // 2, self.silence, self._accounts)
        return ChatDatagrams(self._peers)

    def _web_factory(self, context: Context) -> IProtocolFactory:
        """Build a connection of HTTP for each client."""
        from sockd_plugins.chat.web.connection import WebConnection  # only those who serve it load it
        from sockd_plugins.chat.web.site import Site

        if self._site is None:
            limits = {
                "text": self.message_length,
                "name": self.name_length,
                "members": self.max_members,
                "rooms": MOST_ROOMS,
            }
            options = WebOptions(self.origins, self.hooks, self.rate, self.burst, limits, self.hosts)
            hub = self._shared_hub(context)
            self._site = Site(hub, context, options, self._accounts)
        site = self._site
        return Factory.forProtocol(lambda: WebConnection(site, context.clock, context.logger))

    @override
    def problems(self) -> Iterable[tuple[str, str]]:
        if self.accounts is not None:
            try:
                read_accounts(self.accounts)
            except Unreadable as fault:
                yield "accounts", str(fault)

    @override
    def commands(self, configured: Configured) -> Mapping[str, Command]:
        return Commands(configured).all()

    @override
    async def start(self, context: Context) -> None:
        if self._accounts is not None:
            await self._accounts.load()
        if self._hub is not None and (self.rooms or self._history is not None):
            self._hub.people.cloaks.secret = await deferToThread(keep_secret, context.state_dir)
        if self.rooms and self._hub is not None:
            self._charters = Charters(context.state_dir, deferToThread, context.clock, context.logger)
            await self._charters.open(self._hub.kept_rooms())
        if self._history is not None:
            try:
                await self._history.open()
            except BaseException:  # whatever it was, no thread stays
                await self._history.close()
                raise

    @override
    def drain(self) -> None:
        if self._hub is not None and self._end is None:
            self._hub.close("the server is closing")
            # Another instance may wait for the history, so it is not kept until the last connection ends.
            self._end = Deferred.fromCoroutine(self._finish(self._hub))

    @override
    async def stop(self) -> None:
        self.drain()
        if self._end is not None:
            await self._end

    async def _finish(self, hub: Hub) -> None:
        """Store and deliver what is owed, and let the history go."""
        await hub.finish()
        if self._charters is not None:
            await self._charters.close()
        if self._history is not None:
            await self._history.close()

    def _shared_server(self, hub: Hub, context: Context) -> Server:
        """Return the server that all listeners for IRC share."""
        if self._server is None:
            name, motd = self.server_name or default_name(), tuple(self.motd.splitlines())
            rules, accounts = self._rules(), self._accounts
            self._server = Server(hub, rules, context.clock, name, self.network, motd, accounts)
        return self._server

    def _shared_hub(self, context: Context) -> Hub:
        """Return the hub that all listeners share."""
        if self._hub is None:
            if self.accounts is not None:
                self._accounts = Accounts(self.accounts, deferToThread, context.clock, context.logger)
            keeper = self._accounts.keeper if self._accounts else no_keeper
            if self.keep:
                bounds = Bounds(self.keep, self.keep_room_size, self.keep_size)
                self._history = History(context.state_dir, bounds, context.clock, context.logger)
            archive: Archive | None = self._history
            joint: Joint | None = None
            if context.broker.shared:
                if self._history is None:
                    raise ValueError("with a [broker], a chat keeps what is said: set keep, such as '30d'")
                logs = archive = RoomLogs(context.broker, self._history, context.logger)
                joint = partial(_join, context, logs)
            self._hub = Hub(self._rules(), context.clock, context.logger, archive, keeper=keeper, joint=joint)
            if self._history is not None:
                self._history.on_changes = partial(note_changes, self._hub)
        return self._hub

    def _rules(self) -> Rules:
        """Return the bounds of the chat."""
        return Rules(
            room=self.room,
            max_members=self.max_members,
            max_rooms=self.max_rooms,
            name_length=self.name_length,
            message_length=self.message_length,
            history=self.history,
            rate=self.rate,
            burst=self.burst,
            rooms={name: room.rules for name, room in self.rooms.items()},
        )


def _join(context: Context, logs: RoomLogs, elsewhere: Elsewhere) -> JointExchange:
    """Return the exchange with the other processes that serve the chat."""
    return JointExchange(context.broker, logs, elsewhere, context.clock, context.logger)
