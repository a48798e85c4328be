"""Loading: from the text of a file to values."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from sockd.config import (
    Config,
    Document,
    KeyPath,
    Limits,
    Listener,
    Rate,
    Source,
    Span,
    Text,
    load,
    load_document,
)
from sockd.config.network_sets import NONE, Networks
from sockd.endpoint import InetEndpoint, UnixEndpoint
from sockd.errors import ConfigError, Fault

Load = Callable[[str], Config]
Faulty = Callable[[str], tuple[Fault, ...]]


def test_an_empty_file_is_all_defaults(config: Load, tmp_path: Path) -> None:
    empty = config("")
    assert (empty.daemon.workers, empty.daemon.drain_timeout) == (0, 30)
    assert empty.daemon.state_dir == tmp_path / "state"
    assert (empty.log.format, empty.log.level, empty.log.file) == ("auto", "info", None)
    assert empty.limits == Limits()
    assert empty.services == {}


def test_values_have_the_types_that_the_daemon_works_with(config: Load) -> None:
    limits = config(
        """
        [limits]
        idle_timeout = "1m30s"
        close_timeout = "250ms"
        max_unread_output = "64KiB"
        reply_floor = 512
        max_per_source = 20
        connection_rate = "60/m"
        bytes_per_second = "1MiB"
        penalty = "1m"
        over_limit_banner = "café"
        """
    ).limits
    assert (limits.idle_timeout, limits.close_timeout) == (90, 0.25)
    assert (limits.max_unread_output, limits.reply_floor) == (65536, 512)
    assert (limits.max_per_source, limits.connection_rate) == (20, Rate(60, 60))
    assert (limits.bytes_per_second, limits.penalty) == (2**20, 60)
    assert limits.over_limit_banner == "café"


OFF = [
    "max_per_source",
    "connection_rate",
    "connection_rate_per_source",
    "datagram_rate",
    "datagram_rate_per_source",
    "handshake_rate",
    "bytes_per_second",
    "penalty",
    "first_message_timeout",
    "lifetime",
]


@pytest.mark.parametrize("key", ["idle_timeout", *OFF])
def test_off_means_never(config: Load, key: str) -> None:
    assert getattr(config(f'[limits]\n{key} = "off"').limits, key) is None


def test_limits_that_would_hinder_a_service_are_off(config: Load) -> None:
    limits = config("").limits
    assert [getattr(limits, key) for key in OFF] == [None] * len(OFF)
    assert (limits.allow, limits.deny, limits.over_limit) == (NONE, NONE, "refuse")


def test_the_watchdog_can_be_off(config: Load) -> None:
    assert config("").daemon.watchdog == 0.25
    assert config('daemon.watchdog = "off"').daemon.watchdog is None


def test_a_number_may_come_from_elsewhere(config: Load) -> None:
    assert config('[limits]\nmax_per_source = "${COUNT}"').limits.max_per_source == 12


def test_a_service_has_its_plugin_its_ports_and_its_options(config: Load) -> None:
    service = config(
        """
        [service.talk]
        plugin = "chat"
        listen = [
          "tcp:7020",
          { endpoint = "tcp:6667:backlog=5", protocol = "irc", socket = { no_delay = false } },
        ]
        options = { history = 5, words = ["a", "b"], rooms = [{ title = "x" }] }
        """
    ).services["talk"]
    first, second = service.listen
    assert (service.name, service.plugin) == ("talk", "chat")
    assert (first.endpoint, first.protocol, first.backlog) == (InetEndpoint("tcp", 7020), None, None)
    assert (second.protocol, second.backlog, second.socket.no_delay) == ("irc", 5, False)
    assert service.options.model_dump(include={"history", "words"}) == {"history": 5, "words": ("a", "b")}


def test_the_backlog_may_stand_in_the_table(config: Load) -> None:
    text = '[service.e]\nplugin = "echo"\nlisten = [{ endpoint = "unix:a", socket = { backlog = 7 } }]'
    assert config(text).services["e"].listen[0].backlog == 7


def test_limits_that_a_service_does_not_give_are_the_common_ones(config: Load) -> None:
    services = config(
        """
        [service.a]
        plugin = "echo"
        listen = ["tcp:1"]
        limits = { idle_timeout = "off", max_connections = 10_000, deny = [] }
        [limits]
        max_connections = 5
        idle_timeout = "1s"
        close_timeout = "2s"
        deny = ["::1"]
        [service.b]
        plugin = "echo"
        listen = ["tcp:2"]
        """
    ).services
    a, b = services["a"].limits, services["b"].limits
    assert (a.max_connections, a.idle_timeout, a.close_timeout) == (10_000, None, 2)
    assert (b.max_connections, b.idle_timeout, b.close_timeout) == (5, 1, 2)
    assert (a.deny, b.deny) == (NONE, Networks.of([ip_network("::1")]))


def test_services_keep_the_order_of_the_file(config: Load) -> None:
    names = ["z", "a", "m"]
    text = "".join(f'[service.{n}]\nplugin = "echo"\nlisten = ["unix:{n}"]\n' for n in names)
    assert list(config(text).services) == names


def test_relative_paths_count_from_the_folder_of_the_file(
    config: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        daemon = { state_dir = "s" }
        log = { file = "l" }
        service.e = { plugin = "echo", listen = ["unix:run/e:mode=666"] }
    """
    loaded = config(text)
    assert (loaded.daemon.state_dir, loaded.log.file) == (tmp_path / "s", tmp_path / "l")
    assert loaded.services["e"].listen[0].endpoint == UnixEndpoint("unix", tmp_path / "run/e", 0o666)
    monkeypatch.chdir(tmp_path)
    assert load(Path("sockd.toml")).daemon == loaded.daemon


