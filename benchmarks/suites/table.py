"""Table of the suites, with the tests that are known to differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal


@dataclass(frozen=True)
class Suite:
    """Tests of one project.

    Args:
        name: of the suite in the table.
        requires: the project with its version first, then the requirements of its tests, as pip takes them.
        runner: of the tests.
        tests: arguments for the runner.
        source: whether the tests are in the source distribution only, and run in its folder.
        other: Twisted's reactor that sockd's is compared with; programs of asyncio accept no other.
        known: reasons why tests may differ, by patterns of their names.
    """

    name: str
    requires: tuple[str, ...]
    runner: Literal["trial", "pytest"]
    tests: tuple[str, ...]
    source: bool = False
    other: Literal["epoll", "asyncio"] = "epoll"
    known: Mapping[str, str] = field(default_factory=dict)

    def knows(self, test: str) -> bool:
        """Tell whether this test may differ."""
        return any(fnmatchcase(test, pattern) for pattern in self.known)


PYTEST = "pytest==9.2.0"
TWISTED = ("PyHamcrest",)
SCRAPY = (
    "scrapy==2.19.0",
    "pytest==8.4.2",
    "pytest-twisted",
    "pytest-timeout",
    "pytest-rerunfailures",
    "pexpect",
    "psutil",
    "pyftpdlib",
    "sybil",
)

WORMHOLE = (
    "hypothesis",
    "magic-wormhole-mailbox-server",
    "magic-wormhole-transit-relay",
    "pytest==8.4.2",
    "pytest-twisted",
    "pytest-timeout",
)

SCRAPY_NETWORK = (
    *("downloader_handler_twisted_http11", "downloader_handler_twisted_ftp", "engine", "utils_defer"),
)
"""Scrapy's tests of the network and of Deferreds; all of its tests take far longer."""

LDAPTOR = tuple(
    f"ldaptor.test.test_{name}"
    for name in (
        *("attributeset", "autofill", "connector", "delta", "distinguishedname", "dns", "encoder", "entry"),
        *("examples", "fetchschema", "inmemory", "ldapclient", "ldaperrors", "ldapfilter", "ldapsyntax"),
        *(
            "ldif",
            "ldifdelta",
            "ldifprotocol",
            "ldiftree",
            "match",
            "merger",
            "proxy",
            "proxybase",
            "pureber",
        ),
        *("pureldap", "schema", "server", "smbpassword", "svcbindproxy", "usage"),
    )
)
"""Ldaptor's tests without those of its configuration, whose clean-up calls itself and never ends on this
Twisted."""

ENDED_EARLY = "kills the server at the first bytes of its answer; on uv they leave before the rest is written"

COUNTS_TURNS = (
    "waits for four turns of the reactor, and an abandoned connection is told of its end in the fifth"
)

SUITES = (
    Suite("twisted-ftp", TWISTED, "trial", ("twisted.test.test_ftp", "twisted.test.test_ftp_options")),
    Suite("twisted-names", TWISTED, "trial", ("twisted.names",)),
    Suite("twisted-words", TWISTED, "trial", ("twisted.words",)),
    Suite("twisted-mail", TWISTED, "trial", ("twisted.mail",)),
    Suite("ldaptor", ("ldaptor==21.2.0",), "trial", LDAPTOR),
    Suite(
        "daphne",
        ("daphne==4.2.3", "django", "hypothesis", PYTEST, "pytest-asyncio"),
        "pytest",
        ("tests",),
        source=True,
        other="asyncio",
        known={
            "tests/test_http_response.py::*": ENDED_EARLY,
        },
    ),
    Suite(
        "scrapy",
        SCRAPY,
        "pytest",
        ("--reactor=asyncio", "--timeout=120", *(f"tests/test_{name}.py" for name in SCRAPY_NETWORK)),
        source=True,
        other="asyncio",
    ),
    Suite("treq", ("treq==26.7.0", "httpbin"), "trial", ("treq",)),
    Suite("klein", ("klein==24.8.0", "hypothesis", "treq", "idna"), "trial", ("klein",)),
    Suite("txtorcon", ("txtorcon==26.6.0",), "trial", ("test",), source=True),
    Suite(
        "foolscap",
        ("foolscap==24.9.0",),
        "trial",
        ("foolscap",),
        known={"foolscap.test.test_negotiate.Crossfire.test5": COUNTS_TURNS},
    ),
    Suite(
        "magic-wormhole",
        ("magic-wormhole==0.24.0", *WORMHOLE),
        "pytest",
        ("--reactor=asyncio", "--timeout=120", "--pyargs", "wormhole"),
        other="asyncio",
    ),
)
