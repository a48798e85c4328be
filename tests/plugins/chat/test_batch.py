from __future__ import annotations

from sockd_plugins.chat.hub.batch import Batch
from sockd_plugins.chat.hub.events import Event, Joined, Left, Said


class Kind:
    """Form of one kind of client, which knows no exits."""

    def __init__(self) -> None:
        self.encoded: list[Event] = []

    def __call__(self, event: Event) -> bytes:
        assert not isinstance(event, Left)
        self.encoded.append(event)
        return type(event).__name__.encode() + b" "


def test_a_form_is_asked_once_for_each_event_of_its_own_people_and_for_no_other() -> None:
    said, joined, left = Said("lobby", "ann", "hello"), Joined("lobby", "bob"), Left("lobby", "eve", "")
    batch, kind = Batch([said, left, joined]), Kind()
    assert batch.pick([0, 2]).encoded(kind) == b"Said Joined "
    assert batch.pick([2]).encoded(kind) == b"Joined "
    assert kind.encoded == [said, joined]


def test_all_events_are_the_batch_itself() -> None:
    batch = Batch([Joined("lobby", "ann")])
    assert batch.pick([0]) is batch
