from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionAborted

from sockd.plugin import Sink, reads_into
from tests.memory import PEER, Recorder, Transport, World


class Filling(Transport):
    """Transport that can read into buffers."""

    sink: Sink | None = None

    def read_into(self, sink: Sink | None) -> bool:
        self.sink = sink
        return sink is not None

    def fill(self, data: bytes) -> None:
        assert self.sink is not None
        space = self.sink.space()
        if space is not None:
            space[: len(data)] = data
            self.sink.filled(len(data))


class Buffered(Recorder):
    """Protocol with a buffer."""

    transport: Any

    def __init__(self) -> None:
        super().__init__()
        self.buffer = memoryview(bytearray(100))

    def space(self) -> memoryview | None:
        return self.buffer

    def filled(self, size: int) -> None:
        self.happened.append(bytes(self.buffer[:size]))


def connected(world: World, protocol: Buffered, *, over_tcp: bool = True) -> Filling:
    connection: Any = world.factory(lambda _: protocol, over_tcp=over_tcp).buildProtocol(PEER)
    transport = Filling()
    transport.protocol = connection
    connection.makeConnection(transport)
    return transport


def test_a_plugin_with_buffers_gets_data_there() -> None:
    protocol = Buffered()
    transport = connected(World(), protocol)
    assert reads_into(protocol.transport, protocol)
    transport.fill(b"data")
    assert protocol.happened == ["made", b"data"]
    assert not reads_into(protocol.transport, None)
    assert transport.sink is None


@pytest.mark.parametrize("limits", [{"bytes_per_second": "1KiB"}, {"first_message_timeout": "5s"}])
def test_bytes_that_are_looked_at_on_their_way_are_not_read_into_buffers(limits: dict[str, Any]) -> None:
    protocol = Buffered()
    transport = connected(World(**limits), protocol)
    assert not reads_into(protocol.transport, protocol)
    assert transport.sink is None


def test_where_the_kernel_does_not_count_bytes_nothing_is_read_into_buffers() -> None:
    protocol = Buffered()
    transport = connected(World(), protocol, over_tcp=False)
    assert not reads_into(protocol.transport, protocol)
    assert transport.sink is None


def test_a_transport_that_cannot_read_into_buffers_calls_as_before() -> None:
    protocol = Recorder()
    _, transport = World().connect(protocol)
    assert not reads_into(transport.protocol, Buffered())
    transport.protocol.dataReceived(b"x")
    assert protocol.happened == ["made", b"x"]


@pytest.mark.parametrize("method", ["space", "filled"])
def test_a_fault_of_the_buffers_ends_that_connection(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = Buffered()
    transport = connected(World(), protocol)
    assert reads_into(protocol.transport, protocol)

    def fail(*_: object) -> None:
        raise ValueError("a plugin's mistake")

    monkeypatch.setattr(protocol, method, fail)
    transport.fill(b"data")
    assert transport.lost
    assert protocol.happened[-1] is ConnectionAborted
