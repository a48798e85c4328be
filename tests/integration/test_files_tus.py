"""Real clients of tus and of the IETF draft, interrupted or not."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clients import node_modules, python_packages
from running import PATIENCE, Daemon, Start

KIB = 1 << 10
MIB = 1 << 20
SIZES = [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 128 * KIB, 3 * MIB]
SCRIPT = Path(__file__).parent / "tus_client.js"
TUSPY = """
import json, sys
from tusclient.client import TusClient

client = TusClient(sys.argv[1])
for name, options in json.loads(sys.argv[2]):
    client.uploader(name, metadata={"filename": name}, **options).upload()
    print(name)
"""


@dataclass
class Site:
    """Daemon that receives files over HTTP, and where it does."""

    start: Start
    folder: Path
    port: int = 0
    workers: int = 0

    def starts(self) -> Daemon:
        """Start, or start again at the same port."""
        workers = f"workers = {self.workers}" if self.workers else ""
        daemon = self.start(
            f"""
            [daemon]
            {workers}
            [service.files]
            plugin = "files"
            listen = [{{ endpoint = "tcp:{self.port}:interface=127.0.0.1", protocol = "http" }}]
            options = {{ directory = "received" }}
            """,
            how="sockd",
        ).ready()
        self.port = daemon.port("files")[1]
        return daemon

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def received(self) -> dict[str, str]:
        """Return the digests of the files by their names."""
        paths = [path for path in (self.folder / "received").iterdir() if path.is_file()]
        return {path.name: digest(path) for path in paths}

    def unfinished(self) -> list[str]:
        return [name for name in os.listdir(self.folder / "received/.sockd-part") if "-" in name]


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture
def site(start: Start, tmp_path: Path) -> Site:
    return Site(start, tmp_path)


def file(folder: Path, size: int, name: str = "") -> Path:
    path = folder / (name or f"{size}.bin")
    path.write_bytes(os.urandom(size))
    return path


class Node:
    """Script of a client that runs."""

    def __init__(self, *wanted: dict[str, Any], modules: str = "tus-js-client") -> None:
        node, folder = node_modules(modules)
        self.process = subprocess.Popen(
            [node, SCRIPT, json.dumps(wanted)],
            env=os.environ | {"MODULES": str(folder)},
            stdout=subprocess.PIPE,
            text=True,
        )

    def lines(self) -> Iterator[tuple[str, str]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            yield word, rest

    def ends(self) -> list[str]:
        """Wait for the end; return what was told but the progress."""
        lines = [f"{word} {rest}".strip() for word, rest in self.lines() if word not in ("progress", "url")]
        self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return lines


def wanted(site: Site, path: Path, name: str = "", /, **options: Any) -> dict[str, Any]:
    own = {key: options.pop(key) for key in ("pipe", "store", "dieAt", "uppy") if key in options}
    options = {"metadata": {"filename": name or path.name}} | options
    return {"endpoint": site.url, "file": str(path), "options": options} | own


@pytest.mark.parametrize("workers", [0, 2])
def test_tuspy_sends_files_of_all_sizes(site: Site, tmp_path: Path, workers: int) -> None:
    packages = python_packages("tusclient")
    site.workers = workers
    site.starts()
    paths = [file(tmp_path, size) for size in SIZES]
    chunked = {"chunk_size": 64 * KIB, "upload_checksum": True}
    jobs = [(path.name, chunked) for path in paths]
    subprocess.run(
        [sys.executable, "-c", TUSPY, site.url, json.dumps(jobs)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(packages)},
        check=True,
        timeout=PATIENCE,
    )
    assert site.received() == {path.name: digest(path) for path in paths}
    assert site.unfinished() == []


WAYS: dict[str, dict[str, Any]] = {
    "one-request": {},
    "chunks": {"chunkSize": MIB},
    "pipe": {"pipe": True, "uploadSize": 3 * MIB, "chunkSize": MIB},
    "deferred-length": {"pipe": True, "uploadLengthDeferred": True, "chunkSize": MIB},
    "with-creation": {"uploadDataDuringCreation": True, "chunkSize": MIB},
    "overridden-method": {"overridePatchMethod": True, "chunkSize": MIB},
    "parallel": {"parallelUploads": 3, "chunkSize": 512 * KIB},
    "draft-03": {"protocol": "ietf-draft-03"},
    "draft-03-chunks": {"protocol": "ietf-draft-03", "chunkSize": MIB},
    "draft-05": {"protocol": "ietf-draft-05"},
    "draft-05-chunks": {"protocol": "ietf-draft-05", "chunkSize": MIB},
    "draft-05-with-creation": {"protocol": "ietf-draft-05", "uploadDataDuringCreation": True},
}


def test_tus_js_client_sends_in_every_way(site: Site, tmp_path: Path) -> None:
    site.starts()
    path = file(tmp_path, 3 * MIB)
    node = Node(*[wanted(site, path, name, **options) for name, options in WAYS.items()])
    assert node.ends() == ["success"] * len(WAYS)
    assert site.received() == dict.fromkeys(WAYS, digest(path))
    assert site.unfinished() == []


def test_tus_js_client_sends_files_of_all_sizes(site: Site, tmp_path: Path) -> None:
    site.starts()
    paths = [file(tmp_path, size) for size in SIZES]
    node = Node(*[wanted(site, path, chunkSize=64 * KIB) for path in paths])
    assert node.ends() == ["success"] * len(SIZES)
    assert site.received() == {path.name: digest(path) for path in paths}


def test_uppy_sends(site: Site, tmp_path: Path) -> None:
    node_modules("@uppy/core", "@uppy/tus")
    site.starts()
    path = file(tmp_path, 3 * MIB)
    assert Node(wanted(site, path, uppy=True), modules="@uppy/tus").ends() == ["success"]
    assert site.received() == {path.name: digest(path)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunkSize": MIB},
        {"parallelUploads": 3},
        {"protocol": "ietf-draft-05"},
        {"uploadDataDuringCreation": True, "chunkSize": 5 * MIB},
    ],
    ids=["one-request", "chunks", "parallel", "draft", "with-creation"],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_an_upload_goes_on_after_the_daemon_was_killed(
    site: Site, tmp_path: Path, options: dict[str, Any], workers: int
) -> None:
    site.workers = workers
    daemon = site.starts()
    path = file(tmp_path, 100 * MIB)
    node = Node(wanted(site, path, retryDelays=[500] * 100, **options))
    for word, rest in node.lines():
        if word == "progress" and int(rest) >= 20 * MIB:
            break
    daemon.process.kill()
    daemon.wait()
    site.starts()
    assert node.ends() == ["success"]
    assert site.received() == {path.name: digest(path)}


def test_an_upload_goes_on_after_the_client_was_killed(site: Site, tmp_path: Path) -> None:
    site.starts()
    path = file(tmp_path, 10 * MIB)
    kept: dict[str, Any] = {"store": str(tmp_path / "store.json"), "chunkSize": MIB}
    assert Node(wanted(site, path, dieAt=5 * MIB, **kept)).ends() == []
    assert site.received() == {}
    node = Node(wanted(site, path, **kept))
    first = next(int(rest) for word, rest in node.lines() if word == "progress")
    assert first >= 3 * MIB
    assert node.ends() == ["success"]
    assert site.received() == {path.name: digest(path)}
    assert Node(wanted(site, path, **kept)).ends() == ["success"]  # it only asks whether it is there
    assert site.received() == {path.name: digest(path)}
    assert site.unfinished() == []
