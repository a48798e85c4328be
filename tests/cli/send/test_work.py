"""Files of a run: each has one outcome, whatever its connections do."""

from __future__ import annotations

from sockd.cli.send.items import Item
from sockd.cli.send.work import Outcome, Work


class Told(list[tuple[str, str]]):
    """Outcomes that were told."""

    def __call__(self, outcome: Outcome) -> None:
        self.append((outcome.item.name, outcome.status))


def items(*names: str, size: int = 1) -> list[Item]:
    return [Item(name, name, size) for name in names]


def test_a_file_that_a_connection_still_has_is_interrupted_too() -> None:
    told = Told()
    work = Work(items("a", "b"), told)
    taken = work.take_small()
    assert taken is not None
    work.abandon("interrupted")
    assert sorted(told) == [("a", "interrupted"), ("b", "interrupted")]
    assert work.done
    work.finish(Outcome(taken, "stored"))  # its connection notices it too late
    work.put_back([taken])
    assert (len(told), work.waits) == (2, 0)


def test_a_file_with_an_outcome_does_not_wait_again() -> None:
    told = Told()
    work = Work(items("a"), told)
    item = work.take_small()
    assert item is not None
    assert not work.done
    work.finish(Outcome(item, "stored"))
    work.put_back([item])
    assert (work.waits, work.done, told) == (0, True, [("a", "stored")])


def test_files_that_wait_are_given_up_and_those_on_their_way_are_not() -> None:
    told = Told()
    work = Work([*items("a", "b"), *items("large", size=1 << 30)], told)
    assert work.take_large() is not None
    work.give_up("no connection")
    assert sorted(told) == [("a", "unsent"), ("b", "unsent")]
    assert not work.done
