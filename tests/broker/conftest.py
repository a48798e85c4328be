"""Servers that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.broker.servers import NatsServer, one


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """Serve a server that no test disturbs."""
    yield from one(tmp_path_factory.mktemp("nats"))
