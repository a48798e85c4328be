"""A control socket with nothing behind it, for tests: an operator that notes what it was asked.

As a program, `python serving.py PATH` serves one until its standard input ends, and says `ready` before.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor

from sockd.control.listener import ControlListener, open_control
from sockd.control.words import Refused, unknown
from sockd.endpoint import UnixEndpoint

LIMITS = {"max_connections": 100, "idle_timeout": 600.0}


def service(name: str, **changes: Any) -> dict[str, Any]:
    """A service of a snapshot."""
    listener = {
        "address": "tcp:127.0.0.1:7007", "protocol": "echo", "kind": "stream", "tls": True, "queue": 3,
        "backlog": 1024, "drops": None, "certificate_expires": 1.0,
    }  # fmt: skip
    return {
        "name": name, "plugin": "echo", "state": "open", "connections": 2, "handshakes": 0, "limits": LIMITS,
        "datagrams_received": 12, "datagrams_sent": 11, "received": 2048, "sent": 5_000_000,
        "counts": [["opened", "", 7], ["connection refused", "full", 4]],
        "durations": {"bounds": [1], "counts": [0, 0], "sum": 0.0}, "listeners": [listener], **changes,
    }  # fmt: skip


def peer(name: str, service: str, **changes: Any) -> dict[str, Any]:
    """A row of `ps`."""
    return {
        "id": name, "service": service, "peer": "127.0.0.1:40112", "listener": "tcp:127.0.0.1:7007",
        "age": 65.0, "idle": 2.0, "received": 10, "sent": 2000, "state": "open", **changes,
    }  # fmt: skip


class FakeOperator:
    """Knows two services, and keeps what it was told."""

    def __init__(self) -> None:
        self.states = {"echo": "open", "chat": "open"}
        self.limits: dict[tuple[str | None, str], str] = {}
        self.level = "info"
        self.drained: Deferred[None] | None = None
        self.padding = ""
        self.stopping = False
        self.asked = 0
        self.draining = 0

    async def status(self) -> Any:
        self.asked += 1
        counts = [["opened", "", 10 * self.asked], ["plugin fault", "dataReceived", 1]]
        return {
            "pid": os.getpid(),
            "version": "1",
            "reactor": "UVReactor",
            "started": 0.0,
            "state": "stopping" if self.stopping else "ready",
            "reactor_delay": 0.001,
            "descriptors": {"used": 9, "limit": 1024},
            "level": self.level,
            "padding": self.padding,
            "services": [
                service("echo", state=self.states["echo"]),
                service("chat", state=self.states["chat"], counts=counts, received=10**6 * self.asked),
            ],
        }

    async def ps(self) -> list[Any]:
        return [
            peer("echo:1", "echo"),
            peer("echo:2", "echo", age=3700.0, peer="/tmp/\x1b[31m\u202epeer", sent=1),
        ]

    async def kick(self, id: str) -> None:  # noqa: A002
        if id == "broken":
            raise ZeroDivisionError("a fault\nof the \x1boperator")
        if id != "echo:1":
            raise Refused(f"no connection {id}")

    async def drain(self, service: str | None) -> None:
        self.draining += 1
        if self.drained is not None:
            await self.drained
        await self._state(service, "draining")

    async def pause(self, service: str | None) -> None:
        await self._state(service, "paused")

    async def resume(self, service: str | None) -> None:
        await self._state(service, "open")

    async def _state(self, service: str | None, state: str) -> None:
        if service is not None and service not in self.states:
            raise Refused(unknown("a service", service, self.states))
        for name in [service] if service else list(self.states):
            self.states[name] = state

    async def set(self, service: str | None, key: str, value: str) -> None:
        if key != "idle_timeout":
            raise Refused(unknown("a limit", key, ["idle_timeout"]))
        self.limits[service, key] = value

    async def log(self, level: str) -> None:
        self.level = level

    async def reload(self, dry_run: bool) -> dict[str, list[str]]:
        if not dry_run:
            report = "sockd.toml:3:1: unknown key 'x'\n  3 | x\n    | ^"
            raise Refused("1 fault in the configuration", {"faults": [], "report": report})
        return {
            "keep": ["echo"],
            "limits": ["chat"],
            "listeners": [],
            "restart": [],
            "add": ["a", "b"],
            "remove": [],
        }

    async def upgrade(self) -> None:
        raise Refused("an upgrade needs workers")

    async def stop(self) -> None:
        self.stopping = True


def main() -> None:
    reactor = EPollReactor()
    bound = open_control(UnixEndpoint("unix", Path(sys.argv[1])))
    ControlListener(bound, FakeOperator(), reactor).open()

    def stop_at_the_end() -> None:
        sys.stdin.read()
        reactor.callFromThread(reactor.stop)

    reactor.callInThread(stop_at_the_end)
    reactor.callWhenRunning(print, "ready", flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
