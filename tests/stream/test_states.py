"""Table of a connection's life beside the connection: neither has a step that the other lacks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from sockd.stream import connection as shell
from sockd.stream.connection import Connection
from sockd.stream.states import AFTER, CLOSES, READS, SILENT, WRITES, Event, State
from tests.memory import PEER, Recorder, Transport, World

EVENTS: tuple[Event, ...] = get_args(Event)
ONCE = {"made", "lost"}
"""Events that the reactor brings about once in a life."""

Step = tuple[State, Event]
STEPS: list[Step] = [(state, event) for state, row in AFTER.items() for event in row]


class Row(dict[Event, State]):
    """Row of the table that notes which of its steps are taken."""

    def __init__(self, state: State, taken: list[Step]) -> None:
        super().__init__(AFTER[state])
        self._state, self._taken = state, taken

    def __getitem__(self, event: Event) -> State:
        after = super().__getitem__(event)
        self._taken.append((self._state, event))
        return after

    def get(self, event: Event, default: Any = None) -> Any:
        try:
            return self[event]
        except KeyError:
            return default


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Plugin's protocol that goes on with one side."""

    def readConnectionLost(self) -> None:
        pass

    def writeConnectionLost(self) -> None:
        pass


class Passive(Transport):
    """Transport with which happens only what the test says."""

    def abortConnection(self) -> None:
        pass

    def loseConnection(self) -> None:
        pass

    def loseWriteConnection(self) -> None:
        pass


class Producer:
    """Plugin's producer that may raise when it is stopped."""

    def __init__(self, *, raises: bool) -> None:
        self._raises = raises

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        if self._raises:
            raise ValueError


class Watched(Connection):
    """Connection whose states are noted."""

    __slots__ = ("lived",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.lived: list[State] = []
        super().__init__(*arguments, **options)

    @property
    def life(self) -> State:
        return self.lived[-1]

    @life.setter
    def life(self, state: State) -> None:
        self.lived.append(state)


class Life:
    """Connection to which events happen, and what it did about them."""

    def __init__(self) -> None:
        self.world = World()
        self.taken: list[Step] = []
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(shell, "AFTER", {state: Row(state, self.taken) for state in AFTER})
        self.transport = Passive()
        self.connection = Watched(HalfCloseable(), self.world.connections.context, PEER, over_tcp=True)
        self.transport.protocol = self.connection
        self.world.admission.admit(None)

    def happen(self, event: Event) -> None:
        connection = self.connection
        match event:
            case "made":
                connection.makeConnection(self.transport)
            case "peer ends":
                connection.readConnectionLost()
            case "end":
                connection.loseWriteConnection()
            case "sent":
                connection.writeConnectionLost()
            case "close":
                connection.loseConnection()
            case "abort":
                connection.abortConnection()
            case "lost":
                connection.connectionLost(Failure(ConnectionDone()))

    def steps(self) -> list[State]:
        """States that the steps taken lead through."""
        return ["new", *(AFTER[state][event] for state, event in self.taken)]


@pytest.fixture
def life() -> Iterator[Life]:
    one = Life()
    yield one
    one.patch.undo()


def way_to(state: State) -> list[Event]:
    """Return the fewest events that lead to a state."""
    ways: deque[tuple[State, list[Event]]] = deque([("new", [])])
    seen: set[State] = {"new"}
    while ways:
        here, events = ways.popleft()
        if here == state:
            return events
        for event, after in AFTER[here].items():
            if after not in seen:
                seen.add(after)
                ways.append((after, [*events, event]))
    raise LookupError(f"no way leads to {state}")


@pytest.mark.parametrize(("state", "event"), STEPS)
def test_each_step_of_the_table_is_taken_by_a_connection(life: Life, state: State, event: Event) -> None:
    """From "closed" it goes on by itself: over, or aborted if the plugin's producer raises at its end."""
    *before, last = [*way_to(state), event]
    for each in before:
        if (state, event) == ("closed", "abort") and each == before[-1]:
            life.connection.registerProducer(Producer(raises=True), True)
        life.happen(each)
    if state != "closed":
        life.happen(last)
    assert (state, event) in life.taken
    assert life.steps() == life.connection.lived


@pytest.mark.parametrize("state", [state for state in AFTER if state != "closed"])
def test_an_event_that_a_state_does_not_list_changes_nothing(life: Life, state: State) -> None:
    for event in way_to(state):
        life.happen(event)
    for event in EVENTS:
        if event not in AFTER[state] and event not in ONCE:
            life.happen(event)
    assert life.connection.life == state


def test_every_state_can_end() -> None:
    assert set(AFTER) == set(get_args(State))
    assert {after for row in AFTER.values() for after in row.values()} == set(AFTER) - {"new"}
    assert all("lost" in AFTER[state] for state in set(AFTER) - {"new", "over"})


def test_what_is_done_in_a_state_follows_from_it() -> None:
    assert not READS & CLOSES
    assert not WRITES & CLOSES
    assert SILENT < CLOSES


class Model(RuleBasedStateMachine):
    """Events in any order, with data, producers and a slow peer in between."""

    def __init__(self) -> None:
        super().__init__()
        self.life = Life()
        self.life.happen("made")

    @property
    def state(self) -> State:
        return self.life.connection.life

    @precondition(lambda self: self.state != "over")
    @rule(event=st.sampled_from([event for event in EVENTS if event not in ONCE]))
    def happen(self, event: Event) -> None:
        before, taken = self.state, len(self.life.taken)
        self.life.happen(event)
        steps = self.life.taken[taken:]
        assert steps[:1] == ([(before, event)] if event in AFTER[before] else [])

    @precondition(lambda self: self.state != "over")
    @rule()
    def lose(self) -> None:
        self.life.happen("lost")
        assert self.state == "over"

    @rule(size=st.sampled_from([1, 1000, 100_000]))
    def write(self, size: int) -> None:
        before = len(self.life.transport.dataBuffer)
        silent = self.state in SILENT
        self.life.connection.write(b"x" * size)
        assert not silent or len(self.life.transport.dataBuffer) == before

    @rule(size=st.sampled_from([1, 1000]))
    def receive(self, size: int) -> None:
        connection = self.life.connection
        if self.state == "over":
            return
        protocol: Any = connection.protocol
        happened = len(protocol.happened)
        connection.dataReceived(b"x" * size)
        assert self.state not in CLOSES or len(protocol.happened) == happened

    @rule(size=st.none() | st.just(1000))
    def read(self, size: int | None) -> None:
        if self.state != "over":
            self.life.transport.take(size)

    @precondition(lambda self: self.state != "over")
    @rule(raises=st.booleans(), streaming=st.booleans())
    def register(self, *, raises: bool, streaming: bool) -> None:
        if self.life.connection._output.producer is None:
            self.life.connection.registerProducer(Producer(raises=raises), streaming)

    @rule()
    def unregister(self) -> None:
        self.life.connection.unregisterProducer()

    @invariant()
    def only_steps_of_the_table_are_taken(self) -> None:
        assert self.life.steps() == self.life.connection.lived
        assert self.life.connection.disconnecting == (self.state in CLOSES)
        assert not self.life.connection.may_read() or self.state in READS

    def teardown(self) -> None:
        if self.state != "over":
            self.life.happen("lost")
        assert self.life.world.is_empty()
        self.life.patch.undo()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=100, stateful_step_count=30)
