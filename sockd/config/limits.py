"""[limits]: the bounds on one service, and what happens to peers over one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sockd.config.networks import AnyNetworks, SomeNetworks
from sockd.config.scope import Scope, scopes
from sockd.config.written import (
    CountOrOff,
    Duration,
    DurationOrOff,
    RateOrOff,
    Size,
    SizeOrOff,
    SomeTime,
    Written,
)
from sockd.errors import ValueFault

MAX_BANNER = 200
"""Bytes of one short line, which fits into the empty buffer of a new connection."""


def _read_line(text: str) -> str:
    if not text:
        raise ValueFault(_A_LINE, repr(text))
    for offset, character in enumerate(text):
        if not character.isprintable():
            raise ValueFault(_A_LINE, ascii(character), offset=offset, length=1)
    size = len(text.encode())
    if size > MAX_BANNER:
        raise ValueFault(_A_LINE, f"{size} bytes")
    return text


_A_LINE = f"one line of at most {MAX_BANNER} bytes"
_Line = Annotated[
    str, Written(_A_LINE, _read_line, {"type": "string", "minLength": 1, "maxLength": MAX_BANNER})
]


_CONNECTION = Scope("connection", "stream")


class Limits(BaseModel):
    """Bounds on one service. [limits] is what every service starts from; a service's own keys win."""

    # A limit is declared here alone, with its scope. tests/test_adding.py names what else a new one needs.

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_connections: Annotated[int, Scope("service", "stream", "shared", metric="connections_limit")] = Field(
        default=10_000,
        ge=1,
        description="Connections of a service that are open at once, over all its listeners.",
    )
    max_per_source: Annotated[CountOrOff, Scope("source", "stream", "shared")] = Field(
        default="off",
        validate_default=True,
        description="Connections of one source that are open at once.",
    )
    source_prefix_ipv4: Annotated[int, Scope("source")] = Field(
        default=32,
        ge=1,
        le=32,
        description="Bits of an IPv4 address that tell one source from another.",
    )
    source_prefix_ipv6: Annotated[int, Scope("source")] = Field(
        default=64,
        ge=1,
        le=128,
        description="Bits of an IPv6 address that tell one source from another; a customer has a whole /64.",
    )
    allow: Annotated[SomeNetworks, Scope("source")] = Field(
        default=(),
        validate_default=True,
        description="Networks that are served, and no others; without any, all are. Where allow and deny "
        "both have an address, the longer prefix decides.",
    )
    deny: Annotated[AnyNetworks, Scope("source")] = Field(
        default=(),
        validate_default=True,
        description="Networks that are not served; of two equal prefixes this one counts.",
    )
    connection_rate: Annotated[RateOrOff, Scope("service", "stream", "divided")] = Field(
        default="off",
        validate_default=True,
        description="Rate of new connections of all sources together.",
    )
    connection_rate_per_source: Annotated[RateOrOff, Scope("source", "stream", "divided")] = Field(
        default="off", validate_default=True, description="Rate of new connections of one source."
    )
    datagram_rate: Annotated[RateOrOff, Scope("service", "datagram", "divided")] = Field(
        default="off",
        validate_default=True,
        description="Rate of datagrams of all sources together; further ones are dropped.",
    )
    datagram_rate_per_source: Annotated[RateOrOff, Scope("source", "datagram", "divided")] = Field(
        default="off",
        validate_default=True,
        description="Rate of datagrams of one source; further ones are dropped.",
    )
    bytes_per_second: Annotated[SizeOrOff, _CONNECTION] = Field(
        default="off",
        validate_default=True,
        description="Bytes that a connection may carry in a second, both directions together.",
    )
    over_limit: Annotated[Literal["refuse", "queue", "reset", "banner", "tarpit"], _CONNECTION] = Field(
        default="refuse",
        description='Treatment of a connection over a limit: "refuse" closes it, "queue" lets it wait to '
        'be accepted, "reset" aborts it, "banner" sends it a line, "tarpit" holds it without '
        "an answer.",
    )
    over_limit_banner: Annotated[_Line, _CONNECTION] = Field(
        default="too many connections", description='Line that "banner" sends; CR LF is added.'
    )
    tarpit_time: Annotated[SomeTime, _CONNECTION] = Field(
        default="10s",
        validate_default=True,
        description="Time for which the tarpit holds a connection.",
    )
    penalty: Annotated[DurationOrOff, Scope("source", workers="own")] = Field(
        default="off",
        validate_default=True,
        description="Time for which a source is refused that keeps trying although it is over its limit.",
    )
    handshake_timeout: Annotated[SomeTime, _CONNECTION] = Field(
        default="10s",
        validate_default=True,
        description="Time for a TLS handshake, with the wait for the first byte and for its turn.",
    )
    handshake_rate: Annotated[RateOrOff, Scope("service", "stream", "divided")] = Field(
        default="off",
        validate_default=True,
        description="Rate at which TLS handshakes begin; further ones wait, up to handshake_timeout.",
    )
    max_handshakes: Annotated[int, Scope("service", "stream", "divided")] = Field(
        default=1000, ge=1, description="TLS handshakes that may be unfinished at once."
    )
    header_timeout: Annotated[SomeTime, _CONNECTION] = Field(
        default="5s", validate_default=True, description="Time for the header of the PROXY protocol."
    )
    first_message_timeout: Annotated[DurationOrOff, _CONNECTION] = Field(
        default="off",
        validate_default=True,
        description="Time in which a new connection must send a message that the service answers.",
    )
    idle_timeout: Annotated[DurationOrOff, _CONNECTION] = Field(
        default="10m",
        validate_default=True,
        description='Time for which a connection may be silent in both directions; "off" is for ever.',
    )
    lifetime: Annotated[DurationOrOff, _CONNECTION] = Field(
        default="off",
        validate_default=True,
        description="Time for which a connection may be open, whatever it does.",
    )
    close_timeout: Annotated[Duration, _CONNECTION] = Field(
        default="5s",
        validate_default=True,
        description="Time for which a closing connection may go on although its peer takes no byte.",
    )
    max_unread_output: Annotated[Size, Field(ge=1), _CONNECTION] = Field(
        default="1MiB",
        validate_default=True,
        description="Bytes of output that a peer may leave unread.",
    )
    max_amplification: Annotated[float | None, Scope("datagram", "datagram")] = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Bytes of reply for each byte of a datagram; without it, the plugin's own bound.",
    )
    reply_floor: Annotated[Size | None, Scope("datagram", "datagram")] = Field(
        default=None,
        description="Bytes that may answer any datagram; without it, the plugin's own bound.",
    )

    def under(self, common: Limits) -> Limits:
        """Return these limits, with what they do not give taken from `common`; it does not count as given."""
        given = self.model_fields_set
        values = {key: getattr(self if key in given else common, key) for key in type(self).model_fields}
        return Limits.model_construct(given, **values)


SCOPES: Mapping[str, Scope] = scopes(Limits)
"""Scope of each limit, by its key."""
