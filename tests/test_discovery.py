from __future__ import annotations

from pathlib import Path

import pytest

from sockd import discovery
from sockd.errors import PluginError

GOOD = """
from sockd.plugin import IDatagramPlugin, IStreamPlugin, Plugin, Replies
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

@implementer(IStreamPlugin)
class Good(Plugin):
    def stream_factory(self, protocol, context):
        return Factory.forProtocol(Protocol)
"""

BOTH = (
    GOOD.replace("IStreamPlugin)", "IStreamPlugin, IDatagramPlugin)")
    + "    def datagram_protocol(self, protocol, context): ...\n"
)

DATAGRAMS = """
import typing
from sockd.plugin import IDatagramPlugin, Plugin, Replies
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

@implementer(IDatagramPlugin)
class Good(Plugin):
    def datagram_protocol(self, protocol, context):
        return DatagramProtocol()
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Write a module that can be imported; gives its name, a new one for each test."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"plugin_{tmp_path.name}".replace("-", "_")

    def write_one(text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write_one


def test_an_entry_point_is_found_by_its_name() -> None:
    assert discovery.find("echo").__name__ == "Echo"


def test_a_class_is_found_by_its_module(write) -> None:  # type: ignore[no-untyped-def]
    assert discovery.find(f"{write(GOOD)}:Good").__name__ == "Good"


def test_an_unknown_name_is_answered_with_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(PluginError) as caught:
        discovery.find("ecco")
    assert "did you mean 'echo'?" in str(caught.value)
    assert "banner, chat, desk" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("def f():\n    raise OSError('the disk is gone')\nf()", "OSError: the disk is gone"),
        ("x = (", "SyntaxError"),
        (GOOD.replace("class Good", "class Other"), "has no attribute 'Good'"),
        (GOOD + "Good = 5", "is a int, expected a subclass of sockd.plugin.Plugin"),
        (GOOD + "Good = Protocol", "is the class Protocol, expected a subclass"),
        (GOOD.replace("@implementer(IStreamPlugin)", ""), "serves nothing"),
        (GOOD.replace("(self, protocol, context)", "(self)"), "breaks the contract"),
        (GOOD.replace("IStreamPlugin)", "IStreamPlugin, IDatagramPlugin)"), "breaks the contract"),
        (GOOD + "    protocols = ()", "names no protocol"),
        (GOOD + "    protocols = {}", "names no protocol"),
        (
            GOOD + "    protocols = {'a': 'stream'}",
            "gives 'a' 'stream', expected ('stream',), ('datagram',) or",
        ),
        (GOOD + "    protocols = {'a': ()}", "gives 'a' (), expected"),
        (GOOD + "    protocols = {'a': ('tcp',)}", "gives 'a' ('tcp',), expected"),
        (GOOD + "    protocols = {'a': ('datagram',)}", "go over 'datagram', which the class does not serve"),
        (
            BOTH + "    protocols = {'a': ('stream',)}",
            "it serves 'datagram', but no name in 'protocols' goes over it",
        ),
        (DATAGRAMS + "    replies: typing.ClassVar = 5", "'replies' is a int, expected sockd.plugin.Replies"),
    ],
)
def test_a_class_that_breaks_the_contract_is_refused_with_the_reason(write, text: str, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PluginError) as caught:
        discovery.find(f"{write(text)}:Good")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plugin_that_fails_while_it_is_imported_is_told_with_file_and_line(write) -> None:  # type: ignore[no-untyped-def]
    name = write("\n\nraise ValueError('not today')")
    with pytest.raises(PluginError, match=rf"not today \(.*{name}\.py, line 3\)"):
        discovery.find(f"{name}:Good")


def test_a_missing_module_is_told_without_a_place_in_sockd() -> None:
    with pytest.raises(PluginError) as caught:
        discovery.find("no_such_module:Thing")
    assert str(caught.value).endswith("No module named 'no_such_module'")


@pytest.mark.parametrize(
    "protocols",
    [
        "('a', 'b')",
        "['a']",
        "{'a': ('stream',), 'b': ('datagram',)}",
        "{'a': ['stream', 'datagram']}",
        "{'a': {'stream'}, 'b': frozenset({'datagram', 'stream'})}",
    ],
)
def test_protocols_are_plain_names_or_names_with_their_transports(write, protocols: str) -> None:  # type: ignore[no-untyped-def]
    discovery.find(f"{write(f'{BOTH}    protocols = {protocols}')}:Good")


@pytest.mark.parametrize(
    "replies",
    [
        "",
        "    replies: typing.ClassVar = Replies(factor=2)",
        "    replies: Replies = Replies()",
        "    @property\n    def replies(self):\n        return Replies()",
    ],
)
def test_a_datagram_plugin_may_say_what_it_sends_or_leave_it(write, replies: str) -> None:  # type: ignore[no-untyped-def]
    discovery.find(f"{write(DATAGRAMS + replies)}:Good")
