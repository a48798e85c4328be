import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import Any
from urllib.request import Request, urlopen

import pytest

obstore = pytest.importorskip("obstore", reason="obstore is not installed")
from obstore.store import from_url  # noqa: E402

from sockd_plugins.files.notices.bucket import Bucket, obstacle  # noqa: E402
from sockd_plugins.files.notices.notice import NotDelivered, Notice  # noqa: E402

DATA = os.urandom((20 << 20) + 7)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start an S3 server on a free port."""
    if find_spec("moto") is None:
        pytest.skip("moto is not installed")
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Running on http" in line:
            yield line.split()[-1]
            break
    process.kill()
    process.communicate()


@pytest.fixture
def bucket(server: str, tmp_path: Path) -> Bucket:
    options = {"access_key_id": "a", "secret_access_key": "b", "endpoint": server, "region": "us-east-1"}
    name = f"copies-{os.urandom(4).hex()}"
    with urlopen(Request(f"{server}/{name}", method="PUT")):
        pass
    return Bucket(f"s3://{name}/box", options, tmp_path)


def received(folder: Path, data: bytes = DATA, name: str = "a b.bin", id_: str = "one") -> Notice:
    (folder / name).write_bytes(data)
    digest = f"sha256={hashlib.sha256(data).hexdigest()}"
    return Notice(id_, name, len(data), digest, "192.0.2.1", "", 1_700_000_000.0)


def copies(bucket: Bucket) -> dict[str, bytes]:
    config: Any = bucket.options
    store = from_url(bucket.url, config=config, client_options={"allow_http": True})
    names = [each["path"] for batch in obstore.list(store) for each in batch]
    return {name: bytes(obstore.get(store, name).bytes()) for name in names}


def test_a_file_is_copied_in_parts_with_its_digest(bucket: Bucket, tmp_path: Path) -> None:
    bucket.deliver(received(tmp_path), Event())
    assert copies(bucket) == {"a b.bin": DATA}


def test_a_copy_that_is_there_already_is_not_made_again(bucket: Bucket, tmp_path: Path) -> None:
    notice = received(tmp_path, b"first")
    bucket.deliver(notice, Event())
    (tmp_path / "a b.bin").unlink()
    bucket.deliver(notice, Event())
    assert copies(bucket) == {"a b.bin": b"first"}


def test_an_object_of_another_file_is_kept(bucket: Bucket, tmp_path: Path) -> None:
    bucket.deliver(received(tmp_path, b"first"), Event())
    bucket.deliver(received(tmp_path, b"second", id_="two"), Event())
    assert copies(bucket) == {"a b.bin": b"first", "a b-two.bin": b"second"}


def test_a_file_that_is_gone_is_told(bucket: Bucket, tmp_path: Path) -> None:
    notice = received(tmp_path)
    (tmp_path / "a b.bin").unlink()
    with pytest.raises(NotDelivered, match=r"the copy failed: .*No such file"):
        bucket.deliver(notice, Event())
    assert copies(bucket) == {}


def test_a_bucket_that_is_not_there_is_told(bucket: Bucket, tmp_path: Path) -> None:
    missing = Bucket("s3://no-such-bucket-here", bucket.options, tmp_path)
    with pytest.raises(NotDelivered, match="the copy failed: "):
        missing.deliver(received(tmp_path, b"x"), Event())


@pytest.mark.parametrize("url", ["nothing", "ftp://host/x"])
def test_an_address_that_is_no_bucket_is_a_fault(url: str) -> None:
    assert obstacle(url, {})


def test_an_option_that_nobody_knows_is_a_fault() -> None:
    assert obstacle("s3://bucket", {"colour": "red"})
    assert obstacle("s3://bucket", {"region": "us-east-1"}) is None
