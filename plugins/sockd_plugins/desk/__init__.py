"""A person at the server talks with many clients at once.

Listeners with `protocol = "operator"` are for the person, all others are for clients: over TCP and UNIX
sockets, UDP and UNIX datagrams. `clients` tells what a client sends and gets, `operators` what a person
types and reads. Whoever reaches the operator's endpoint is an operator, so it is best a UNIX socket in a
folder, or with a mode, that keeps others out:

    listen = ["tcp:7030", "udp:7030", { endpoint = "unix:run/desk.sock:mode=600", protocol = "operator" }]

What clients write while nobody is there is kept for the next operator, up to `kept_messages` of each client
and `kept_total` in all; when there is no room the oldest gives way, and the operator reads how many did.
When the service drains, clients and operators read `the server is closing` and are disconnected.

The sender's address of a datagram may be forged. What the desk itself sends there is one line of at most
200 characters for a datagram; all else is typed by a person, who is no amplifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, PrivateAttr
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import DatagramProtocol, Factory
from typing_extensions import override
from zope.interface import implementer

from sockd.plugin import Context, Duration, IDatagramPlugin, IStreamPlugin, Plugin, Replies, Transport
from sockd_plugins.desk.backlog import Backlog
from sockd_plugins.desk.clients import ClientDatagrams, ClientLines
from sockd_plugins.desk.dialogues import Dialogues
from sockd_plugins.desk.operators import OperatorLines

LONGEST_ANSWER = 8192
"""Bytes: a line of an operator, who may send one for each datagram of the client."""


@implementer(IStreamPlugin, IDatagramPlugin)
class Desk(Plugin):
    """A person at the server talks with many clients at once: one line, or one datagram, is one message."""

    shared_state: ClassVar[bool] = True

    # Datagrams may be forged, and operators may not.
    protocols: ClassVar[Mapping[str, tuple[Transport, ...]]] = {
        "clients": ("stream", "datagram"),
        "operator": ("stream",),
    }

    greeting: str = Field(
        default="", max_length=200, description="What a client is sent when it connects; nothing over UDP."
    )
    absent: str = Field(
        default="nobody is at the desk; your message is kept",
        max_length=200,
        description="What a client is sent when it writes and no operator is there; empty for nothing.",
    )
    max_clients: int = Field(
        default=200,
        ge=2,
        le=10_000,
        description="Clients at once; half of the places are for connections only.",
    )
    message_length: int = Field(default=1000, ge=16, le=8192, description="Bytes in a message of a client.")
    kept_messages: int = Field(
        default=50, ge=1, le=10_000, description="Messages of one client that are kept for an operator."
    )
    kept_total: int = Field(
        default=1000, ge=1, le=100_000, description="Messages of all clients that are kept for an operator."
    )
    silence: Duration = Field(
        default="10m",
        validate_default=True,
        ge=1,
        le=86_400,
        description="How long a client over UDP may send nothing before it is gone.",
    )

    _dialogues: Dialogues | None = PrivateAttr(None)

    @property
    def replies(self) -> Replies:
        """Whatever a person answers, for as long as the client counts as there."""
        return Replies(floor=LONGEST_ANSWER, unasked=True, kept_for=self.silence)

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:
        """Lines, for clients or for operators."""
        dialogues = self._shared(context)
        if protocol == "operator":
            return Factory.forProtocol(lambda: OperatorLines(dialogues, self.kept_total))
        return Factory.forProtocol(lambda: ClientLines(dialogues, self.greeting, self.message_length))

    def datagram_protocol(self, protocol: str, context: Context) -> DatagramProtocol:  # noqa: ARG002
        """Datagrams, for clients."""
        return ClientDatagrams(self._shared(context), context.clock, self.silence, self.message_length)

    @override
    def drain(self) -> None:
        if self._dialogues is not None:
            self._dialogues.close("the server is closing")

    def _shared(self, context: Context) -> Dialogues:
        """The one desk of all listeners."""
        if self._dialogues is None:
            backlog = Backlog(self.kept_messages, self.kept_total)
            self._dialogues = Dialogues(backlog, self.max_clients, self.absent, context.clock.seconds)
        return self._dialogues
