"""Contract of a broker, the same for `memory` and for `nats` with a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from sockd.broker import Draft
from sockd.broker.contract import MOST_BYTES, MOST_NAME
from sockd.broker.memory import MemoryBroker
from tests.broker.parties import Looker, Nats, Party, Reader, reactor, said, until

Make = Callable[[], Awaitable[Party]]


@pytest_twisted.async_yield_fixture(params=["memory", "nats"])  # type: ignore[untyped-decorator]
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Make parties that share a broker: with `memory` in one process, with `nats` in several."""
    parties: list[Party] = []
    core = MemoryBroker("me")
    nats = Nats(request.getfixturevalue("nats").url) if request.param == "nats" else None

    async def party() -> Party:
        if nats is not None:
            return await nats.party()
        parties.append(Party(core))
        return parties[-1]

    yield party
    for each in parties:
        await each.stop()
        assert not each.faults
    if nats is not None:
        await nats.stop()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_all_subscribers_get_the_same_entries_in_one_order_with_the_same_numbers(make: Make) -> None:
    parties = [await make() for _ in range(3)]
    subjects = [party.enter() for party in parties]
    for subject in subjects:
        assert await subject.latest(10) == (0, ())
    for turn in range(50):
        for index, subject in enumerate(subjects):
            subject.publish(said(f"{index}.{turn}"))
        if turn % 7 == 0:
            await deferLater(reactor, 0)
    await until(lambda: all(len(party.reader.entries) == 150 for party in parties))
    assert parties[0].reader.entries == parties[1].reader.entries == parties[2].reader.entries
    assert parties[0].reader.numbers == list(range(1, 151))
    for index in range(3):
        own = [text for text in parties[0].reader.texts if text.startswith(f"{index}.")]
        assert own == [f"{index}.{turn}" for turn in range(50)]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_entries_without_a_number_keep_their_place_among_the_others(make: Make) -> None:
    ann, bob = await make(), await make()
    subject = ann.enter()
    bob.enter()
    subject.publish([Draft(b"one"), Draft(b"joined", numbered=False), Draft(b"two")])
    await until(lambda: len(bob.reader.entries) == 3)
    assert [(each.number, each.numbered) for each in bob.reader.entries] == [(1, True), (1, False), (2, True)]
    assert bob.reader.texts == ["one", "joined", "two"]
    assert {each.origin for each in bob.reader.entries} == {ann.broker.origin}


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_each_subject_has_numbers_of_its_own(make: Make) -> None:
    ann = await make()
    ops, other = Reader(), Reader()
    ann.broker.subject("ops", ops).publish(said("a", "b"))
    ann.broker.subject("Ops", other).publish(said("c"))
    await until(lambda: ops.entries[1:] and other.entries)
    assert (ops.numbers, other.numbers) == ([1, 2], [1])


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
@pytest.mark.parametrize("name", ["#room", "ä b.c*>", "\u2028", "x" * MOST_NAME])
async def test_a_name_may_have_any_characters(make: Make, name: str) -> None:
    ann, bob = await make(), await make()
    subject = ann.enter(name)
    bob.enter(name)
    subject.publish(said("hello"))
    await until(lambda: bob.reader.entries)
    assert bob.reader.texts == ["hello"]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_names_and_entries_have_a_bound(make: Make) -> None:
    ann = await make()
    for name in ("", "x" * (MOST_NAME + 1)):
        with pytest.raises(ValueError, match="a name has 1 to"):
            ann.broker.subject(name, Reader())
    subject = ann.enter()
    with pytest.raises(ValueError, match="an entry has at most"):
        subject.publish([Draft(b"x" * (MOST_BYTES + 1))])
    subject.publish([Draft(b"x" * MOST_BYTES)] * 20)
    await until(lambda: len(ann.reader.entries) == 20)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_who_comes_later_gets_what_is_behind_the_number_that_it_knows(make: Make) -> None:
    ann, bob, new = await make(), await make(), await make()
    subject = ann.enter()
    for turn in range(40):
        subject.publish(said(f"{turn}a", f"{turn}b"))
        await deferLater(reactor, 0)
    await until(lambda: len(ann.reader.entries) == 80)
    bob.enter(after=33)
    subject.publish(said("and more"))
    await until(lambda: bob.reader.numbers[-1:] == [81])
    assert bob.reader.numbers == list(range(34, 82))
    await new.enter(after=None).latest(0)
    await deferLater(reactor, 0.1)
    subject.publish(said("live"))
    await until(lambda: new.reader.entries)
    assert (new.reader.numbers, new.reader.missed) == ([82], [])


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_older_entries_are_read_in_pieces(make: Make) -> None:
    ann = await make()
    subject = ann.enter()
    for turn in range(30):
        subject.publish([*said(f"{turn}"), Draft(b"-", numbered=False)])
        await deferLater(reactor, 0)
    await until(lambda: len(ann.reader.entries) == 60)
    found = await subject.since(10, 5)
    assert [(each.number, int(each.data)) for each in found] == [(each, each - 1) for each in range(11, 16)]
    assert [each.number for each in await subject.since(27, 100)] == [28, 29, 30]
    assert await subject.since(30, 10) == ()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_numbers_go_on_behind_what_a_subscriber_knows_already(make: Make) -> None:
    ann, bob = await make(), await make()
    subject = ann.enter(after=1834)
    await deferLater(reactor, 0.2)
    bob.enter()
    await deferLater(reactor, 0.1)
    subject.publish(said("hello"))
    await until(lambda: ann.reader.entries and bob.reader.entries)
    assert (ann.reader.numbers, bob.reader.numbers) == ([1835], [1835])


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_subscription_that_is_closed_gets_nothing_more(make: Make) -> None:
    ann, bob = await make(), await make()
    subject, other = ann.enter(), bob.enter()
    subject.publish(said("one"))
    await until(lambda: bob.reader.entries)
    other.close()
    subject.publish(said("two"))
    await until(lambda: len(ann.reader.entries) == 2)
    await deferLater(reactor, 0.05)
    assert bob.reader.texts == ["one"]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_what_a_receiver_publishes_comes_after_what_it_gets(make: Make) -> None:
    ann, bob = await make(), await make()
    subject = ann.enter()

    class Parrot(Reader):
        def take(self, entries):  # type: ignore[no-untyped-def]
            super().take(entries)
            echo.publish([Draft(b"again " + each.data) for each in entries if b"again" not in each.data])

    parrot = Parrot()
    echo = bob.broker.subject("ops", parrot, after=0)
    subject.publish(said("one", "two"))
    await until(lambda: len(ann.reader.entries) == 4 and len(parrot.entries) == 4)
    assert ann.reader.entries == parrot.entries
    assert ann.reader.texts == ["one", "two", "again one", "again two"]


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_receiver_that_raises_disturbs_nobody(make: Make) -> None:
    ann, bob = await make(), await make()
    subject = ann.enter()

    class Broken(Reader):
        def take(self, entries):  # type: ignore[no-untyped-def]
            super().take(entries)
            raise RuntimeError("broken")

    broken = Broken()
    bob.broker.subject("ops", broken, after=0)
    bob.enter()
    subject.publish(said("one"))
    await until(lambda: broken.entries and bob.reader.entries and ann.reader.entries)
    subject.publish(said("two"))
    await until(lambda: len(broken.entries) == 2 and len(bob.reader.entries) == 2)
    assert len(bob.faults) == 2
    bob.faults.clear()


