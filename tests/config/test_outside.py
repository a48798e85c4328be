"""Values from the environment and from files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from sockd.config import Config, report
from sockd.endpoint import InetEndpoint
from sockd.errors import Fault

Load = Callable[[str], Config]
Faulty = Callable[[str], tuple[Fault, ...]]
Messages = Callable[[str], list[str]]
Options = Callable[[str], BaseModel]

CHAT = '[service.c]\nplugin = "chat"\nlisten = ["tcp:2"]\n[service.c.options]\n'


@pytest.fixture
def secret(tmp_path: Path) -> Callable[[str | bytes], Path]:
    """Writes the file `secret`, which a configuration can name."""

    def written(content: str | bytes) -> Path:
        path = tmp_path / "secret"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("${ROOM}", "lobby"),
        ("the ${ROOM} at ${PORT}!", "the lobby at 7007!"),
        ("$${ROOM}", "${ROOM}"),
        ("$$${ROOM}", "$${ROOM}"),
        ("$ROOM costs $5", "$ROOM costs $5"),
        ("${ROOM}$${ROOM}", "lobby${ROOM}"),
    ],
)
def test_a_variable_stands_for_its_text(options: Options, written: str, text: str) -> None:
    assert options(f'greeting = "{written}"').model_dump()["greeting"] == text


def test_a_variable_may_stand_in_any_string(config: Load) -> None:
    loaded = config(
        """
        log.level = "${LEVEL}"
        daemon.drain_timeout = "${COUNT}s"
        service.e = { plugin = "${PLUGIN}", listen = ["tcp:${PORT}"] }
        """
    )
    assert loaded.log.level == "warn"
    assert loaded.daemon.drain_timeout == 12
    assert loaded.services["e"].listen[0].endpoint == InetEndpoint("tcp", 7007)


def test_the_text_of_a_variable_has_no_type(options: Options) -> None:
    values = options(
        'history = "${COUNT}"\nratio = "${COUNT}"\nverbose = "${YES}"\ngreeting = "${COUNT}"'
    ).model_dump()
    assert [values[key] for key in ("history", "ratio", "verbose", "greeting")] == [12, 12.0, True, "12"]


@pytest.mark.parametrize(
    ("written", "message", "marked"),
    [
        ("x ${NONE}", "the environment variable NONE is not set", "${NONE}"),
        (
            "${NONE} ${NOR}",
            "the environment variable NONE is not set; the environment variable NOR is not set",
            "${NONE}",
        ),
        ("\\u0041${NONE}", "the environment variable NONE is not set", "${NONE}"),
        ("${BYTES}", "the environment variable BYTES is not UTF-8", "${BYTES}"),
        ("a ${not a name}", "expected ${NAME}, or $${ for a plain ${", "${"),
        ("${", "expected ${NAME}, or $${ for a plain ${", "${"),
    ],
)
def test_a_variable_that_has_no_text_is_a_fault_at_its_place(
    faults: Faulty, written: str, message: str, marked: str
) -> None:
    [fault] = faults(f'{CHAT}greeting = "{written}"')
    assert fault.message == f"service 'c': options.greeting: {message}"
    assert fault.source[fault.column - 1 :][: fault.length] == marked


def test_an_unset_variable_is_the_only_fault_of_its_value(faults: Faulty) -> None:
    [fault] = faults('[service.e]\nplugin = "echo"\nlisten = ["tcp:${NONE}"]')
    assert fault.message == "service 'e': listen[0]: the environment variable NONE is not set"


@pytest.mark.parametrize("newline", ["", "\n", "\r\n"])
def test_a_file_stands_for_its_text_without_the_last_newline(
    options: Options, secret: Callable[[str], Path], newline: str
) -> None:
    secret(f"sesame\n{newline}")
    text = "sesame\n" if newline else "sesame"
    assert options('greeting = { file = "secret" }').model_dump()["greeting"] == text


def test_a_file_may_stand_for_any_value_that_is_no_table(
    config: Load, options: Options, secret: Callable[[str], Path]
) -> None:
    secret("7")
    values = options(
        'history = { file = "secret" }\ntag = { file = "secret" }\nwords = ["a", { file = "secret" }]'
    )
    assert values.model_dump(include={"history", "tag", "words"}) == {
        "history": 7,
        "tag": "7",
        "words": ("a", "7"),
    }
    secret("echo")
    assert (
        config('service.e = { plugin = { file = "secret" }, listen = ["tcp:1"] }').services["e"].plugin
        == "echo"
    )


def test_a_file_may_stand_for_a_value_of_several_types(
    options: Options, secret: Callable[[str], Path]
) -> None:
    secret("seven")
    assert options('either = { file = "secret" }').model_dump()["either"] == "seven"


def test_a_table_stays_a_table_where_one_is_taken(options: Options, secret: Callable[[str], Path]) -> None:
    secret("sesame")
    assert options('names = { file = "secret" }').model_dump()["names"] == {"file": "secret"}


def test_an_option_may_be_called_file(config: Load, secret: Callable[[str], Path]) -> None:
    secret("sesame")
    options = (
        config(
            """
        [service.k]
        plugin = "key"
        listen = ["tcp:1"]
        options = { file = "key.pem", secret.file = "secret" }
        """
        )
        .services["k"]
        .options
    )
    assert options.model_dump() == {"file": "key.pem", "secret": "sesame"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such file or directory"),
        (b"\n\xff", "it is not UTF-8 in line 2"),
        (b"\xff\xfea\0", "it is not UTF-8 in line 1"),
        (b"x" * 65537, "expected at most 65536 bytes, found more"),
    ],
)
def test_a_file_that_cannot_be_read_is_the_only_fault_of_its_value(
    faults: Faulty, secret: Callable[[bytes], Path], tmp_path: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        secret(content)
    [fault] = faults(f'{CHAT}mode = {{ file = "secret" }}')
    assert fault.message == f"service 'c': options.mode: cannot read {tmp_path / 'secret'}: {reason}"
    assert fault.source[fault.column - 1 :][: fault.length] == '{ file = "secret" }'


@pytest.mark.parametrize("option", ["mode", "history", "words", "even", "tag", "rooms"])
@pytest.mark.parametrize("outside", ['"${SLY}"', '{ file = "secret" }'])
def test_text_from_outside_is_never_shown(
    faults: Faulty, secret: Callable[[str], Path], option: str, outside: str
) -> None:
    secret("hunter2 x")
    [fault] = faults(f"{CHAT}{option} = {outside}")
    assert f"found something else in {outside}" in fault.message
    assert "hunter2" not in report([fault]) + repr(fault)


def test_text_from_outside_is_not_shown_by_a_message_of_the_plugin(
    faults: Faulty, secret: Callable[[str], Path]
) -> None:
    secret("31337")
    [fault] = faults(f'{CHAT}even = {{ file = "secret" }}')
    assert fault.message == "service 'c': options.even: odd numbers such as … are not allowed"


@pytest.mark.parametrize(
    "text",
    [
        '[service.c]\nplugin = "${SLY}"\nlisten = ["tcp:2"]',
        '[service.c]\nplugin = "x${SLY}"\nlisten = ["tcp:2"]',
        '[service.c]\nplugin = { file = "secret" }\nlisten = ["tcp:2"]',
        '[service.c]\nplugin = "chat"\nlisten = ["unix:/a/${SLY}", "unix:/a/${SLY}"]',
        '[service.c]\nplugin = "chat"\nlisten = [{ endpoint = "tcp:2", protocol = "${SLY}" }]',
        f'{CHAT}crash = "1"\nfolder = {{ file = "/nowhere/${{SLY}}" }}\n',
        '[daemon]\ninclude = ["${SLY}.toml"]',
        '[log]\nlevel = "${SLY}"',
        f'[limits]\nallow = ["${{SLY}}"]\n{CHAT}',
    ],
)
def test_text_from_outside_is_in_no_part_of_a_fault(
    faults: Faulty, secret: Callable[[str], Path], text: str
) -> None:
    secret("hunter2 x\n")
    found = faults(text)
    assert found
    assert "hunter2" not in report(found) + repr(found)


def test_a_fault_shows_the_text_of_the_file_in_place_of_its_value(messages: Messages) -> None:
    text = '[service.c]\nplugin = "chat"\nlisten = ["unix:/a/${SLY}", "unix:/a/${SLY}"]'
    [message] = messages(text)
    assert message.startswith("service 'c': listen[1]: unix:/a/${SLY} is taken by service 'c' listen[0] (")
