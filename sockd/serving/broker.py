"""Broker of a process, from its table of the configuration."""

from __future__ import annotations

import secrets
from typing import Any

from sockd.broker.contract import State
from sockd.broker.memory import MemoryBroker
from sockd.broker.scope import Core
from sockd.config import Broker, read_key
from sockd.telemetry.events import ServerEvents
from sockd.telemetry.snapshot import BrokerRow

ORIGIN_BYTES = 8
"""Random bytes of a process's name, which nobody chooses twice."""


def open_broker(config: Broker, reactor: Any, events: ServerEvents) -> Core:
    """Return the broker of this process, not connected yet.

    Args:
        config: table `[broker]`.
        reactor: connects, and keeps the time.
        events: reports its state.
    """
    origin = secrets.token_hex(ORIGIN_BYTES)
    if not config.servers:
        return MemoryBroker(origin)
    from sockd.broker.nats.broker import NatsBroker, Settings
    from sockd.broker.nats.link import Identity

    identity = Identity(
        config.user or "",
        config.password or "",
        config.token or "",
        read_key(config.credentials) if config.credentials else None,
        config.ca.encode() if config.ca else None,
        config.certificate,
    )

    def told(state: State, why: str) -> None:
        if state == "connected":
            events.broker_connected(broker.server)
        else:
            events.broker_away(why)

    settings = Settings(
        config.servers, identity, config.name, config.replicas, config.keep, config.store, config.expiry
    )
    broker = NatsBroker(settings, origin, reactor, told, events.broker_fault)
    return broker


def status_of(broker: Core) -> BrokerRow | None:
    """Return the state of a broker for the status; None for one that is no other process."""
    if not broker.shared:
        return None
    return {"state": broker.state, "server": broker.server, "reason": broker.why}
