"""Real clients of tus and of the IETF draft, interrupted or not."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients import node_modules, python_packages
from running import PATIENCE
from websites import Website, website

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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    """Return the daemon that most tests share."""
    with website(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def site(shared: Website) -> Iterator[Website]:
    """Give the daemon that most tests share, without what was stored."""
    yield shared
    for name in received(shared):
        (shared.received / name).unlink()


def received(site: Website) -> dict[str, str]:
    """Return the digests of the files by their names."""
    return {path.name: digest(path) for path in site.received.iterdir() if path.is_file()}


def unfinished(site: Website) -> list[str]:
    return [name for name in os.listdir(site.received / ".sockd-part") if "-" in name]


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def wanted(site: Website, path: Path, name: str = "", /, **options: Any) -> dict[str, Any]:
    own = {key: options.pop(key) for key in ("pipe", "store", "dieAt", "uppy") if key in options}
    options = {"metadata": {"filename": name or path.name}} | options
    return {"endpoint": site.url, "file": str(path), "options": options} | own


def test_tuspy_sends_files_of_all_sizes(site: Website, tmp_path: Path) -> None:
    sends_with_tuspy(site, tmp_path)


def test_tuspy_sends_to_whatever_worker(tmp_path: Path) -> None:
    with website(tmp_path, workers=2) as site:
        sends_with_tuspy(site, tmp_path)


def sends_with_tuspy(site: Website, folder: Path) -> None:
    packages = python_packages("tusclient")
    paths = [file(folder, size) for size in SIZES]
    chunked = {"chunk_size": 64 * KIB, "upload_checksum": True}
    jobs = [(path.name, chunked) for path in paths]
    subprocess.run(
        [sys.executable, "-c", TUSPY, site.url, json.dumps(jobs)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(packages)},
        check=True,
        timeout=PATIENCE,
    )
    assert received(site) == {path.name: digest(path) for path in paths}
    assert unfinished(site) == []


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


def test_tus_js_client_sends_in_every_way(site: Website, tmp_path: Path) -> None:
    path = file(tmp_path, 3 * MIB)
    node = Node(*[wanted(site, path, name, **options) for name, options in WAYS.items()])
    assert node.ends() == ["success"] * len(WAYS)
    assert received(site) == dict.fromkeys(WAYS, digest(path))
    assert unfinished(site) == []


def test_tus_js_client_sends_files_of_all_sizes(site: Website, tmp_path: Path) -> None:
    paths = [file(tmp_path, size) for size in SIZES]
    node = Node(*[wanted(site, path, chunkSize=64 * KIB) for path in paths])
    assert node.ends() == ["success"] * len(SIZES)
    assert received(site) == {path.name: digest(path) for path in paths}


def test_uppy_sends(site: Website, tmp_path: Path) -> None:
    node_modules("@uppy/core", "@uppy/tus")
    path = file(tmp_path, 3 * MIB)
    assert Node(wanted(site, path, uppy=True), modules="@uppy/tus").ends() == ["success"]
    assert received(site) == {path.name: digest(path)}


@pytest.mark.parametrize(
    ("workers", "size", "options"),
    [
        pytest.param(0, 100 * MIB, {}, id="one request"),
        pytest.param(0, 48 * MIB, {"chunkSize": MIB}, id="chunks"),
        pytest.param(2, 48 * MIB, {"chunkSize": MIB}, id="chunks, workers"),
        pytest.param(2, 48 * MIB, {"parallelUploads": 3}, id="parallel, workers"),
        pytest.param(0, 48 * MIB, {"protocol": "ietf-draft-05"}, id="draft"),
        pytest.param(0, 48 * MIB, {"uploadDataDuringCreation": True, "chunkSize": 5 * MIB}, id="creation"),
    ],
)
def test_an_upload_goes_on_after_the_daemon_was_killed(
    tmp_path: Path, workers: int, size: int, options: dict[str, Any]
) -> None:
    path = file(tmp_path, size)
    with website(tmp_path, workers=workers) as site:
        node = Node(wanted(site, path, retryDelays=[500] * 100, **options))
        for word, rest in node.lines():
            if word == "progress" and int(rest) >= 10 * MIB:
                break
        site.kill()
    with website(tmp_path, site.port, workers=workers):
        assert node.ends() == ["success"]
    assert received(site) == {path.name: digest(path)}


def test_an_upload_goes_on_after_the_client_was_killed(site: Website, tmp_path: Path) -> None:
    path = file(tmp_path, 10 * MIB)
    kept: dict[str, Any] = {"store": str(tmp_path / "store.json"), "chunkSize": MIB}
    assert Node(wanted(site, path, dieAt=5 * MIB, **kept)).ends() == []
    assert received(site) == {}
    node = Node(wanted(site, path, **kept))
    first = next(int(rest) for word, rest in node.lines() if word == "progress")
    assert first >= 3 * MIB
    assert node.ends() == ["success"]
    assert received(site) == {path.name: digest(path)}
    assert Node(wanted(site, path, **kept)).ends() == ["success"]  # it only asks whether it is there
    assert received(site) == {path.name: digest(path)}
    assert unfinished(site) == []
