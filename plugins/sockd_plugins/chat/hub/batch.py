"""Events that are delivered together, encoded once for all people of a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sockd_plugins.chat.hub.events import Ended, Event

Form = Callable[[Event], bytes]
"""Encoding of an event for people of one kind; empty for an event that they are not shown."""


class Batch:
    """Events that a person is owed, in order.

    Args:
        events: at least one.
    """

    __slots__ = ("_encoded", "_parts", "events")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self._parts: dict[Form, dict[int, bytes]] = {}
        self._encoded: dict[Form, bytes] = {}

    @property
    def end(self) -> Ended | None:
        """End of the chat for the person, if that is what happens."""
        return event if isinstance(event := self.events[-1], Ended) else None

    def encoded(self, form: Form) -> bytes:
        """Return all events in a form."""
        data = self._encoded.get(form)
        if data is None:
            data = self._encoded[form] = b"".join(self._encode(form))
        return data

    def parts(self, form: Form) -> Sequence[bytes]:
        """Return each event in a form."""
        return self._encode(form)

    def pick(self, places: Sequence[int]) -> Batch:
        """Return the events at these places, at least one, without encoding any event again."""
        return self if len(places) == len(self.events) else _Part(self, places)

    def _encode(self, form: Form) -> list[bytes]:
        return self._encode_some(form, range(len(self.events)))

    def _encode_some(self, form: Form, places: Sequence[int]) -> list[bytes]:
        """Return the events at these places in a form, which need not know others; each is encoded once."""
        parts = self._parts.setdefault(form, {})
        for place in places:
            if place not in parts:
                parts[place] = form(self.events[place])
        return [parts[place] for place in places]


class _Part(Batch):
    """Part of a batch."""

    __slots__ = ("_places", "_whole")

    def __init__(self, whole: Batch, places: Sequence[int]) -> None:
        super().__init__([whole.events[place] for place in places])
        self._whole = whole
        self._places = places

    def _encode(self, form: Form) -> list[bytes]:
        return self._whole._encode_some(form, self._places)
