"""Uploads that meet the faults: each protocol, whole and interrupted."""

from __future__ import annotations

from benchmarks.crash.sftp import Sftp
from benchmarks.crash.streams import Keep, Raw, Upload
from benchmarks.crash.tftp import Tftp
from benchmarks.crash.trial import Series
from benchmarks.crash.web import Put, Tus

SERIES = (
    Series("upload", Upload()),
    Series("keep", Keep()),
    Series("resume", Keep(), interrupted=True),
    Series("raw", Raw()),
    Series("http PUT", Put()),
    Series("tus", Tus()),
    Series("tus, small requests", Tus(1_500_000, 100_000), cuts=False),
    Series("tus, resumed", Tus(), interrupted=True),
    Series("tftp", Tftp()),
    Series("sftp", Sftp()),
)
