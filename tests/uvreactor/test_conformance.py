from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFORMANCE = Path(__file__).with_name("conformance.py")

MODULES = (
    *("tcp", "unix", "udp", "core", "time", "threads", "fdset", "socket", "process", "stdio", "tls"),
    "newtls",
)

HOW_MANY = 355
"""Tests that Twisted has for reactors in these modules; fewer would mean that some were not found."""

LOG_CONTEXT = "the log context of a connection is not set for each read: it costs more than the read"
TAKEN_BY_THE_KERNEL = (
    "expects a producer to be paused for what is in Twisted's buffer; uvloop has given it to the kernel"
)
EPOLL = "epoll forgets a closed descriptor without a word; Twisted skips this for its own epoll reactor"
NO_RECVMSG = "expects a warning; the kernel closes unwanted descriptors, for uvloop does not ask for them"
UNREACHABLE = "the interpreter lies in a folder that only root may enter"

EXPECTED_FAILURES = {
    "TCP4ClientTestsBuilder.test_logPrefix": LOG_CONTEXT,
    "TCP6ClientTestsBuilder.test_logPrefix": LOG_CONTEXT,
    "UNIXTestsBuilder.test_logPrefix": LOG_CONTEXT,
    "SSLClientTestsMixin.test_logPrefix": LOG_CONTEXT,
    "StartTLSClientTestsMixin.test_logPrefix": LOG_CONTEXT,
    "TCPTransportTestsBuilder.test_streamingProducer": TAKEN_BY_THE_KERNEL,
    "AdoptStreamConnectionTestsBuilder.test_streamingProducer": TAKEN_BY_THE_KERNEL,
    "UNIXAdoptStreamConnectionTestsBuilder.test_streamingProducer": TAKEN_BY_THE_KERNEL,
    "ReactorFDSetTestsBuilder.test_lostFileDescriptor": EPOLL,
    "UNIXTestsBuilder.test_avoidLeakingFileDescriptors": NO_RECVMSG,
}


def others_may_enter(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


if os.getuid() == 0 and not others_may_enter(Path(sys.executable)):
    EXPECTED_FAILURES |= {
        "ProcessTestsBuilder.test_changeUID": UNREACHABLE,
        "PTYProcessTestsBuilder.test_changeUID": UNREACHABLE,
    }


def run(folder: Path) -> tuple[set[str], str]:
    """Return the tests that failed, and the output."""
    done = subprocess.run(
        [
            sys.executable,
            str(CONFORMANCE),
            "--force-gc",  # a Deferred's failure then belongs to the test that caused it
            "--reporter=text",
            *(f"twisted.internet.test.test_{module}" for module in MODULES),
        ],
        cwd=folder,
        env={"PYTHONPATH": str(CONFORMANCE.parents[2]), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    report = done.stdout
    assert f"Ran {HOW_MANY} tests" in report, report[-2000:] + done.stderr[-2000:]
    failed = set()
    for section in report.split("=" * 79)[1:]:
        if section.lstrip().startswith(("[FAIL]", "[ERROR]")):
            found = re.findall(r"^twisted\.internet\.test\.\w+\.(\w+)\.(\w+)$", section, re.M)
            failed |= {f"{case.removesuffix('_reactor_under_testTests')}.{test}" for case, test in found}
    return failed, report


@pytest.mark.long
def test_twisted_s_own_tests_of_reactors_pass_but_for_those_that_are_known(tmp_path: Path) -> None:
    pytest.importorskip("uvloop")
    pytest.importorskip("hamcrest")
    failed, report = run(tmp_path)
    if failed != set(EXPECTED_FAILURES) and "Address already in use" in report:
        failed, report = run(tmp_path)  # they choose a free port and bind it later, which can fail
    assert failed == set(EXPECTED_FAILURES), report
