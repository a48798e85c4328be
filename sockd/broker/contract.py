"""Contract of a broker: subjects with one order and one number for all machines, keys with one owner each.

A plugin has it as `Context.broker`. What is published comes back to every subscriber of the subject, the
publisher's own included, in one order. A subscriber that shows an entry only when it comes back shows the
same as all others do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

State = Literal["connected", "away"]
"""State of a broker: `connected` while entries can be published, `away` while they are refused."""

MOST_BYTES = 65536
"""Bytes of an entry or of a value at most: a long message with its facts, and far below what brokers take."""

MOST_NAME = 128
"""Bytes of a subject's or a key's name in UTF-8: a line of a broker's protocol has room for it, encoded."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Entry before it has its place.

    Attributes:
        data: bytes of the publisher's choice.
        numbered: whether it takes a number. Others only have their place between the numbered ones, and are
            not kept for `since`.
    """

    data: bytes
    numbered: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """Entry of a subject, the same on every machine.

    Attributes:
        number: counts the numbered entries of the subject from 1 without a gap; of one without a number,
            that of the numbered one before it.
        data: bytes of its draft.
        origin: `Broker.origin` of the publisher.
        at: time of publication by the publisher's clock, in seconds since 1970.
        numbered: as of its draft.
    """

    number: int
    data: bytes
    origin: str
    at: float
    numbered: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    """Value of a key.

    Attributes:
        key: name of the key.
        value: bytes of the owner's choice.
        origin: `Broker.origin` of the owner.
    """

    key: str
    value: bytes
    origin: str


class BrokerRefused(Exception):
    """Refusal of what was to be published. The text gives the reason to a person."""


class BrokerAway(BrokerRefused):
    """Refusal because the broker cannot be reached, or cannot store."""


class BrokerFull(BrokerRefused):
    """Refusal because too much waits for the broker already."""


class Receiver(Protocol):
    """Receiver of a subject's entries."""

    def take(self, entries: Sequence[Entry]) -> None:
        """Take entries in their order, at least one."""

    def miss(self, first: int, last: int) -> None:
        """Take note that the entries with these numbers are kept nowhere any more."""


class Subject(Protocol):
    """Subscription to a subject."""

    @property
    def number(self) -> int:
        """Number of the last entry that the receiver has got, or that it began behind."""
        ...

    def publish(self, drafts: Sequence[Draft]) -> None:
        """Publish drafts, next to each other and in their order.

        They come back to `Receiver.take` once they are stored; drafts of one origin in the order in which
        they were published. What was accepted here is tried until it is stored, exactly once, also while the
        broker is away meanwhile; it is lost only with this process.

        Raises:
            BrokerAway: the broker is away.
            BrokerFull: too much waits.
            ValueError: a draft has more than `MOST_BYTES`.
        """

    async def latest(self, limit: int) -> tuple[int, tuple[Entry, ...]]:
        """Return the number behind which the receiver has begun, and the last entries up to it.

        Args:
            limit: entries at most.

        Raises:
            BrokerAway: the broker cannot be asked.
        """
        ...

    async def since(self, number: int, limit: int) -> tuple[Entry, ...]:
        """Return the first numbered entries behind a number that are kept, in their order.

        Args:
            number: the last one that is known.
            limit: entries at most.

        Raises:
            BrokerAway: the broker cannot be asked.
        """
        ...

    def close(self) -> None:
        """End the subscription. What was published stays published."""


class Watcher(Protocol):
    """Receiver of a registry's changes, in an order that all machines share, among entries too."""

    def put(self, record: Record) -> None:
        """Take a new record, or the new value or owner of a known one."""

    def gone(self, record: Record) -> None:
        """Take the end of a record: it was released, or its owner's process is gone."""


class Registry(Protocol):
    """Keys with one owner each over all machines, such as the names of those who are present."""

    @property
    def records(self) -> Mapping[str, Record]:
        """Records by key, as the watcher knows them."""
        ...

    @property
    def complete(self) -> bool:
        """Tell whether the records are known that were there before."""
        ...

    async def claim(self, key: str, value: bytes) -> bool:
        """Take a key that is free, and return whether it is this process's now; the watcher knows by then.

        The key stays its own until it is released, or until other processes have heard nothing of this one
        for the time of expiry. After such a time it is claimed again by itself if it is still free;
        otherwise the watcher gets the record of its new owner.

        Raises:
            BrokerAway: the broker is away.
        """
        ...

    def change(self, key: str, value: bytes) -> None:
        """Give an own key another value.

        Raises:
            KeyError: it is not this process's.
        """

    def release(self, key: str) -> None:
        """Give up a key; without effect on one that is not this process's."""

    def close(self) -> None:
        """Release every key of this process, and end the watch."""


class Broker(Protocol):
    """Way of a service to its instances in other processes and on other machines.

    Names are those of the service: a subject or a registry is shared by the services of the same name.
    """

    @property
    def origin(self) -> str:
        """Name of this process among all others; another one after each start."""
        ...

    @property
    def shared(self) -> bool:
        """Tell whether there may be other processes; without, the broker is this process's memory."""
        ...

    @property
    def state(self) -> State:
        """State: whether entries can be published now."""
        ...

    def watch(self, told: Callable[[State], None]) -> Callable[[], None]:
        """Have each later change of `state` told; returns what ends that."""
        ...

    def subject(self, name: str, receiver: Receiver, after: int | None = None) -> Subject:
        """Subscribe to a subject.

        Args:
            name: up to `MOST_NAME` bytes.
            receiver: takes the entries.
            after: number of the last entry that is known; those behind it that are kept come first. With
                None only those come that are stored once the subscription stands; `latest` waits for that.

        Raises:
            ValueError: the name is empty or too long.
        """
        ...

    def registry(self, name: str, watcher: Watcher) -> Registry:
        """Join a registry; the watcher gets the records that are there already, too.

        Args:
            name: up to `MOST_NAME` bytes.
            watcher: takes the records.

        Raises:
            ValueError: the name is empty or too long.
        """
        ...


def check_name(name: str) -> str:
    """Return the name of a subject, a registry or a key.

    Raises:
        ValueError: it is empty or too long.
    """
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 0 < size <= MOST_NAME:
        raise ValueError(f"a name has 1 to {MOST_NAME} bytes, not {size}")
    return name


def check_data(data: bytes) -> bytes:
    """Return the bytes of an entry or a value.

    Raises:
        ValueError: they are too many.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"an entry has at most {MOST_BYTES} bytes, not {len(data)}")
    return data
