"""Results of coroutines that wait for nothing but what the test has done."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def result_of(work: Coroutine[Deferred[Any], Any, T]) -> T:
    """Return what a coroutine returns, or raise what it raises, at once."""
    results: list[T | Failure] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    assert results, "it still waits"
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
        raise AssertionError
    return result
