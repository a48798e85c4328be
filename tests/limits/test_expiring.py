from __future__ import annotations

from sockd.limits.expiring import Expiring


def test_an_entry_stays_until_its_moment_while_many_are_added() -> None:
    table = Expiring(100)
    for number in range(50):
        assert table.set(b"held %d" % number, 100.0, 0.0)
    for number in range(100_000):
        table.set(b"forged %d" % number, number / 1000 + 1, number / 1000)
    assert [table.moments.get(b"held %d" % number) for number in range(50)] == [100.0] * 50
    assert len(table) <= 100


def test_a_full_table_has_room_once_entries_have_expired() -> None:
    table = Expiring(10)
    assert all(table.set(bytes([number]), 5.0, 0.0) for number in range(10))
    assert not table.set(b"another", 9.0, 4.9)
    assert table.moments.get(b"another") is None
    assert table.set(bytes([3]), 9.0, 4.9)
    assert table.set(b"another", 9.0, 5.0)
    assert table.moments.get(bytes([3])) == 9.0


def test_expired_entries_are_removed_as_others_are_added() -> None:
    table = Expiring(10_000)
    for number in range(5_000):
        table.set(b"%d" % number, 1.0, 0.0)
    for number in range(2_500):
        table.set(b"later %d" % number, 3.0, 2.0)
    assert len(table) == 2_500
    assert table.moments.get(b"17") is None