def test_a_valid_configuration_cannot_be_changed(config: Load) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        config("").limits.max_connections = 1
    with pytest.raises(AttributeError):
        config("").limits = Limits()  # type: ignore[misc]


def test_code_gives_values_as_they_are() -> None:
    assert Limits(idle_timeout=5.0) == Limits.model_validate({"idle_timeout": "5s"})
    assert Listener(endpoint=InetEndpoint("tcp", 0)) == Listener.model_validate("tcp:0")


def test_two_readings_of_the_same_text_are_equal(config: Load) -> None:
    text = '[service.e]\nplugin = "chat"\nlisten = ["tcp:1"]\n[service.e.options]\nhistory = 3'
    assert config(text) == config(text)
    assert config(text) != config(text.replace("3", "4"))


def test_without_plugins_options_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "sockd.toml"
    path.write_text(
        '[service.e]\nplugin = "any"\nlisten = ["tcp:1"]\n[service.e.options]\na = 1\nb = { c = "x" }'
    )
    assert load(path).services["e"].options.model_dump() == {"a": 1, "b": {"c": "x"}}


def test_a_byte_order_mark_and_carriage_returns_do_not_matter(config: Load, faults: Faulty) -> None:
    assert config('\ufeff[limits]\r\nidle_timeout = "1s"\r\n').limits.idle_timeout == 1
    [fault] = faults('\ufeff[limits]\r\n\r\nidle_timeout = "1x"\r\n')
    assert (fault.line, fault.column, fault.source) == (3, 17, 'idle_timeout = "1x"')


@pytest.mark.parametrize(
    ("content", "message", "place"),
    [
        (b"[limits]\nx = \n", "expected a value after", (2, 5)),
        (b"[limits]\n# \xc3\xa9 \xff\n", "expected UTF-8, found the byte 0xff", (2, 5)),
        (b"\xef\xbb\xbf[limits]\r\n#\xff\n", "expected UTF-8, found the byte 0xff", (2, 2)),
        (b"x = " + b"[" * 1000, "not TOML: ", (0, 0)),
        (b"x = " + b"9" * 5000, "not TOML: ", (0, 0)),
        (
            b"x = " + b"[" * 50 + b"]" * 50,
            "expected at most 32 levels of tables and arrays, found more",
            (1, 37),
        ),
        (b"x = 0x" + b"f" * 5000, "x: expected a number of at most 64 bits, found more", (1, 5)),
    ],
)
def test_a_text_that_is_no_toml_is_one_fault(
    tmp_path: Path, content: bytes, message: str, place: tuple[int, int]
) -> None:
    path = tmp_path / "sockd.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    fault = next(fault for fault in caught.value.faults if "unknown key" not in fault.message)
    assert fault.message.startswith(message)
    assert (fault.line, fault.column) == place


