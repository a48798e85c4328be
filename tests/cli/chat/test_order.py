"""Order of a room's messages: each one once, by number."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sockd.cli.chat.order import MOST_HELD, NEWEST, Order
from sockd.cli.chat.wire import Said


def said(number: int, at: float | None = None) -> Said:
    return Said("ann", str(number), "said", number, float(number) if at is None else at)


@given(st.permutations(range(1, 12)), st.lists(st.integers(1, 11)))
def test_messages_come_out_once_and_in_order_however_they_arrive(
    arriving: list[int], doubled: list[int]
) -> None:
    order = Order()
    order.gap(0)
    released = [each.number for number in (*arriving, *doubled) for each in order.take(said(number))]
    assert released == list(range(1, 12))


def test_the_first_message_begins_the_order() -> None:
    order = Order()
    assert order.take(said(17)) == [said(17)]
    assert order.take(said(19)) == []
    assert order.gap(19) == range(18, 19)
    assert order.take(said(18)) == [said(18), said(19)]
    assert not order.gap(19)


def test_a_newcomer_asks_for_the_newest_messages_only() -> None:
    assert Order().gap(100) == range(100 - NEWEST + 1, 101)


def test_what_cannot_be_had_is_given_up() -> None:
    order = Order()
    order.take(said(1))
    order.take(said(4))
    order.take(said(7))
    assert order.skip_to(5) == (3, [said(4)])
    assert order.skip_to(6) == (1, [said(7)])
    assert order.skip_to(6) == (0, [])


def test_a_number_that_was_seen_with_a_later_time_comes_from_a_server_that_counts_anew() -> None:
    order = Order()
    order.take(said(17))
    assert order.take(said(17)) == []
    assert order.take(said(3)) == []
    assert order.take(said(1, at=18.0)) == [said(1, at=18.0)]
    assert order.take(said(2, at=19.0)) == [said(2, at=19.0)]


def test_what_is_held_back_is_bounded() -> None:
    order = Order()
    order.take(said(1))
    shown = [each for number in range(3, MOST_HELD + 10) for each in order.take(said(number))]
    assert len(shown) == MOST_HELD + 7


def test_a_message_without_a_number_is_in_order() -> None:
    assert Order().take(Said("ann", "hi")) == [Said("ann", "hi")]
