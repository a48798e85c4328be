"""The loop of the fuzz targets: make an input, check it, until the time is up.

    python tests/fuzz/TARGET.py [SECONDS] [SEED]

prints how many inputs were checked, and each fault once with the input that shows it; the exit code is 1 if
there was any. The same seed makes the same inputs. Where atheris is installed it makes them, starting from
some of the target's own.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module, util
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

SECONDS = 60.0
STARTS = 1000
"""Inputs that atheris starts from."""

Make = Callable[[Random], bytes]
Check = Callable[[bytes], None]


def run(make: Make, check: Check) -> int:
    """Check what `make` makes for as long as the command line says. A fault is whatever `check` raises."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 1_000_000
    if util.find_spec("atheris"):
        return _with_atheris(make, check, seconds, seed)
    return _with_seed(make, check, seconds, seed)


def mutate(random: Random, data: bytes, words: Sequence[bytes]) -> bytes:
    """`data` with a few places changed; `words` are what the format is made of."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 3, 8))):
        start = random.randint(0, len(changed))
        end = min(len(changed), start + random.choice((0, 1, 1, 2, 4, 16)))
        other = random.randint(0, len(changed))
        changed[start:end] = random.choice(
            (
                b"",
                random.choice(words),
                random.randbytes(end - start),
                changed[other : other + random.randint(1, 40)],
                bytes(byte ^ 1 << random.randrange(8) for byte in changed[start:end]),
            )
        )
    return bytes(changed)


def _with_seed(make: Make, check: Check, seconds: float, seed: int) -> int:
    random = Random(seed)
    faults: set[str] = set()
    slowest, executions = 0.0, 0
    started = now = time.perf_counter()
    while now - started < seconds:
        data = make(random)
        before = time.perf_counter()
        try:
            check(data)
        except Exception as error:  # whatever it is, it is what is looked for
            place = traceback.extract_tb(error.__traceback__)[-1]
            known = f"{type(error).__name__} at {place.filename}:{place.lineno}"
            if known not in faults:
                faults.add(known)
                traceback.print_exc()
                sys.stderr.write(f"input: {data!r}\n")
        executions += 1
        now = time.perf_counter()
        slowest = max(slowest, now - before)
    sys.stdout.write(
        f"{Path(sys.argv[0]).stem}: {executions} executions in {now - started:.0f} s with seed {seed}, "
        f"the slowest {slowest * 1000:.1f} ms; {len(faults)} faults\n"
    )
    return 1 if faults else 0


def _with_atheris(make: Make, check: Check, seconds: float, seed: int) -> int:
    atheris = import_module("atheris")
    random = Random(seed)
    with TemporaryDirectory() as folder:
        for number in range(STARTS):
            Path(folder, str(number)).write_bytes(make(random))
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], f"-max_total_time={seconds:.0f}", f"-seed={seed}", folder], check)
        atheris.Fuzz()  # ends the process itself
    return 0
