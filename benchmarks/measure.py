"""Measurements: every server in turn, close in time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Self

from benchmarks.certificate import Identity
from benchmarks.peers import HERE, Peer
from benchmarks.processes import MeasureError, Server, free_port, on_core, serving
from benchmarks.scenarios import Effort, Protocol, Sample, Scenario

TLS_HEADER = "openssl/ssl.h"


class Bench:
    """Place of the measurements: a core for the servers, one for the load, and a folder for temporary files.

    Attributes:
        no_tls: reason why nothing can be measured over TLS; empty if it can.

    Raises:
        MeasureError: the load cannot be compiled.
    """

    def __init__(self, server_core: int, load_core: int, folder: Path) -> None:
        self.server_core = server_core
        self.load_core = load_core
        self._folder = folder
        self._identity = Identity()
        self._load = f"{folder}/load"
        self.no_tls = (
            "" if self._found(TLS_HEADER) else f"there is no {TLS_HEADER} here for the load (libssl-dev)"
        )
        tls = [] if self.no_tls else ["-DTLS", "-lssl", "-lcrypto"]
        _output(["gcc", "-O2", "-o", self._load, f"{HERE}/load.c", *tls], load_core)

    def prepare(self, peer: Peer) -> str:
        """Compile what the server needs; return the reason why it cannot be measured, or nothing."""
        folder = self._own(peer)
        folder.mkdir()
        self._identity.write(folder)
        reason = peer.absent()
        if not reason and peer.build:
            try:
                _output(peer.build(folder), self.load_core)
            except MeasureError as error:
                return str(error)
        return reason

    def serve(self, peer: Peer, protocol: Protocol) -> AbstractContextManager[Server]:
        """Start a server, and end it afterwards."""
        port, folder = free_port(protocol), self._own(peer)
        command = peer.command(protocol, port, folder)
        return serving(command, protocol, port, self.server_core, folder / f"{protocol}.log")

    def load(self, server: Server, protocol: str, words: Sequence[object]) -> Sample:
        """Run the load program at a server; return its results."""
        kind, *numbers = words
        command = [self._load, kind, protocol, server.port, server.pid, *numbers]
        return _sample(command, self.load_core)

    def frame(self, peer: Peer, words: Sequence[object]) -> Sample:
        """Run a framer; return its results."""
        return _sample([*peer.command("lines", 0, self._own(peer)), *words], self.server_core)

    def _found(self, header: str) -> bool:
        try:
            _output(["gcc", "-E", "-include", header, "-x", "c", "/dev/null"], self.load_core)
        except MeasureError:
            return False
        return True

    def _own(self, peer: Peer) -> Path:
        return self._folder / peer.key


class Round:
    """Servers of one round: each starts when it is first needed and lives to the end of the round."""

    def __init__(self, bench: Bench, effort: Effort) -> None:
        self._bench = bench
        self._effort = effort
        self._ends = ExitStack()
        self._servers: dict[tuple[str, str], Server] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def measure(self, scenario: Scenario, peer: Peer) -> Sample:
        """Measure one server in one scenario.

        Raises:
            MeasureError: the server did not start, or did not echo correctly.
        """
        bench, protocol, words = self._bench, scenario.protocol, scenario.load(self._effort)
        if protocol == "lines":
            return bench.frame(peer, words)
        if scenario.fresh:
            with bench.serve(peer, protocol) as server:
                return bench.load(server, peer.wire if protocol == "chat" else protocol, words)
        if (peer.key, protocol) not in self._servers:
            self._servers[peer.key, protocol] = self._ends.enter_context(bench.serve(peer, protocol))
        return bench.load(self._servers[peer.key, protocol], protocol, words)


def _sample(words: Sequence[object], core: int) -> Sample:
    return Sample(**json.loads(_output([str(word) for word in words], core)))


def _output(words: Sequence[str], core: int) -> str:
    with on_core(core):
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  # our own
        except OSError as error:
            raise MeasureError(f"{words[0]}: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise MeasureError(f"{Path(words[0]).name} ended with {done.returncode}: {said}")
    return done.stdout
