"""The JSON Schema for editors, asked by a checker of the few words of JSON Schema that it uses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomli
from pydantic import BaseModel, ConfigDict, Field

from sockd.config.schema import schema

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
ABOUT = {"$schema", "$defs", "title", "description", "default", "examples", "then"}


class Chat(BaseModel):
    """A room."""

    model_config = ConfigDict(extra="forbid")
    title: str = Field(description="Its name.")
    history: int = Field(default=200, ge=0)
    mode: str | int | None = None


class Odd(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    what: re.RegexFlag | memoryview | None = None


SCHEMA = schema({"chat": Chat, "odd": Odd})


def fits(node: dict[str, Any], value: Any) -> bool:
    return all(check(word, node[word], value, node) for word in node if word not in ABOUT)


def check(word: str, says: Any, value: Any, node: dict[str, Any]) -> bool:
    match word:
        case "$ref":
            return fits(SCHEMA["$defs"][says.removeprefix("#/$defs/")], value)
        case "type":
            names = [says] if isinstance(says, str) else says
            return any(
                isinstance(value, TYPES[name]) and (value is not True or name == "boolean") for name in names
            )
        case "anyOf":
            return any(fits(choice, value) for choice in says)
        case "allOf":
            return all(fits(part, value) for part in says)
        case "if":
            return fits(node["then"], value) if fits(says, value) else True
        case "const":
            return bool(value == says)
        case "enum":
            return value in says
        case "pattern":
            return not isinstance(value, str) or re.search(says, value) is not None
        case "minLength":
            return not isinstance(value, str) or len(value) >= says
        case "maxLength":
            return not isinstance(value, str) or len(value) <= says
        case "minItems":
            return not isinstance(value, list) or len(value) >= says
        case "minimum":
            return not isinstance(value, int) or value >= says
        case "maximum":
            return not isinstance(value, int) or value <= says
        case "exclusiveMinimum":
            return not isinstance(value, int | float) or value > says
        case "items":
            return not isinstance(value, list) or all(fits(says, item) for item in value)
        case "required":
            return not isinstance(value, dict) or set(says) <= set(value)
        case "properties":
            return not isinstance(value, dict) or all(
                fits(says[key], value[key]) for key in says if key in value
            )
        case "additionalProperties":
            known, items = node.get("properties", {}), value.items() if isinstance(value, dict) else ()
            others = [item for key, item in items if key not in known]
            return not others if says is False else says is True or all(fits(says, item) for item in others)
    raise AssertionError(f"the checker does not know {word}")


CHAT = 'service.c = { plugin = "chat", listen = ["tcp:1"], options = { title = "x" '


@pytest.mark.parametrize(
    "text",
    [
        "",
        (Path(__file__).parents[2] / "config" / "reference.toml").read_text(),
        '[limits]\nidle_timeout = "off"\nclose_timeout = "1m30s"',
        '[limits]\nmax_unread_output = 5\nreply_floor = "2KiB"',
        '[limits]\nmax_connections = "${MAX}"\nidle_timeout = "${IDLE}s"',
        '[limits]\nmax_per_source = "off"\nconnection_rate = "off"\nbytes_per_second = "off"',
        '[limits]\nmax_per_source = 5\nconnection_rate = "60/m"\nbytes_per_second = "1MiB"',
        '[limits]\nallow = ["10.0.0.0/8", { file = "n" }]\ndeny = { file = "n" }',
        '[service.x]\nplugin = "x"\n[[service.x.listen]]\nendpoint = "tcp:1"\ntls.certificate = "c"\n'
        'proxy_protocol.trust = ["::1"]',
        CHAT + "} }",
        CHAT + ', history = { file = "h" } } }',
        'service.x = { plugin = "another", listen = [{ endpoint = "udp:1" }], options.a = 1 }',
        'daemon.include = "d/*.toml"',
        'daemon.include = ["d/*.toml"]',
    ],
)
def test_a_valid_configuration_fits(text: str) -> None:
    assert fits(SCHEMA, tomli.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "daemon.include = 5",
        "[sevice]",
        "[limits]\nmax_conections = 5",
        "[limits]\nmax_connections = 0",
        "[limits]\nmax_connections = true",
        "[limits]\nidle_timeout = 30",
        '[limits]\nidle_timeout = "30"',
        '[limits]\nclose_timeout = "off"',
        '[limits]\nmax_unread_output = "64kib"',
        "[limits]\nmax_per_source = 0",
        '[limits]\nmax_per_source = "5"',
        '[limits]\nconnection_rate = "60"',
        "[limits]\nbytes_per_second = 0",
        "[limits]\ndeny = 5",
        '[limits]\nover_limit = "ban"',
        '[service.x]\nplugin = "x"\nlisten = [{ endpoint = "tcp:1", tls = {} }]',
        '[service.x]\nplugin = "x"\nlisten = [{ endpoint = "tcp:1", proxy_protocol = true }]',
        '[log]\nlevel = "warning"',
        '[control]\nlisten = "tcp:7"',
        '[metrics]\nlisten = "udp:7"',
        '[service.x]\nplugin = "x"',
        '[service.x]\nlisten = ["tcp:1"]',
        '[service.x]\nplugin = "x"\nlisten = []',
        '[service.x]\nplugin = "x"\nlisten = ["tpc:1"]',
        '[service.x]\nplugin = "x"\nlisten = [{ endpoint = "tcp:1", socket = { backlog = 70000 } }]',
        'service.c = { plugin = "chat", listen = ["tcp:1"] }',
        CHAT + ", history = -1 } }",
        CHAT + ", histroy = 1 } }",
        CHAT + ", mode = true } }",
    ],
)
def test_a_faulty_configuration_does_not(text: str) -> None:
    assert not fits(SCHEMA, tomli.loads(text))


def test_every_key_is_described() -> None:
    tables = ("Daemon", "Log", "Control", "Metrics", "Limits", "ServiceTable", "Listener", "SocketOptions")
    for name in (*tables, "Tls", "CertificateFiles", "ProxyProtocol"):
        definition = SCHEMA["$defs"][name]
        assert definition["description"]
        assert all(key["description"] for key in definition["properties"].values())
    assert SCHEMA["$defs"]["Chat"]["properties"]["title"]["description"] == "Its name."


def test_defaults_are_told_as_they_are_written() -> None:
    limits = SCHEMA["$defs"]["Limits"]["properties"]
    assert (limits["idle_timeout"]["default"], limits["max_unread_output"]["default"]) == ("10m", "1MiB")
    assert (limits["penalty"]["default"], limits["deny"]["default"]) == ("off", [])
    assert "default" not in limits["reply_floor"]


def test_the_schema_is_json_of_the_draft_that_it_names() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
