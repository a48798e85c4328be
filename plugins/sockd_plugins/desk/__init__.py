"""Desk: a person at the server talks with many clients at once.

Listeners with `protocol = "operator"` are for the person, all others are for clients: over TCP and UNIX
sockets, UDP and UNIX datagrams. `clients` describes what a client sends and gets, `operators` what a person
types and reads. Every peer of the operator's endpoint is an operator, so use a UNIX socket whose folder or
mode keeps others out:

    listen = ["tcp:7030", "udp:7030", { endpoint = "unix:run/desk.sock:mode=600", protocol = "operator" }]

Messages of clients without an operator are kept for the next one, up to `kept_messages` of each client and
`kept_total` in all. When there is no room the oldest are dropped, and the operator reads how many. When the
service drains, clients and operators read `the server is closing` and are disconnected.

The sender's address of a datagram may be forged. The desk itself sends one line of at most 200 characters
there for a datagram; all other answers are typed by a person, who cannot amplify a flood.
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
"""Bytes of an operator's line; the operator may send one for each datagram of the client."""


@implementer(IStreamPlugin, IDatagramPlugin)
class Desk(Plugin):
    """Person at the server who talks with many clients at once: one line, or one datagram, is one message."""

    shared_state: ClassVar[bool] = True

    # Datagrams may be forged, so they are for clients only.
    protocols: ClassVar[Mapping[str, tuple[Transport, ...]]] = {
        "clients": ("stream", "datagram"),
        "operator": ("stream",),
    }

    greeting: str = Field(
        default="", max_length=200, description="Text for a client that connects; not sent over UDP."
    )
    absent: str = Field(
        default="nobody is at the desk; your message is kept",
        max_length=200,
        description="Text for a client that writes while no operator is connected; empty for none.",
    )
    max_clients: int = Field(
        default=200,
        ge=2,
        le=10_000,
        description="Clients at once; half of the places are for connections only.",
    )
    message_length: int = Field(default=1000, ge=16, le=8192, description="Bytes in a message of a client.")
    kept_messages: int = Field(
        default=50, ge=1, le=10_000, description="Messages of one client that are kept for the next operator."
    )
    kept_total: int = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Messages of all clients that are kept for the next operator.",
    )
    silence: Duration = Field(
        default="10m",
        validate_default=True,
        ge=1,
        le=86_400,
        description="Time after which a client over UDP that sends nothing is removed.",
    )

    _dialogues: Dialogues | None = PrivateAttr(None)

    @property
    def replies(self) -> Replies:
        """Bound: an operator's line, as long as the client takes part."""
        return Replies(floor=LONGEST_ANSWER, unasked=True, kept_for=self.silence)

    def stream_factory(self, protocol: str, context: Context) -> IProtocolFactory:
        """Build protocols of lines, for clients or for operators."""
        dialogues = self._shared(context)
        if protocol == "operator":
            return Factory.forProtocol(lambda: OperatorLines(dialogues, self.kept_total))
        return Factory.forProtocol(lambda: ClientLines(dialogues, self.greeting, self.message_length))

    def datagram_protocol(self, protocol: str, context: Context) -> DatagramProtocol:  # noqa: ARG002
        """Build the protocol of a listener for clients."""
        return ClientDatagrams(self._shared(context), context.clock, self.silence, self.message_length)

    @override
    def drain(self) -> None:
        if self._dialogues is not None:
            self._dialogues.close("the server is closing")

    def _shared(self, context: Context) -> Dialogues:
        """Return the desk that all listeners share."""
        if self._dialogues is None:
            backlog = Backlog(self.kept_messages, self.kept_total)
            self._dialogues = Dialogues(backlog, self.max_clients, self.absent, context.clock.seconds)
        return self._dialogues
