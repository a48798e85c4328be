import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError
from twisted.internet import protocol
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger

from sockd.errors import PluginError, ValueFault
from sockd.plugin import Context
from sockd_plugins.factory import Factory

CONTEXT = Context("factory", Clock(), Logger(), Path("state"))
PEER = ("192.0.2.1", 40_000)


class Greeter(protocol.Protocol):
    def __init__(self, greeting: str = "hello") -> None:
        self.greeting = greeting

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.greeting.encode())


class GreeterFactory(protocol.Factory[Greeter]):
    def __init__(self, greeting: str = "hello") -> None:
        self.greeting = greeting

    def buildProtocol(self, addr: Any) -> Greeter:
        return Greeter(self.greeting)


class Repeater(protocol.DatagramProtocol):
    def __init__(self, times: int = 1) -> None:
        self.times = times

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        self.transport.write(datagram * self.times, addr)


class Sent(list[tuple[bytes, Any]]):
    """Datagram transport that records what is written."""

    def write(self, data: bytes, addr: Any) -> None:
        self.append((data, addr))


@pytest.fixture(autouse=True)
def old_code(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Write a module `old_code`, as existing programs have it."""
    module = ModuleType("old_code")
    vars(module).update(
        Greeter=Greeter,
        GreeterFactory=GreeterFactory,
        greeters=GreeterFactory("good morning"),
        Repeater=Repeater,
        repeater=Repeater(3),
        make_greeters=lambda greeting="hi": GreeterFactory(greeting),
        make_class=lambda: GreeterFactory,
        make_protocol_class=lambda: Greeter,
        make_repeater=lambda times=2: Repeater(times),
        make_repeater_class=lambda: Repeater,
        make_nothing=lambda: None,
        make_trouble=lambda: 1 // 0,
        text="text",
        Text=str,
    )
    monkeypatch.setitem(sys.modules, "old_code", module)
    return module


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder that modules are imported from."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def factory(name: str, **arguments: Any) -> Factory:
    return Factory(factory=name, arguments=arguments)


def greeted(plugin: Factory) -> bytes:
    built = plugin.stream_factory("default", CONTEXT).buildProtocol(IPv4Address("TCP", *PEER))
    assert built is not None
    transport = StringTransport()
    built.makeConnection(transport)
    value: bytes = transport.value()
    return value


def repeated(plugin: Factory) -> bytes:
    sent = Sent()
    built: Any = plugin.datagram_protocol("default", CONTEXT)
    built.makeConnection(sent)
    built.datagramReceived(b"x", PEER)
    built.transport = None
    [(reply, addr)] = sent
    assert addr == PEER
    return reply


def fault(name: str, **arguments: Any) -> ValueFault:
    with pytest.raises(ValidationError) as caught:
        factory(name, **arguments)
    error = caught.value.errors()[0]["ctx"]["error"]
    assert isinstance(error, ValueFault)
    return error


# Code that can be served.


def test_a_protocol_that_comes_with_twisted_is_served() -> None:
    served: Any = factory("twisted.protocols.wire:Echo").stream_factory("default", CONTEXT)
    echo = served.buildProtocol(IPv4Address("TCP", *PEER))
    transport = StringTransport()
    echo.makeConnection(transport)
    echo.dataReceived(b"one")
    assert transport.value() == b"one"
    assert echo.factory is served


@pytest.mark.parametrize(
    ("name", "arguments", "greeting"),
    [
        ("old_code:greeters", {}, b"good morning"),
        ("old_code:GreeterFactory", {}, b"hello"),
        ("old_code:GreeterFactory", {"greeting": "moin"}, b"moin"),
        ("old_code:Greeter", {}, b"hello"),
        ("old_code:Greeter", {"greeting": "moin"}, b"moin"),
        ("old_code:make_greeters", {}, b"hi"),
        ("old_code:make_greeters", {"greeting": "moin"}, b"moin"),
        ("old_code:make_class", {}, b"hello"),
        ("old_code:make_protocol_class", {}, b"hello"),
    ],
)
def test_every_form_of_a_factory_serves_streams(
    name: str, arguments: dict[str, Any], greeting: bytes
) -> None:
    assert greeted(factory(name, **arguments)) == greeting


@pytest.mark.parametrize(
    ("name", "arguments", "reply"),
    [
        ("old_code:repeater", {}, b"xxx"),
        ("old_code:Repeater", {}, b"x"),
        ("old_code:Repeater", {"times": 2}, b"xx"),
        ("old_code:make_repeater", {}, b"xx"),
        ("old_code:make_repeater", {"times": 5}, b"xxxxx"),
        ("old_code:make_repeater_class", {}, b"x"),
    ],
)
def test_every_form_of_a_datagram_protocol_serves_datagrams(
    name: str, arguments: dict[str, Any], reply: bytes
) -> None:
    assert repeated(factory(name, **arguments)) == reply


def test_a_name_may_be_inside_a_class(old_code: ModuleType) -> None:
    old_code.Outer = type("Outer", (), {"Inner": Greeter})  # type: ignore[attr-defined]
    assert greeted(factory("old_code:Outer.Inner")) == b"hello"


@pytest.mark.parametrize("name", ["old_code:greeters", "old_code:GreeterFactory", "old_code:Greeter"])
def test_all_stream_listeners_of_a_service_share_one_factory(name: str) -> None:
    plugin = factory(name)
    assert plugin.stream_factory("default", CONTEXT) is plugin.stream_factory("default", CONTEXT)


def test_each_datagram_listener_has_a_protocol_of_its_own() -> None:
    plugin = factory("old_code:Repeater")
    first = plugin.datagram_protocol("default", CONTEXT)
    assert plugin.datagram_protocol("default", CONTEXT) is not first


# Mistakes of a service's author.


def test_one_datagram_protocol_does_not_serve_two_listeners() -> None:
    plugin = factory("old_code:repeater")
    plugin.datagram_protocol("default", CONTEXT)
    with pytest.raises(PluginError, match="more than one datagram listener: name its class"):
        plugin.datagram_protocol("default", CONTEXT)


@pytest.mark.parametrize("name", ["Repeater", "repeater", "make_repeater", "make_repeater_class"])
def test_a_datagram_protocol_does_not_serve_streams_and_the_error_names_the_cure(name: str) -> None:
    with pytest.raises(
        PluginError, match="a Repeater, which cannot serve streams: list only udp and unixgram"
    ):
        factory(f"old_code:{name}").stream_factory("default", CONTEXT)


@pytest.mark.parametrize("name", ["greeters", "GreeterFactory", "make_greeters", "Greeter"])
def test_a_factory_does_not_serve_datagrams_and_the_error_names_the_cure(name: str) -> None:
    with pytest.raises(PluginError, match="Factory, which cannot serve datagrams: list only tcp and unix "):
        factory(f"old_code:{name}").datagram_protocol("default", CONTEXT)


def test_a_callable_that_returns_neither_serves_nothing() -> None:
    plugin = factory("old_code:make_nothing")
    with pytest.raises(PluginError, match="old_code:make_nothing gives a NoneType"):
        plugin.stream_factory("default", CONTEXT)
    with pytest.raises(PluginError, match="old_code:make_nothing gives a NoneType"):
        plugin.datagram_protocol("default", CONTEXT)


def test_an_error_of_the_served_code_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        factory("old_code:make_trouble").stream_factory("default", CONTEXT)


# Mistakes of the operator.


@pytest.mark.parametrize("name", ["", "old_code", "old_code.Greeter", ":Greeter", "old_code:"])
def test_a_name_is_written_module_and_name(name: str) -> None:
    found = fault(name)
    assert (found.expected, found.found) == (
        "module:name, such as twisted.protocols.wire:Echo",
        repr(name),
    )


def test_an_unknown_name_is_a_fault_that_names_the_one_probably_meant() -> None:
    found = fault("old_code:Greter")
    assert (found.expected, found.found) == ("a name in the module old_code", "'Greter'")
    assert found.nearest == "old_code:Greeter"
    assert fault("old_code:Greeter()").found == "'Greeter()'"


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("no_such_module:x", "no_such_module"),
        ("twisted.no.such:x", "twisted.no"),
        ("os.path.x:y", "os.path.x"),
    ],
)
def test_a_module_that_is_not_installed_is_a_fault_that_names_it(name: str, missing: str) -> None:
    assert fault(name).found == f"no module '{missing}'"


def test_a_module_that_lacks_another_is_a_fault_at_its_line(folder: Path) -> None:
    (folder / "lacking.py").write_text("import sys\nimport no_such_module\n")
    found = fault("lacking:x").found
    assert found == f"ModuleNotFoundError: No module named 'no_such_module' ({folder}/lacking.py, line 2)"


def test_a_module_that_fails_is_a_fault_at_its_line(folder: Path) -> None:
    (folder / "failing.py").write_text("def f():\n    return 1 // 0\n\n\nf()\n")
    found = fault("failing:x").found
    assert found == f"ZeroDivisionError: integer division or modulo by zero ({folder}/failing.py, line 2)"


def test_a_module_that_exits_does_not_end_the_daemon(folder: Path) -> None:
    (folder / "exiting.py").write_text("raise SystemExit('bye')\n")
    assert fault("exiting:x").found == f"SystemExit: bye ({folder}/exiting.py, line 1)"


def test_a_module_that_is_no_python_is_a_fault_at_its_line(folder: Path) -> None:
    (folder / "broken.py").write_text("x = 1\ndef f(:\n")
    assert fault("broken:x").found == f"SyntaxError: invalid syntax ({folder}/broken.py, line 2)"


@pytest.mark.parametrize(("name", "kind"), [("text", "a str"), ("Text", "the class str")])
def test_a_name_that_twisted_cannot_serve_is_a_fault(name: str, kind: str) -> None:
    found = fault(f"old_code:{name}")
    assert found.expected.startswith("a Twisted factory, Protocol, DatagramProtocol")
    assert found.found == kind


def test_arguments_that_do_not_fit_are_a_fault_that_shows_what_does() -> None:
    found = fault("old_code:Greeter", greting="moin")
    assert found.expected.startswith("arguments for old_code:Greeter(greeting: ")
    assert "'greting'" in found.found
    assert "'resource'" in fault("twisted.web.server:Site").found


@pytest.mark.parametrize("name", ["greeters", "repeater"])
def test_arguments_for_what_is_not_called_are_a_fault(name: str) -> None:
    found = fault(f"old_code:{name}", greeting="moin")
    assert (found.expected, found.found) == (
        f"no arguments, as old_code:{name} is not called",
        "greeting",
    )


@pytest.mark.parametrize(
    ("factory", "stream", "refused"),
    [
        ("twisted.protocols.wire:Echo", True, False),
        ("twisted.protocols.wire:Echo", False, True),
        ("twisted.web.server:Site", False, True),
        ("twisted.internet.protocol:DatagramProtocol", True, True),
        ("twisted.internet.protocol:DatagramProtocol", False, False),
    ],
)
def test_a_class_that_cannot_serve_is_refused_before_it_is_called(
    factory: str, stream: bool, refused: bool
) -> None:
    arguments = {"resource": None} if factory.endswith("Site") else {}
    reason = Factory(factory=factory, arguments=arguments).refuses("default", stream=stream)
    assert (reason is not None) == refused
    assert reason is None or "cannot serve" in reason
