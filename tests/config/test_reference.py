"""config/reference.toml tells of every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tomli
from pydantic import BaseModel

from sockd.config import (
    Broker,
    Config,
    Control,
    Daemon,
    Limits,
    Listener,
    Log,
    Metrics,
    ProxyProtocol,
    SocketOptions,
    Tls,
    load,
)
from sockd.config.listen import CertificateFiles
from sockd.config.model import ServiceTable
from tests.tls.authority import issue

REFERENCE = Path(__file__).parents[2] / "config" / "reference.toml"

_COMMENTED = re.compile(r"^# (?=[a-z_]+ = |\[)", re.MULTILINE)
"""A key or table that has no default, with an example."""


def everything(tmp_path: Path) -> Path:
    """The reference with every key in force, and the files that it names for values."""
    authority = issue("authority", authority=True)
    own = issue("sockd", issuer=authority)
    (tmp_path / "password").write_text("hunter2\n")
    (tmp_path / "sockd.creds").write_text("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "client.pem").write_bytes(own.pem + own.key_pem())
    path = tmp_path / "sockd.toml"
    path.write_text(_COMMENTED.sub("", REFERENCE.read_text()))
    return path


def table(data: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    service = data["service"]["example"]
    listener = service["listen"][0]
    tables: dict[type[BaseModel], Any] = {
        Daemon: data["daemon"],
        Log: data["log"],
        Control: data["control"],
        Metrics: data["metrics"],
        Broker: data["broker"],
        Limits: data["limits"],
        ServiceTable: service,
        Listener: listener,
        Tls: listener.get("tls", {}),
        CertificateFiles: listener.get("tls", {}).get("more", [{}])[0],
        ProxyProtocol: listener.get("proxy_protocol", {}),
        SocketOptions: listener["socket"],
    }
    found: dict[str, Any] = tables[model]
    return found


GIVEN: list[type[BaseModel]] = [
    Daemon,
    Log,
    Control,
    Metrics,
    Broker,
    Limits,
    ServiceTable,
    Listener,
    SocketOptions,
]
COMMENTED: list[type[BaseModel]] = [Tls, CertificateFiles, ProxyProtocol]


@pytest.mark.parametrize("model", [*GIVEN, *COMMENTED])
def test_every_key_is_there_in_the_order_of_the_model(tmp_path: Path, model: type[BaseModel]) -> None:
    data = tomli.loads(everything(tmp_path).read_text())
    assert list(table(data, model)) == list(model.model_fields)


def test_the_values_given_are_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "sockd.toml").write_text("")
    reference, empty = load(REFERENCE), load(tmp_path / "sockd.toml")
    assert reference.daemon.state_dir == REFERENCE.parent / empty.daemon.state_dir.relative_to(tmp_path)
    assert reference.daemon.model_copy(update={"state_dir": empty.daemon.state_dir}) == empty.daemon
    assert (reference.log, reference.limits) == (empty.log, empty.limits)
    assert (reference.control, reference.metrics) == (empty.control, empty.metrics)
    assert reference.broker == empty.broker
    service = reference.services["example"]
    assert (service.limits, service.listen[0].socket) == (empty.limits, SocketOptions())


def test_a_default_is_not_commented_out(tmp_path: Path) -> None:
    given, all_keys = tomli.loads(REFERENCE.read_text()), tomli.loads(everything(tmp_path).read_text())
    for model in GIVEN:
        without = set(table(all_keys, model)) - set(table(given, model))
        assert {key for key, field in model.model_fields.items() if field.default is None} == without


def test_a_table_that_is_off_by_default_is_commented_out_as_a_whole() -> None:
    given = tomli.loads(REFERENCE.read_text())
    assert [table(given, model) for model in COMMENTED] == [{}, {}, {}]


def test_the_examples_are_valid(tmp_path: Path) -> None:
    assert isinstance(load(everything(tmp_path)), Config)


def test_every_key_has_a_comment_above_it() -> None:
    paragraphs = [part.splitlines() for part in REFERENCE.read_text().strip().split("\n\n")]
    ends = [lines[-1] for lines in paragraphs]
    assert sum(not line.startswith("# ") or " = " in line for line in ends) >= len(GIVEN)
    assert [lines for lines in paragraphs if not re.match("\n?# (?![a-z_]+ = |\\[)", "\n".join(lines))] == []


def comments() -> dict[tuple[type[BaseModel], str], str]:
    """Return the comment above each key that stands in a table of a model."""
    found: dict[tuple[type[BaseModel], str], str] = {}
    model: type[BaseModel] | None = None
    for paragraph in REFERENCE.read_text().split("\n\n"):
        *above, last = paragraph.strip().splitlines()
        bare = last.removeprefix("# ")
        model = TABLES.get(bare, model)
        if model is not None and (key := re.match("([a-z_0-9]+) = ", bare)):
            found[model, key[1]] = " ".join(line.removeprefix("# ") for line in above)
    return found


TABLES: dict[str, type[BaseModel]] = {
    "[daemon]": Daemon,
    "[log]": Log,
    "[control]": Control,
    "[metrics]": Metrics,
    "[broker]": Broker,
    "[limits]": Limits,
    "[service.example]": ServiceTable,
    "[service.example.listen.tls]": Tls,
    "[service.example.listen.proxy_protocol]": ProxyProtocol,
    "[service.example.listen.socket]": SocketOptions,
}


@pytest.mark.parametrize("model", TABLES.values())
def test_the_comment_of_a_key_begins_with_its_description(model: type[BaseModel]) -> None:
    others = [
        f"{key}: {field.description}"
        for key, field in model.model_fields.items()
        if (model, key) in comments() and not comments()[model, key].startswith(field.description or "?")
    ]
    assert not others, "\n".join(["config/reference.toml lacks", *others])
    assert {key for owner, key in comments() if owner is model} >= model.model_fields.keys() - {
        "listen",
        "limits",
        "options",
    }
