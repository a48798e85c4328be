"""A configuration in a folder of its own, and plugins for its services."""

from __future__ import annotations

import datetime
import enum
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from sockd.config import Config, load
from sockd.errors import ConfigError, Fault, PluginError, ValueFault

OPTIONS = ConfigDict(frozen=True, extra="forbid")


class Echo(BaseModel):
    model_config = OPTIONS


def _no_blank(text: str) -> str:
    if " " in text:
        raise ValueFault("a word", repr(text), offset=text.index(" "), length=1, nearest="word")
    return text


def _even(number: int) -> int:
    if number % 2:
        raise ValueError(f"odd numbers\nsuch as {number} are not allowed")
    return number


def _short(text: str) -> str:
    if len(text) > 3:
        raise PydanticCustomError("long", "three characters are enough")
    return text


def _silent(number: int) -> int:
    if number == 13:
        raise ValueError
    return number


def _date(value: datetime.date) -> str:
    return value.isoformat()  # no method of a string


def _crash(number: int) -> int:
    return number // 0


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Room(BaseModel):
    model_config = OPTIONS

    title: str = ""
    size: int = Field(default=10, ge=1)


class Chat(BaseModel):
    """Options of every shape."""

    model_config = OPTIONS
    protocols: ClassVar[tuple[str, ...]] = ("chat", "irc")

    history: int = Field(default=200, ge=0, le=1000)
    greeting: str = Field(default="", max_length=20)
    verbose: bool = False
    ratio: float = 1.0
    mode: Literal["open", "closed"] = "open"
    words: tuple[str, ...] = ()
    folder: Path = Path()
    names: dict[str, str] = {}
    rooms: list[Room] = []
    topic: str | Room = ""
    either: int | str = 0
    tag: Annotated[str, AfterValidator(_no_blank)] = ""
    even: Annotated[int, AfterValidator(_even)] = 0
    crash: Annotated[int, AfterValidator(_crash)] | None = None
    short: Annotated[str, AfterValidator(_short)] = ""
    unlucky: Annotated[int, AfterValidator(_silent)] = 0
    since: Annotated[str, BeforeValidator(_date)] = ""
    color: Color = Color.RED
    network: ipaddress.IPv4Network | None = None
    aliased: int = Field(default=0, alias="max-rooms")

    @model_validator(mode="before")
    @classmethod
    def _any_input(cls, value: object) -> object:
        return value  # below such a validator pydantic's strict mode takes no arrays for tuples


class Key(BaseModel):
    model_config = OPTIONS

    secret: str
    file: str = ""


PLUGINS: dict[str, type[BaseModel]] = {"echo": Echo, "chat": Chat, "key": Key}


def find_plugin(name: str) -> type[BaseModel]:
    if name not in PLUGINS:
        raise PluginError(f"no plugin '{name}';\nknown are: {', '.join(PLUGINS)}")
    return PLUGINS[name]


ENVIRON = {
    "PORT": "7007",
    "ROOM": "lobby",
    "COUNT": "12",
    "YES": "yes",
    "LEVEL": "warn",
    "PLUGIN": "echo",
    "BYTES": "\udcff",
    "SLY": "hunter2 x",
    "NETWORKS": "192.0.2.0/24",
}


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Config]:
    """Loads a text from a file `sockd.toml`."""

    def configured(text: str) -> Config:
        path = tmp_path / "sockd.toml"
        path.write_text(text, newline="")
        return load(path, find_plugin, ENVIRON)

    return configured


@pytest.fixture
def faults(config: Callable[[str], Config]) -> Callable[[str], tuple[Fault, ...]]:
    """The faults of a text that must have some."""

    def faulty(text: str) -> tuple[Fault, ...]:
        with pytest.raises(ConfigError) as caught:
            config(text)
        return caught.value.faults

    return faulty


@pytest.fixture
def messages(faults: Callable[[str], tuple[Fault, ...]]) -> Callable[[str], list[str]]:
    """The messages of the faults of a text."""
    return lambda text: [fault.message for fault in faults(text)]


@pytest.fixture
def options(config: Callable[[str], Config]) -> Callable[[str], BaseModel]:
    """The options of a chat service."""
    head = '[service.x]\nplugin = "chat"\nlisten = ["tcp:7"]\n[service.x.options]\n'
    return lambda text: config(head + text).services["x"].options


@pytest.fixture
def marked(faults: Callable[[str], tuple[Fault, ...]]) -> Callable[[str], list[str]]:
    """The parts of the lines that the faults of a text point at."""
    return lambda text: [
        fault.source[fault.column - 1 : fault.column - 1 + fault.length] for fault in faults(text)
    ]


@pytest.fixture(scope="module")
def attempt(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], tuple[Fault, ...]]:
    """The faults of a file of these bytes, if it has any."""
    path = tmp_path_factory.mktemp("any") / "sockd.toml"
    # Hidden, so that an include of "*" does not take it for a configuration.
    path.with_name(".networks").write_text("198.51.100.0/24 # one\n2001:db8::/32\n")

    def attempted(content: bytes) -> tuple[Fault, ...]:
        path.write_bytes(content)
        try:
            load(path, find_plugin, ENVIRON)
        except ConfigError as error:
            return error.faults
        return ()

    return attempted
