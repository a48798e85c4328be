"""Name, room and company of a person, as far as the server has told."""

from __future__ import annotations

from sockd.cli.chat.names import Names
from sockd.cli.chat.wire import Entered, Joined, Left, Meaning, Present, Removed, Renamed, Room, Topic


class Surroundings:
    """Surroundings of one person.

    Attributes:
        name: present name.
        room: present room; "" for none.
        topic: of the room.
        people: names known to be in the room.
        rooms: names of rooms.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.room = self.topic = ""
        self.people = Names()
        self.rooms = Names()

    def enter(self, entered: Entered) -> None:
        """Learn that the person has entered a room."""
        self.name, self.room, self.topic = entered.name, entered.room, ""
        self.people.reset(*entered.others, entered.name)
        self.rooms.add(entered.room)

    def learn(self, meaning: Meaning | None) -> None:
        """Learn from a line of the server."""
        match meaning:
            case Joined(name):
                self.people.add(name)
            case Left(name):
                self.people.remove(name)
            case Removed(name):
                self.people.remove(name)
                if self.is_own(name):
                    self.room = self.topic = ""
            case Renamed(name, new_name):
                self.people.rename(name, new_name)
                if self.is_own(name):
                    self.name = new_name
            case Present(room, names) if room == self.room:
                self.people.add(*names)
            case Room(name):
                self.rooms.add(name)
            case Topic(room, topic) if room == self.room:
                self.topic = topic

    def is_own(self, name: str) -> bool:
        """Tell whether a name is the person's own."""
        return name.lower() == self.name.lower()
