"""Uploads that meet the faults: each protocol, whole and interrupted."""

from __future__ import annotations

from benchmarks.crash.sftp import Sftp
from benchmarks.crash.streams import Keep, Raw, Upload
from benchmarks.crash.tftp import Tftp
from benchmarks.crash.trial import Series
from benchmarks.crash.web import DRAFT, SMALL, TUS, Put, Resumable

SERIES = (
    Series("upload", Upload()),
    Series("keep", Keep()),
    Series("resume", Keep(), interrupted=True),
    Series("raw", Raw()),
    Series("http PUT", Put()),
    Series("tus", Resumable(TUS)),
    Series("tus, small requests", Resumable(TUS, 20 * SMALL + 4321, SMALL)),
    Series("tus, resumed", Resumable(TUS), interrupted=True),
    Series("draft", Resumable(DRAFT)),
    Series("draft, small requests", Resumable(DRAFT, 20 * SMALL + 4321, SMALL)),
    Series("draft, resumed", Resumable(DRAFT), interrupted=True),
    Series("tftp", Tftp()),
    Series("sftp", Sftp()),
)
