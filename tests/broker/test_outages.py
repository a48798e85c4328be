"""Broker `nats` while its server is cut off, killed, stopped and started: nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from sockd.broker import BrokerAway, BrokerFull, Draft
from tests.broker.parties import Nats, Reader, reactor, said, until
from tests.broker.servers import NatsServer, one
from tests.broker.talkers import Talker, agree, talk
from tests.broker.way import Way


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """Serve a server that these tests kill and start again."""
    yield from one(tmp_path_factory.mktemp("nats"))


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def nats(server: NatsServer) -> AsyncIterator[Nats]:
    made = Nats(server.url)
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture  # type: ignore[untyped-decorator]
async def way(server: NatsServer) -> AsyncIterator[Way]:
    opened = await Way(server.port).open()
    yield opened
    await opened.close()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_cut_connection_loses_and_doubles_nothing(nats: Nats, way: Way) -> None:
    ann, bob = await nats.party(way.url), await nats.party()
    talkers = [Talker(ann, "ann"), Talker(bob, "bob")]
    for _ in range(4):
        await talk(talkers, 20)
        way.cut()
        await talk(talkers, 10)
        await until(lambda: ann.connected)
    await agree([ann, bob], talkers)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_lost_answer_of_what_was_stored_doubles_nothing(nats: Nats, way: Way) -> None:
    ann, bob = await nats.party(way.url), await nats.party()
    talkers = [Talker(ann, "ann"), Talker(bob, "bob")]
    await talk(talkers, 5)
    for _ in range(3):
        seen = len(bob.reader.entries)
        way.deaf = True  # the server stores, and its answer is lost with the connection
        talkers[0].say()
        await until(lambda seen=seen: len(bob.reader.entries) > seen)  # type: ignore[misc]
        talkers[1].say()
        way.cut()
        way.deaf = False
        await until(lambda: ann.connected)
    await agree([ann, bob], talkers)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_try_that_arrives_late_is_not_stored_a_second_time(nats: Nats, way: Way) -> None:
    ann, bob = await nats.party(way.url), await nats.party()
    talkers = [Talker(ann, "ann"), Talker(bob, "bob")]
    await talk(talkers, 5)
    way.dumb = True
    talkers[0].say()
    talkers[1].say()
    await deferLater(reactor, 0.3)
    way.let()
    await agree([ann, bob], talkers)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_server_that_is_killed_and_started_has_what_was_delivered(
    server: NatsServer, nats: Nats
) -> None:
    ann, bob = await nats.party(), await nats.party()
    talkers = [Talker(ann, "ann"), Talker(bob, "bob")]
    for _ in range(3):
        await talk(talkers, 20)
        server.kill()
        await talk(talkers, 5)
        await until(lambda: not ann.connected and not bob.connected)
        server.start()
        await until(lambda: ann.connected and bob.connected)
    await agree([ann, bob], talkers)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_while_the_server_is_down_requests_are_refused(server: NatsServer, nats: Nats) -> None:
    ann = await nats.party()
    subject = ann.enter()
    registry = ann.broker.registry("people", ann.looker)
    told: list[str] = []
    ann.broker.watch(told.append)
    subject.publish(said("one"))
    await until(lambda: ann.reader.entries)
    server.kill()
    await until(lambda: not ann.connected)
    with pytest.raises(BrokerAway):
        subject.publish(said("two"))
    with pytest.raises(BrokerAway):
        await registry.claim("ann", b"1")
    with pytest.raises(BrokerAway):
        await subject.since(0, 10)
    server.start()
    await until(lambda: ann.connected)
    subject.publish(said("three"))
    await until(lambda: ann.reader.texts == ["one", "three"])
    assert told == ["away", "connected"]
    assert [state for state, _ in nats.states] == ["connected", "away", "connected"]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_frozen_server_is_noticed_and_loses_nothing(server: NatsServer, nats: Nats) -> None:
    ann, bob = await nats.party(), await nats.party()
    talkers = [Talker(ann, "ann"), Talker(bob, "bob")]
    await talk(talkers, 10)
    server.freeze()
    try:
        await talk(talkers, 10)
        await until(lambda: not ann.connected and not bob.connected)
    finally:
        server.thaw()
    await agree([ann, bob], talkers)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_who_has_a_long_way_to_the_server_gets_its_turn_in_a_busy_room(nats: Nats, way: Way) -> None:
    ann, bob = await nats.party(way.url), await nats.party()
    talkers = [Talker(ann, "ann"), Talker(bob, "bob")]
    await talk(talkers, 3)
    await until(lambda: len(ann.reader.entries) == 6)
    way.delay = 0.03
    for said_before in range(4, 7):
        talkers[0].say()
        while f"ann.{said_before}" not in bob.reader.texts:
            talkers[1].say()
            await deferLater(reactor, 0.001)
    way.delay = 0
    await agree([ann, bob], talkers)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_what_waits_is_bounded(nats: Nats, way: Way) -> None:
    ann = await nats.party(way.url)
    subject = ann.enter()
    subject.publish(said("one"))
    await until(lambda: ann.reader.entries)
    way.dumb = True
    accepted = 1
    with suppress(BrokerFull):
        while accepted < 100_000:
            subject.publish([Draft(b"x" * 1000)])
            accepted += 1
    assert accepted < 5000
    way.let()
    await until(lambda: len(ann.reader.entries) == accepted)
    assert ann.reader.numbers == list(range(1, accepted + 1))


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_who_was_away_for_longer_than_is_kept_is_told_what_is_missing(nats: Nats, way: Way) -> None:
    ann, bob = await nats.party(way.url, keep=10), await nats.party(keep=10)
    ann.enter()
    subject = bob.enter()
    subject.publish(said("one"))
    await until(lambda: ann.reader.entries)
    way.closed = True
    way.cut()
    for number in range(30):
        subject.publish(said(f"{number}"))
        await until(lambda number=number: len(bob.reader.entries) == number + 2)  # type: ignore[misc]
    way.closed = False
    await until(lambda: ann.reader.numbers[-1:] == [31])
    assert ann.reader.missed == [(2, 21)]
    assert ann.reader.numbers == [1, *range(22, 32)]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_process_that_dies_is_gone_after_its_time(nats: Nats, way: Way) -> None:
    ann, bob = await nats.party(way.url), await nats.party()
    one, two = ann.broker.registry("people", ann.looker), bob.broker.registry("people", bob.looker)
    assert await one.claim("ann", b"lobby")
    assert await two.claim("bob", b"lobby")
    way.closed = True
    way.cut()
    await until(lambda: "ann" not in bob.looker.known)
    assert await two.claim("ann", b"taken over")
    way.closed = False
    await until(lambda: ann.looker.known.get("ann") == "taken over")  # the former owner hears of it
    assert ann.looker.known["bob"] == "lobby"
    with pytest.raises(KeyError):
        one.change("ann", b"mine")


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_process_that_comes_back_has_its_names_again_that_nobody_took(nats: Nats, way: Way) -> None:
    ann, bob = await nats.party(way.url), await nats.party()
    one = ann.broker.registry("people", ann.looker)
    bob.broker.registry("people", bob.looker)
    assert await one.claim("ann", b"lobby")
    way.closed = True
    way.cut()
    await until(lambda: "ann" not in bob.looker.known)
    one.change("ann", b"ops")
    way.closed = False
    await until(lambda: bob.looker.known.get("ann") == "ops")


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_short_absence_frees_no_name(server: NatsServer, nats: Nats) -> None:
    ann, bob = await nats.party(), await nats.party()
    one, two = ann.broker.registry("people", ann.looker), bob.broker.registry("people", bob.looker)
    assert await one.claim("ann", b"lobby")
    await until(lambda: bob.looker.known)
    server.kill()
    await until(lambda: not ann.connected and not bob.connected)
    server.start()
    await until(lambda: ann.connected and bob.connected)
    assert not await two.claim("ann", b"mine")
    assert bob.looker.told == ["ann=lobby"]
    one.change("ann", b"ops")
    await until(lambda: bob.looker.known == {"ann": "ops"})


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_daemon_may_start_before_its_server(server: NatsServer, nats: Nats) -> None:
    server.stop()
    early = nats.absent()
    subject = early.enter(after=0)
    registry = early.broker.registry("people", early.looker)
    await until(lambda: nats.states)
    assert nats.states[0][0] == "away"
    assert "refused" in nats.states[0][1]
    with suppress(BrokerAway):
        subject.publish(said("too early"))
    server.start()
    await until(lambda: early.connected)
    subject.publish(said("hello"))
    assert await registry.claim("ann", b"1")
    await until(lambda: early.reader.texts == ["hello"])


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_stream_that_is_deleted_is_made_again_and_numbers_go_on(nats: Nats) -> None:
    ann, bob = await nats.party(), await nats.party()
    subject = ann.enter()
    bob.enter()
    subject.publish(said("one", "two"))
    await until(lambda: len(bob.reader.entries) == 2)
    assert ann.core.stream is not None  # type: ignore[attr-defined]
    stream = ann.core.stream  # type: ignore[attr-defined]
    await stream.connection.ask(f"$JS.API.STREAM.DELETE.{nats.name}", b"", 2)
    await until(lambda: not ann.connected and not bob.connected)
    await until(lambda: ann.connected and bob.connected)
    subject.publish(said("three"))
    await until(lambda: ann.reader.texts[-1:] == ["three"] and bob.reader.texts[-1:] == ["three"])
    assert ann.reader.numbers == bob.reader.numbers == [1, 2, 3]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_full_store_is_told_and_goes_on_when_it_has_room(nats: Nats) -> None:
    ann = await nats.party(store=2**20, keep=100)
    subject = ann.enter()
    quiet = Reader()
    ann.broker.subject("quiet", quiet).publish(said("the only one"))
    await until(lambda: quiet.entries)
    left = 60
    while left and ann.connected:
        left -= 1
        with suppress(BrokerAway, BrokerFull):
            subject.publish([Draft(b"x" * 50_000)])
        await deferLater(reactor, 0.01)
    await until(lambda: not ann.connected)
    assert "maximum bytes exceeded" in ann.core.why
    more = await nats.party(store=10**8, keep=100)
    await until(lambda: ann.connected)
    subject.publish(said("more room"))
    await until(lambda: ann.reader.texts[-1:] == ["more room"])
    assert ann.reader.numbers == list(range(1, len(ann.reader.entries) + 1))
    assert await more.enter("quiet").since(0, 10)