@pytest.mark.parametrize("text", ["", "# nothing\n", "[daemon]\ninclude = ['*.conf']\n", "[service]\n"])
def test_nothing_is_served_where_there_is_no_service(tmp_path: Path, text: str) -> None:
    (tmp_path / "sockd.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        Source(tmp_path / "sockd.toml", None).load()
    [fault] = caught.value.faults
    assert "expected a service, found none" in fault.message


def test_a_file_whose_services_are_all_turned_off_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text('[service.e]\nplugin = "echo"\nenabled = false\nlisten = "tcp:7"\n')
    with pytest.raises(ConfigError) as caught:
        Source(tmp_path / "sockd.toml", None).load()
    [fault] = caught.value.faults
    assert fault.message == "expected a service that is served, found only such with enabled = false"


@pytest.mark.parametrize("one", ['"tcp:7"', '{ endpoint = "tcp:7" }'])
def test_a_single_port_needs_no_array(config: Load, one: str) -> None:
    [listener] = config(f'[service.e]\nplugin = "echo"\nlisten = {one}').services["e"].listen
    assert listener.endpoint == InetEndpoint("tcp", 7)


def test_a_daemon_takes_no_configuration_that_can_be_read_only_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "pipe", "expected a regular file, found a pipe"),
        (Path("/dev/stdin"), "expected a file, which a reload can read again"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path)
        [fault] = caught.value.faults
        assert reason in fault.message


@pytest.mark.parametrize(("name", "reason"), [("missing.toml", "no such file"), (".", "found a folder")])
def test_a_file_that_cannot_be_read_is_a_fault(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / name)
    [fault] = caught.value.faults
    assert fault.file == str(tmp_path / name)
    assert reason in fault.message


def document(words: dict[str, str]) -> Document:
    """A command line as the configuration of one service."""
    text = " ".join(f"--{key} {value}" for key, value in words.items())
    spans: dict[KeyPath, Span] = {}
    for key, value in words.items():
        start = text.index(f"--{key} ")
        begin = start + len(key) + 3
        spans["service", "serve", "options", key] = Span(
            start, start + len(key) + 2, begin, begin + len(value)
        )
    options = {key: Text(value) for key, value in words.items()}
    data = {"service": {"serve": {"plugin": "chat", "listen": ["tcp:0"], "options": options}}}
    return Document("command line", text, data, spans, Path("/srv"))


def chat(name: str) -> type[BaseModel]:
    class Chat(BaseModel, extra="forbid"):
        history: int = 0
        ratio: float = 0
        verbose: bool = False
        greeting: str = ""

    return Chat


def test_text_of_a_command_line_is_taken_as_the_type_that_the_option_has() -> None:
    words = {"history": "5", "ratio": "0.5", "verbose": "yes", "greeting": "5"}
    options = load_document(document(words), chat).services["serve"].options
    assert options.model_dump() == {"history": 5, "ratio": 0.5, "verbose": True, "greeting": "5"}


def test_faults_point_into_the_command_line() -> None:
    with pytest.raises(ConfigError) as caught:
        load_document(document({"greeting": "hi", "history": "many", "histroy": "5"}), chat)
    unknown, wrong = sorted(caught.value.faults, key=lambda fault: fault.message, reverse=True)
    assert (unknown.file, unknown.line, unknown.column, unknown.length) == ("command line", 1, 30, 9)
    assert unknown.nearest == "history"
    assert (wrong.column, wrong.length, wrong.found) == (25, 4, 'a string "many"')


def test_reading_a_configuration_does_not_import_twisted() -> None:
    code = "import sys, sockd.config, sockd.config.schema; print('twisted' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
