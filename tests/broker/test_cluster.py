"""Broker `nats` on a cluster of three servers, of which one is killed, stopped or frozen."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from tests.broker.parties import Nats, Party, reactor, until
from tests.broker.servers import NatsServer, cluster
from tests.broker.talkers import Talker, agree, talk


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[NatsServer]]:
    yield from cluster(tmp_path_factory.mktemp("cluster"), 3)


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def nats(servers: list[NatsServer]) -> AsyncIterator[Nats]:
    made = Nats(*(each.url for each in servers), replicas=3)
    yield made
    await made.stop()


async def leader(party: Party, nats: Nats, servers: list[NatsServer]) -> NatsServer:
    """Return the server that leads the stream."""
    stream = party.core.stream  # type: ignore[attr-defined]
    message = await stream.connection.ask(f"$JS.API.STREAM.INFO.{nats.name}", b"", 5)
    name = json.loads(message.data)["cluster"]["leader"]
    return next(each for each in servers if name == f"n{each.port}")


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_the_loss_of_any_server_loses_and_doubles_nothing(
    servers: list[NatsServer], nats: Nats
) -> None:
    parties = [await nats.party(each.url) for each in servers]
    talkers = [Talker(party, f"p{index}") for index, party in enumerate(parties)]
    await talk(talkers, 10)

    lost = await leader(parties[0], nats, servers)
    lost.kill()
    await talk(talkers, 20)
    await until(lambda: all(party.connected for party in parties), "not back after the kill")
    await talk(talkers, 10)
    lost.start()
    await deferLater(reactor, 1)

    lost = await leader(parties[0], nats, servers)
    lost.stop()
    await talk(talkers, 20)
    await until(lambda: all(party.connected for party in parties), "not back after the stop")
    lost.start()
    await deferLater(reactor, 1)

    lost = await leader(parties[0], nats, servers)
    lost.freeze()
    try:
        await talk(talkers, 20)
        await until(lambda: any(not party.connected for party in parties), "the freeze was not noticed")
        await until(lambda: all(party.connected for party in parties), "not back beside a frozen server")
        await talk(talkers, 10)
    finally:
        lost.thaw()
    await agree(parties, talkers)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_without_a_majority_everybody_is_away_and_comes_back(
    servers: list[NatsServer], nats: Nats
) -> None:
    parties = [await nats.party(servers[0].url), await nats.party(servers[0].url)]
    talkers = [Talker(party, f"p{index}") for index, party in enumerate(parties)]
    await talk(talkers, 10)
    for each in servers[1:]:
        each.kill()
    await talk(talkers, 10)
    await until(lambda: not any(party.connected for party in parties), "it was not noticed")
    for each in servers[1:]:
        each.start()
    await until(lambda: all(party.connected for party in parties), "not back with the majority")
    await talk(talkers, 10)
    await agree(parties, talkers)
