from hypothesis import given
from hypothesis import strategies as st

from sockd_plugins.desk.backlog import Backlog, Message


def messages(*clients: str) -> list[Message]:
    return [Message(client, "127.0.0.1:1", f"text {at}", float(at)) for at, client in enumerate(clients)]


def filled(backlog: Backlog, kept: list[Message]) -> Backlog:
    for message in kept:
        backlog.add(message)
    return backlog


def test_messages_are_taken_once_and_in_order() -> None:
    written = messages("c1", "c2", "c1")
    backlog = filled(Backlog(10, 10), written)
    assert backlog.take() == (written, 0)
    assert backlog.take() == ([], 0)


def test_a_client_that_writes_too_much_displaces_only_its_own() -> None:
    written = messages("c1", "c2", "c2", "c2", "c2")
    assert filled(Backlog(2, 10), written).take() == ([written[0], written[3], written[4]], 2)


def test_when_all_is_full_the_oldest_of_all_gives_way() -> None:
    written = messages("c1", "c2", "c3", "c4")
    assert filled(Backlog(2, 3), written).take() == (written[1:], 1)


@given(st.lists(st.sampled_from(["c1", "c2", "c3"]), max_size=40), st.integers(1, 5), st.integers(1, 8))
def test_the_bounds_hold_and_every_message_is_either_kept_or_counted(
    clients: list[str], per_client: int, total: int
) -> None:
    written = messages(*clients)
    kept, dropped = filled(Backlog(per_client, total), written).take()
    assert len(kept) + dropped == len(written)
    assert len(kept) <= total
    assert all(sum(message.client == client for message in kept) <= per_client for client in clients)
    assert [message for message in written if message in kept] == kept
    assert written[-1:] == kept[-1:]
