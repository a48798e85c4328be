"""Brokers: one order, one number and one owner of a key over many processes and machines."""

from __future__ import annotations

from sockd.broker.contract import (
    Broker,
    BrokerAway,
    BrokerFull,
    BrokerRefused,
    Draft,
    Entry,
    Receiver,
    Record,
    Registry,
    State,
    Subject,
    Watcher,
)

__all__ = [
    "Broker",
    "BrokerAway",
    "BrokerFull",
    "BrokerRefused",
    "Draft",
    "Entry",
    "Receiver",
    "Record",
    "Registry",
    "State",
    "Subject",
    "Watcher",
]
