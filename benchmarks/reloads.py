"""Test for losses by reloads and upgrades: `python -m benchmarks.reloads [COUNT]`.

COUNT changes are made under load. One in eight is an upgrade, every other one is broken on purpose. Clients
open a connection for each request, and long connections count. Everything runs in a network namespace, so
that the kernel's counters count nothing else. The test fails if a request is not answered, a long connection
is cut or has a gap, a connection was reset or dropped, or the supervisor keeps a descriptor.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from benchmarks.certificate import KEY, Identity
from benchmarks.machine import description
from benchmarks.workers import HOST, Crew, Streams, Visitors, crew

WORKERS = 2
LONG = 100
"""Long connections."""

UPGRADE_EVERY = 8
"""Changes of which one is an upgrade; the others are reloads."""

HANGS_EVERY = 200
"""Changes of which one has a plugin that hangs while it is loaded: noticing it takes ten seconds."""

WITNESSES = ("TcpOutRsts", "TcpEstabResets", "TcpExtListenDrops", "TcpExtListenOverflows")
"""Counters of the kernel, by nstat's names, that have to stay at 0."""

INSIDE = "SOCKD_RELOADS_INSIDE"

CONFIG = f"""
[daemon]
workers = {WORKERS}
drain_timeout = "1h"
[service.echo]
plugin = "echo"
listen = ["tcp:0:interface={HOST}"]
limits.max_connections = {{most}}
[service.other]
plugin = "other:Other"
listen = ["unix:{{name}}.sock"]
options.text = "{{name}}"
"""

PLUGIN = '''
from sockd.plugin import IStreamPlugin, Plugin
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

@implementer(IStreamPlugin)
class Other(Plugin):
    """Something else."""
    text: str = ""
    def stream_factory(self, protocol, context):
        return Factory.forProtocol(Protocol)
'''
RAISES = PLUGIN + "\n1 / 0\n"
EXITS = PLUGIN + "\nimport os; os._exit(5)\n"
HANGS = PLUGIN + "\nwhile True: pass\n"
CANNOT_START = PLUGIN + "    def start(self, context):\n        raise OSError('no tape in the drive')\n"

SERVICE = "[service.x]\nplugin = '{plugin}'\nlisten = ['unix:x.sock', {more}]\n{options}"


class Machine:
    """Source of changes to one daemon; each call returns when the change is over."""

    def __init__(self, daemon: Crew, folder: Path, taken: int) -> None:
        self.done: Counter[str] = Counter()
        self._daemon = daemon
        self._folder = folder
        self._numbers = itertools.count(1)
        self._text = text(0)
        self._broken_reloads = itertools.cycle(self._kinds_of_broken_reloads(taken).items())
        self._broken_upgrades = itertools.cycle(self._kinds_of_broken_upgrades().items())

    def reload(self) -> None:
        """Reload with a changed configuration."""
        self._text = text(next(self._numbers))
        self._daemon.file.write_text(self._text)
        self._signal(signal.SIGHUP, "reloaded")
        self.done["reload"] += 1

    def upgrade(self) -> None:
        """Upgrade to the same code, in new processes."""
        self._signal(signal.SIGUSR2, "upgraded")
        self.done["upgrade"] += 1

    def broken_reload(self) -> None:
        """Reload a faulty configuration; nothing may change."""
        kind, more = next(self._broken_reloads)
        self._daemon.file.write_text(self._text + more)
        self._signal(signal.SIGHUP, "not reloaded")
        self._daemon.file.write_text(self._text)
        self.done[kind] += 1

    def hanging_reload(self) -> None:
        """Reload with a plugin that hangs; nothing may change."""
        self._daemon.file.write_text(self._text + SERVICE.format(plugin="hangs:Other", more="", options=""))
        self._signal(signal.SIGHUP, "not reloaded")
        self._daemon.file.write_text(self._text)
        self.done["reload: a plugin that hangs"] += 1

    def broken_upgrade(self) -> None:
        """Upgrade to broken code; the present workers have to go on."""
        kind, act = next(self._broken_upgrades)
        with act():
            pass
        self.done[kind] += 1

    def _kinds_of_broken_reloads(self, taken: int) -> Mapping[str, str]:
        tls = "{{ endpoint = 'tcp:0:interface={}', tls = {{ certificate = '{}', key = '{}' }} }}"
        return {
            "reload: no TOML": "[service",
            "reload: an unknown plugin": SERVICE.format(plugin="ehco", more="", options=""),
            "reload: an unknown option": SERVICE.format(
                plugin="echo", more="", options="options.colour = 1\n"
            ),
            "reload: a port that is taken": SERVICE.format(
                plugin="echo", more=f"'tcp:{taken}:interface={HOST}'", options=""
            ),
            "reload: a bad certificate": SERVICE.format(
                plugin="echo", more=tls.format(HOST, "bad.pem", "key.pem"), options=""
            ),
            "reload: a key of another certificate": SERVICE.format(
                plugin="echo", more=tls.format(HOST, "certificate.pem", "other.pem"), options=""
            ),
            "reload: a plugin that raises": SERVICE.format(plugin="raises:Other", more="", options=""),
            "reload: a plugin that ends the process": SERVICE.format(
                plugin="exits:Other", more="", options=""
            ),
            "reload: a plugin that cannot start": SERVICE.format(
                plugin="cannot_start:Other", more="", options=""
            ),
        }

    def _kinds_of_broken_upgrades(self) -> Mapping[str, Callable[[], object]]:
        return {
            "upgrade: a plugin that raises": lambda: self._upgrade_to(RAISES),
            "upgrade: a plugin that ends the process": lambda: self._upgrade_to(EXITS),
            "upgrade: a plugin that cannot start": lambda: self._upgrade_to(CANNOT_START),
            "upgrade: a new worker is killed": self._kill_a_new_worker,
        }

    @contextmanager
    def _upgrade_to(self, code: str) -> Iterator[None]:
        (self._folder / "other.py").write_text(code)
        try:
            self._signal(signal.SIGUSR2, "not upgraded")
            yield
        finally:
            (self._folder / "other.py").write_text(PLUGIN)

    @contextmanager
    def _kill_a_new_worker(self) -> Iterator[None]:
        daemon = self._daemon
        before, wanted = set(daemon.serving()), daemon.events["not upgraded"] + 1
        replaced = daemon.events["supervisor replaced"] + 1
        daemon.process.send_signal(signal.SIGUSR2)
        daemon.wait_for("supervisor replaced", replaced)
        while not (new := set(daemon.serving()) - before):
            time.sleep(0.001)
        os.kill(new.pop(), signal.SIGKILL)
        daemon.wait_for("not upgraded", wanted)
        yield

    def _signal(self, number: int, event: str) -> None:
        wanted = self._daemon.events[event] + 1
        self._daemon.process.send_signal(number)
        self._daemon.wait_for(event, wanted)


