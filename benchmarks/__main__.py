"""Command `python -m benchmarks`, run from the root of the repository."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console

from benchmarks import machine, plots, report
from benchmarks.choice import Pair, pairs, turns
from benchmarks.measure import Bench, Round
from benchmarks.peers import HERE, PEERS, Peer, sockd_of
from benchmarks.processes import MeasureError, StartError
from benchmarks.scenarios import SCENARIOS, Effort, Protocol, Sample, Scenario

FULL = Effort(seconds=1.0, connects=10_000, bursts=10, held=8000)
QUICK = Effort(seconds=0.2, connects=2000, bursts=3, held=1000)

INTERRUPTED = 130
"""Exit code that a shell expects of a program ended by Ctrl-C."""


class Run:
    """Results of one run, and the reasons for what could not be measured."""

    def __init__(self, chosen: Sequence[Pair], console: Console) -> None:
        self.samples: dict[tuple[str, str], list[Sample]] = defaultdict(list)
        self.missing: dict[str, str] = {}
        self.rounds = 0
        self._chosen = list(chosen)
        self._console = console

    def measure(self, bench: Bench, effort: Effort, rounds: int, rows: report.Rows) -> None:
        """Measure everything, round by round."""
        self._prepare(bench)
        with self._console.status("") as status:
            for number in range(rounds):
                self.rounds += 1
                with Round(bench, effort) as servers:
                    for scenario, peer in turns(self._chosen, number):
                        if (scenario, peer) not in self._chosen:  # dropped in an earlier round
                            continue
                        status.update(f"round {number + 1} of {rounds}: {scenario.title}: {peer.title}")
                        if sample := self._sample(servers, scenario, peer):
                            self.samples[scenario.key, peer.key].append(sample)
                            rows.add(scenario, peer, number, sample)

    def _prepare(self, bench: Bench) -> None:
        """Drop the servers that are known not to work on this machine."""
        if bench.no_tls:
            self._leave_out("TLS", bench.no_tls, [pair for pair in self._chosen if pair[0].protocol == "tls"])
        for peer, protocol in dict.fromkeys((peer, scenario.protocol) for scenario, peer in self._chosen):
            if reason := peer.refusal(protocol):
                self._leave_out(f"{peer.title}, {protocol}", reason, self._all_of(peer, protocol))
        for peer in dict.fromkeys(peer for _, peer in self._chosen):
            if reason := bench.prepare(peer):
                self._leave_out(peer.title, reason, [pair for pair in self._chosen if pair[1] is peer])

    def _sample(self, servers: Round, scenario: Scenario, peer: Peer) -> Sample | None:
        """Return one measurement; without one, note the reason."""
        try:
            return servers.measure(scenario, peer)
        except StartError as error:
            gone = self._all_of(peer, scenario.protocol)
            self._leave_out(f"{peer.title}, {scenario.protocol}", str(error), gone)
        except MeasureError as error:
            self._leave_out(f"{peer.title}, {scenario.key}", str(error), [(scenario, peer)])
        return None

    def _all_of(self, peer: Peer, protocol: Protocol) -> list[Pair]:
        return [pair for pair in self._chosen if pair[1] is peer and pair[0].protocol == protocol]

    def _leave_out(self, what: str, reason: str, gone: Sequence[Pair]) -> None:
        self.missing[what] = reason
        self._chosen = [pair for pair in self._chosen if pair not in gone]

    def write(self, folder: Path, conditions: str, peers: Sequence[Peer]) -> None:
        """Write the tables and the plots of the results."""
        found = {}
        for scenario in SCENARIOS:
            samples = {peer: taken for (key, peer), taken in self.samples.items() if key == scenario.key}
            if of_scenario := report.results(scenario, peers, samples):
                found[scenario] = of_scenario
                self._console.print(f"[bold]{scenario.title}: {scenario.unit}[/bold] ({scenario.key})")
                self._console.print(report.terminal(scenario, of_scenario), "")
                (folder / f"{scenario.key}.svg").write_text(plots.svg(scenario, of_scenario))
        (folder / "table.md").write_text(report.markdown(found, conditions))
        for what, reason in self.missing.items():
            self._console.print(f"not measured: {what}: {reason}", markup=False, highlight=False)
        self._console.print(f"{conditions}\nin {folder}", markup=False, highlight=False)


@click.command()
@click.option(
    "--rounds",
    type=click.IntRange(1, 50),
    default=5,
    show_default=True,
    help="All servers in turn, so often.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 30),
    default=1.0,
    show_default=True,
    help="Of each timed measurement.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="SCENARIO/SERVER",
    help="Such as tcp-1k, /sockd or 'tcp-*/c'; may be repeated.",
)
@click.option(
    "--before",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="CHECKOUT",
    help="The root of another checkout, with its .venv: its sockd is measured in the same run.",
)
@click.option("--quick", is_flag=True, help="One short round, to see that everything runs.")
def main(rounds: int, seconds: float, only: tuple[str, ...], before: Path | None, quick: bool) -> None:
    """Measure sockd and comparable servers in turn, and compare their costs."""
    peers = PEERS if before is None else (*sockd_of(before), *PEERS)
    try:
        chosen = pairs(SCENARIOS, peers, only)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--only") from None
    signal.signal(signal.SIGTERM, _leave)
    rounds, effort = (1, QUICK) if quick else (rounds, replace(FULL, seconds=seconds))
    effort = replace(effort, held=min(effort.held, machine.descriptors() - machine.RESERVED))
    folder = HERE / "results" / datetime.now().strftime("%Y-%m-%d_%H%M%S")
    folder.mkdir(parents=True)
    console = Console()
    server_core, load_core = machine.cores()
    others = machine.Others({server_core, load_core})
    code = machine.code()
    run = Run(chosen, console)
    complete = False
    with tempfile.TemporaryDirectory() as made, (folder / "rows.csv").open("w", newline="") as file:
        try:
            run.measure(Bench(server_core, load_core, Path(made)), effort, rounds, report.Rows(file))
            complete = True
        except KeyboardInterrupt:
            console.print("interrupted: what follows is what was measured before")
        except MeasureError as error:
            raise click.ClickException(str(error)) from None
    conditions = _conditions(run.rounds, effort, others, apart=server_core != load_core)
    if machine.code() != code:
        conditions = f"**Not valid: the code changed during the run.** {conditions}"
    run.write(folder, conditions, peers)
    sys.exit(0 if complete else INTERRUPTED)


def _conditions(rounds: int, effort: Effort, others: machine.Others, *, apart: bool) -> str:
    """Describe the conditions of the measurements."""
    where = "server and load on a core each" if apart else "server and load on the same, only core"
    return (
        f"Medians of {rounds} round{'s' * (rounds > 1)} of {effort.seconds:g} s, servers in turn, {where}; "
        f"idle: {effort.held:,} connections. {machine.description()}, {datetime.now():%Y-%m-%d}. "
        f"Others used {others.share():.0%} of the cores meanwhile."
    )


def _leave(*_: object) -> NoReturn:
    """End as after Ctrl-C, so that no server outlives the run."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
