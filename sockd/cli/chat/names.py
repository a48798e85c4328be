"""Names of people and of rooms, as far as they are known, for completion."""

from __future__ import annotations

from collections.abc import Iterator

MOST_NAMES = 2000


class Names:
    """Names, compared without regard to case; the one heard of last comes first."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        return reversed(self._names.values())

    def __len__(self) -> int:
        return len(self._names)

    def reset(self, *names: str) -> None:
        """Know these names and no others."""
        self._names.clear()
        self.add(*names)

    def add(self, *names: str) -> None:
        """Know these names too."""
        for name in names:
            self._names.pop(name.lower(), None)
            self._names[name.lower()] = name
        while len(self._names) > MOST_NAMES:
            del self._names[next(iter(self._names))]

    def remove(self, name: str) -> None:
        """Forget a name."""
        self._names.pop(name.lower(), None)

    def rename(self, name: str, new_name: str) -> None:
        """Replace a name."""
        self.remove(name)
        self.add(new_name)