# Registries.


async def claims(*claims: Awaitable[bool]) -> list[bool]:
    async def one(claim: Awaitable[bool]) -> bool:
        return await claim

    return list(await gatherResults([Deferred.fromCoroutine(one(claim)) for claim in claims]))


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_key_has_one_owner_whoever_claims_it_at_once(make: Make) -> None:
    parties = [await make() for _ in range(3)]
    registries = [party.broker.registry("people", party.looker) for party in parties]
    for name in ("ann", "bob", "ä b"):
        got = await claims(
            *(registry.claim(name, b"%d" % index) for index, registry in enumerate(registries))
        )
        assert sorted(got) == [False, False, True]
        owner = str(got.index(True))
        await until(lambda name=name: all(name in party.looker.known for party in parties))  # type: ignore[misc]
        assert {party.looker.known[name] for party in parties} == {owner}


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_change_is_told_to_all_and_only_the_owner_makes_it(make: Make) -> None:
    ann, bob = await make(), await make()
    one, two = ann.broker.registry("people", ann.looker), bob.broker.registry("people", bob.looker)
    assert await one.claim("ann", b"lobby")
    with pytest.raises(KeyError):
        two.change("ann", b"mine")
    for room in ("ops", "dev", "ops"):
        one.change("ann", room.encode())
    await until(lambda: bob.looker.known.get("ann") == "ops" and not getattr(one, "busy", False))
    await until(lambda: ann.looker.known["ann"] == "ops")
    assert dict(two.records)["ann"].origin == ann.broker.origin
    two.release("ann")
    one.release("ann")
    await until(lambda: not bob.looker.known and not ann.looker.known)
    assert bob.looker.told[-1] == "ann gone"


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_released_key_can_be_claimed_again(make: Make) -> None:
    ann, bob = await make(), await make()
    one, two = ann.broker.registry("people", ann.looker), bob.broker.registry("people", bob.looker)
    for _ in range(3):
        assert await one.claim("ann", b"1")
        assert not await two.claim("ann", b"2")
        one.release("ann")
        await until(lambda: "ann" not in two.records)
        assert await two.claim("ann", b"2")
        two.release("ann")
        await until(lambda: "ann" not in one.records and "ann" not in two.records)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_who_joins_a_registry_later_is_told_what_is_there(make: Make) -> None:
    ann, bob = await make(), await make()
    registry = ann.broker.registry("people", ann.looker)
    for index in range(20):
        assert await registry.claim(f"guest-{index}", b"x")
    registry.release("guest-3")
    await until(lambda: "guest-3" not in registry.records)
    bob.broker.registry("people", bob.looker)
    await until(lambda: len(bob.looker.known) == 19)
    assert "guest-3" not in bob.looker.known


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_a_closed_registry_gives_up_its_keys(make: Make) -> None:
    ann, bob = await make(), await make()
    registry = ann.broker.registry("people", ann.looker)
    bob.broker.registry("people", bob.looker)
    assert await registry.claim("ann", b"1")
    assert await registry.claim("anna", b"1")
    await until(lambda: len(bob.looker.known) == 2)
    ann.broker.close()
    await until(lambda: not bob.looker.known)


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]
async def test_services_of_other_names_have_other_subjects_and_registries(make: Make) -> None:
    ann = await make()
    other = Party(ann.core, "other")
    subject, foreign = ann.enter(), other.enter()
    one = ann.broker.registry("people", Looker())
    two = other.broker.registry("people", Looker())
    assert await one.claim("ann", b"1")
    assert await two.claim("ann", b"1")
    subject.publish(said("one"))
    foreign.publish(said("two"))
    await until(lambda: ann.reader.entries and other.reader.entries)
    assert (ann.reader.texts, other.reader.texts) == (["one"], ["two"])
    other.broker.close()