def text(number: int) -> str:
    """Return a configuration that differs from the one of the number before: in its limits, or in a service
    too.
    """
    return CONFIG.format(most=5000 + number % 7, name=f"n{number // 2 % 2}")


@click.command()
@click.argument("count", type=int, default=1000)
def main(count: int) -> None:
    """Make COUNT changes."""
    if INSIDE not in os.environ:
        raise SystemExit(_in_a_namespace())
    click.echo(description())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, code in {
            "other": PLUGIN,
            "raises": RAISES,
            "exits": EXITS,
            "hangs": HANGS,
            "cannot_start": CANNOT_START,
        }.items():
            (folder / f"{name}.py").write_text(code)
        _certificates(folder)
        os.environ |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        taken = stack.enter_context(socket.create_server((HOST, 0))).getsockname()[1]
        daemon = stack.enter_context(crew(folder, text(0)))
        daemon.settled(WORKERS)
        run(daemon, Machine(daemon, folder, taken), count)


def run(daemon: Crew, machine: Machine, count: int) -> None:
    """Make `count` changes, and report the results of the clients."""
    before = daemon.descriptors()
    streams, visitors = Streams(daemon.address, LONG), Visitors(daemon.address, 2)
    began = time.monotonic()
    for number in range(count):
        upgrade = number % (2 * UPGRADE_EVERY) < 2
        if number % 2 == 0:
            (machine.upgrade if upgrade else machine.reload)()
        elif number % HANGS_EVERY == HANGS_EVERY - 1:
            machine.hanging_reload()
        else:
            (machine.broken_upgrade if upgrade else machine.broken_reload)()
        if number % 100 == 99:
            click.echo(f"  {number + 1} after {time.monotonic() - began:.0f} s: {visitors.served} requests")
    seconds = time.monotonic() - began
    time.sleep(0.5)
    gap = visitors.gap()
    visitors.end()
    streams.end()
    counters = _witnesses()
    daemon.settled(WORKERS)
    after = daemon.descriptors()
    for kind, times in sorted(machine.done.items()):
        click.echo(f"  {times:4} {kind}")
    good = machine.done["reload"] + machine.done["upgrade"]
    click.echo(
        f"{count} changes in {seconds:.0f} s, {count - good} of them broken;"
        f" {visitors.served} requests, {sum(visitors.faults.values())} failed {dict(visitors.faults)};"
        f" longest time without an answer {gap:.2f} s;"
        f" {LONG} long connections, {streams.bytes} bytes each way, {streams.faults} cut or with a gap;"
        f" {' '.join(f'{name} {value}' for name, value in counters.items())};"
        f" descriptors {before} before, {after} after"
    )
    if visitors.faults or streams.faults or after > before or any(counters.values()):
        raise SystemExit(1)


def _in_a_namespace() -> int:
    """Run this command in a network namespace of its own; return its exit code."""
    inside = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-m", "benchmarks.reloads"]
    unshare = shutil.which("unshare")
    if unshare is None:
        raise click.ClickException("there is no unshare(1), so no network namespace can be made")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = [unshare, "--net", *user, *inside, *sys.argv[1:]]
    return subprocess.run(command, env=os.environ | {INSIDE: "1"}, check=False).returncode  # noqa: S603


def _witnesses() -> dict[str, int]:
    """Read the kernel's counters of this namespace, as nstat does."""
    found: dict[str, int] = {}
    for file in ("/proc/net/snmp", "/proc/net/netstat"):
        lines = Path(file).read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            prefix, *keys = names.split()
            found |= {
                prefix[:-1] + key: int(value) for key, value in zip(keys, values.split()[1:], strict=True)
            }
    return {name: found[name] for name in WITNESSES}


def _certificates(folder: Path) -> None:
    """Write a certificate, its key, the key of another certificate, and a file that is none."""
    for name in ("other.pem", KEY):  # the later key stays, and belongs to the certificate
        Identity().write(folder)
        if name != KEY:
            (folder / KEY).rename(folder / name)
    (folder / "bad.pem").write_text("no certificate")


if __name__ == "__main__":
    main()
