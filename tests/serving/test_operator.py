"""What the commands do to a daemon that serves: a real one, asked over its control socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from running import BIN, PATIENCE, Daemon
from sockd.control.client import Unreachable, ask
from sockd.control.words import Refused

CONFIG = """
[control]
listen = "unix:run/control.sock"
[service.echo]
plugin = "echo"
listen = ["tcp:0:interface=127.0.0.1"]
[service.upper]
plugin = "upper"
listen = ["tcp:0:interface=127.0.0.1"]
"""


class Served:
    """A daemon and its control socket."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "sockd.toml"
        self.file.write_text(CONFIG)
        self.daemon = Daemon(BIN / "sockd", "run", cwd=folder).ready()
        self.control = folder / "run" / "control.sock"

    def ask(self, command: str, **arguments: Any) -> Any:
        return ask(self.control, command, PATIENCE, **arguments)

    def services(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.ask("status")["services"]}

    def connect(self, name: str = "echo") -> socket.socket:
        """A connection that has been answered."""
        peer = socket.create_connection(self.daemon.port(name), PATIENCE)
        peer.sendall(b"x\n")
        assert peer.recv(10).lower() == b"x\n"
        return peer


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    made.daemon.stop()


def test_connections_are_counted_listed_and_kicked(served: Served) -> None:
    with served.connect() as kicked, served.connect() as other:
        assert served.services()["echo"]["connections"] == 2
        rows = {row["peer"]: row for row in served.ask("ps")}
        row = rows[f"127.0.0.1:{kicked.getsockname()[1]}"]
        assert (row["service"], row["received"], row["sent"], row["state"]) == ("echo", 2, 2, "open")
        served.ask("kick", id=row["id"])
        with pytest.raises(ConnectionResetError):
            kicked.recv(1)
        with pytest.raises(Refused, match="there is no connection 'echo:1'"):
            served.ask("kick", id="echo:1")
        other.sendall(b"y")
        assert other.recv(10) == b"y"


def test_a_paused_service_lets_new_peers_wait_until_it_is_resumed(served: Served) -> None:
    with served.connect() as before:
        served.ask("pause", service="echo")
        states = {name: each["state"] for name, each in served.services().items()}
        assert states == {"echo": "paused", "upper": "open"}
        with socket.create_connection(served.daemon.port("echo"), PATIENCE) as waiting:
            waiting.sendall(b"waited")
            before.sendall(b"y")
            assert before.recv(10) == b"y"
            assert served.services()["echo"]["connections"] == 1
            served.ask("resume")
            assert waiting.recv(10) == b"waited"


def test_a_drain_ends_when_the_last_connection_has(served: Served) -> None:
    with served.connect() as peer:
        with pytest.raises(Unreachable, match="no answer"):
            ask(served.control, "drain", 0.3, service="echo")
        peer.sendall(b"y")
        assert peer.recv(10) == b"y"
    served.ask("drain", service="echo")
    assert served.services()["echo"]["connections"] == 0


def test_a_limit_holds_at_once_and_until_the_next_reload(served: Served) -> None:
    served.ask("set", service="echo", key="max_connections", value="1")
    assert served.services()["echo"]["limits"]["max_connections"] == 1
    with served.connect(), socket.create_connection(served.daemon.port("echo"), PATIENCE) as refused:
        assert refused.recv(1) == b""
    served.ask("set", key="deny", value="127.0.0.0/8, ::1")
    with socket.create_connection(served.daemon.port("upper"), PATIENCE) as refused:
        assert refused.recv(1) == b""
    served.ask("reload")
    assert served.services()["echo"]["limits"]["max_connections"] == 10_000
    served.connect("upper").close()


def test_a_limit_that_is_none_changes_nothing(served: Served) -> None:
    before = served.services()["echo"]["limits"]
    for key, value, reason in (
        ("max_conections", "5", "unknown key 'max_conections' in limits; did you mean 'max_connections'?"),
        ("max_connections", "0", "max_connections: expected at least 1, found '0'"),
        ("idle_timeout", "5 min", "idle_timeout: expected a number with a unit .* did you mean '5m'"),
        ("deny", "10.0.0.0/8 x", r"deny\[1\]: expected a network such as"),
    ):
        with pytest.raises(Refused, match=reason):
            served.ask("set", service="echo", key=key, value=value)
        assert served.services()["echo"]["limits"] == before


def test_reload_tells_the_plan_and_then_carries_it_out(served: Served) -> None:
    served.file.write_text(CONFIG.replace("service.upper", "service.shout"))
    plan = {"keep": ["echo"], "add": ["shout"], "remove": ["upper"]}
    assert plan.items() <= served.ask("reload", dry_run=True).items()
    assert set(served.services()) == {"echo", "upper"}
    assert plan.items() <= served.ask("reload").items()
    assert {"echo", "shout"} <= set(served.services())


def test_reload_of_a_faulty_file_is_refused_with_every_fault(served: Served) -> None:
    served.file.write_text(CONFIG + "x = 1\ny = 2")
    with pytest.raises(Refused, match="nothing has changed") as refused:
        served.ask("reload")
    assert "unknown key 'x'" in refused.value.result["report"]
    assert "unknown key 'y'" in refused.value.result["report"]


def test_the_log_has_what_its_level_says_at_once(served: Served) -> None:
    served.ask("log", level="error")
    served.file.write_text(CONFIG.replace("service.upper", "service.unseen"))
    served.ask("reload")  # which also brings the level of the file back
    served.file.write_text(CONFIG.replace("service.upper", "service.seen"))
    served.ask("reload")
    served.daemon.wait_for("reloaded", add=["seen"])
    assert [event["add"] for event in served.daemon.events if event["event"] == "reloaded"] == [["seen"]]


def test_a_single_process_cannot_be_upgraded_and_knows_its_services(served: Served) -> None:
    with pytest.raises(Refused, match="an upgrade needs workers"):
        served.ask("upgrade")
    with pytest.raises(Refused, match="expected a service, found 'ecko'; did you mean 'echo'"):
        served.ask("drain", service="ecko")


def test_stop_is_answered_and_ends_the_daemon_in_order(served: Served) -> None:
    served.ask("stop")
    assert served.daemon.wait() == 0
    assert not served.control.exists()
