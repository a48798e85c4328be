from __future__ import annotations

import pytest

from sockd.tls.credentials import Credentials, Settings
from tests.tls.authority import Issued, issue


@pytest.fixture(scope="session")
def root() -> Issued:
    return issue("root", authority=True)


@pytest.fixture(scope="session")
def stranger() -> Issued:
    """Return an authority that is not trusted."""
    return issue("stranger", authority=True)


@pytest.fixture(scope="session")
def server(root: Issued) -> Issued:
    return issue("localhost", issuer=root)


@pytest.fixture(scope="session")
def credentials(server: Issued, tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return Credentials(Settings(*server.write(tmp_path_factory.mktemp("tls"))))
