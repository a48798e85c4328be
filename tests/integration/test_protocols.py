"""Protocols of the shipped plugins over each kind of endpoint: accepted and started, or refused."""

from __future__ import annotations

import signal
import subprocess
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from running import BIN, PATIENCE, Start
from sockd import discovery
from sockd.config import load
from sockd.errors import ConfigError

OPTIONS = {
    "banner": ['text = "hello"'],
    "files": ['directory = "received"'],
    "factory": [
        'factory = "twisted.protocols.wire:Echo"',
        'factory = "twisted.internet.protocol:DatagramProtocol"',
    ],
}
"""Options of plugins that need some, one set after the other."""

KINDS = ("tcp", "tcp6", "udp", "udp6", "unix", "unixgram")


def services() -> dict[str, str]:
    """Return a service for each shipped plugin, its options, its protocols and each kind of endpoint."""
    found: dict[str, str] = {}
    for entry in entry_points(group="sockd.plugins"):
        if not entry.value.startswith("sockd_plugins"):
            continue
        for number, options in enumerate(OPTIONS.get(entry.name, [""])):
            for protocol in discovery.find(entry.name).protocols:
                for kind in KINDS:
                    name = f"{entry.name}{number}-{protocol}-{kind}"
                    endpoint = f"{kind}:run/{name}" if kind.startswith("unix") else f"{kind}:0"
                    found[name] = (
                        f'[service."{name}"]\nplugin = "{entry.name}"\n'
                        f'listen = [{{ endpoint = "{endpoint}", protocol = "{protocol}" }}]\n'
                        f"options = {{ {options} }}\n"
                    )
    return found


def is_accepted(folder: Path, text: str) -> bool:
    """Return whether a configuration has no faults; one with some must have one, in one line."""
    path = folder / "one.toml"
    path.write_text(text)
    try:
        load(path, discovery.find)
    except ConfigError as error:
        [fault] = error.faults
        assert (fault.line, "\n" in fault.message) == (3, False)
        return False
    return True


def test_each_protocol_that_is_accepted_over_an_endpoint_starts_there(start: Start, tmp_path: Path) -> None:
    accepted = {name: text for name, text in services().items() if is_accepted(tmp_path, text)}
    assert len(accepted) < len(services())
    daemon = start('[daemon]\ndrain_timeout = "0s"\n' + "".join(accepted.values())).ready()
    listening = {event["service"] for event in daemon.events if event.get("event") == "listening"}
    assert listening == set(accepted)
    assert not daemon.has_told("plugin fault")


FORGEABLE = '[service.desk]\nplugin = "desk"\nlisten = [{ endpoint = "udp:0", protocol = "operator" }]\n'

WHY = (
    "sockd.toml:3:44: service 'desk': listen[0].protocol: 'operator' goes only over connections,"
    " but udp:0 takes datagrams; over these go: clients\n"
)


@pytest.mark.parametrize("words", ["check", "check --bind", "run"])
def test_an_operator_over_datagrams_is_refused_at_its_place(tmp_path: Path, words: str) -> None:
    (tmp_path / "sockd.toml").write_text(FORGEABLE)
    done = subprocess.run(
        [BIN / "sockd", *words.split(), "-c", "sockd.toml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    line, source, caret = done.stderr.splitlines()
    assert (done.returncode, f"{line}\n") == (1, WHY)
    assert source[caret.index("^") : caret.rindex("^") + 1] == '"operator"'


@pytest.mark.parametrize("workers", [0, 1])
def test_a_reload_refuses_an_operator_over_datagrams(start: Start, tmp_path: Path, workers: int) -> None:
    head = f"[daemon]\nworkers = {workers}\n"
    daemon = start(f'{head}[service.echo]\nplugin = "echo"\nlisten = ["tcp:0"]\n').ready()
    (tmp_path / "sockd.toml").write_text(FORGEABLE + head)
    daemon.signal(signal.SIGHUP)
    told = daemon.wait_for("not reloaded")
    assert any(WHY.strip() in str(value) for value in told.values()), told
