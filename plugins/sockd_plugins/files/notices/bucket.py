"""Bucket of an object store, such as S3, that gets a copy of each received file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from sockd_plugins.files.notices.notice import NotDelivered, Notice

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CHUNK, _CHUNKS = 8 << 20, 2
"""Bytes of a part of an object, and parts that are sent at once: what a copy keeps in memory."""

_RETRY = timedelta(seconds=10)

_ID = "sockd-id"
"""Key of an object's metadata with the id of the upload."""


def obstacle(url: str, options: Mapping[str, str]) -> str | None:
    """Return why copies cannot go to a bucket, as far as that can be told without asking it; else None."""
    if find_spec("obstore") is None:
        return "copies to a bucket need the package obstore: pip install 'sockd[bucket]'"
    try:
        _open(url, options)
    except Exception as error:  # the package has no common class for wrong options
        return _first_line(error)
    return None


@dataclass(frozen=True, slots=True)
class Bucket:
    """Bucket with copies. An object is never replaced: if its name is taken the copy's has the id behind it.

    Attributes:
        url: such as `s3://bucket/folder`; https, gs, az and file are known too.
        options: of obstore, such as `endpoint`, `region`, `access_key_id` and `secret_access_key`; those that
            are missing come from the environment as in the programs of the store's maker.
        directory: with the received files.
        seconds: that a copy may take before another process may try it.
    """

    url: str
    options: Mapping[str, str] = field(repr=False)
    directory: Path
    seconds: float = 3600.0

    def deliver(self, notice: Notice, stopping: Event) -> None:  # noqa: ARG002  # a copy has no pause to stop in
        """Copy a file.

        Raises:
            NotDelivered: the file is gone, or the store cannot be reached or refuses.
        """
        import obstore

        algorithm, _, digest = notice.digest.partition("=")
        told: Any = {_ID: notice.id, f"sockd-{algorithm}": digest}
        try:
            store = _open(self.url, self.options)
            if (key := _free_key(store, notice)) is None:
                return
            with (self.directory / notice.path).open("rb") as file:
                obstore.put(store, key, file, attributes=told, chunk_size=_CHUNK, max_concurrency=_CHUNKS)
        except Exception as error:  # of the package, of its library, or of the disk
            raise NotDelivered(f"the copy failed: {_first_line(error)}") from error


def _free_key(store: ObjectStore, notice: Notice) -> str | None:
    """Return the name for an object; None if it is there already."""
    import obstore

    folder, slash, name = notice.path.rpartition("/")
    stem, dot, extension = name.rpartition(".")
    numbered = f"{stem}-{notice.id}.{extension}" if dot else f"{name}-{notice.id}"
    for key in (notice.path, folder + slash + numbered):
        try:
            found = obstore.get(store, key, options={"head": True})
        except FileNotFoundError:
            return key
        if found.attributes.get(_ID) == notice.id:
            return None
    return None  # nobody else has this id


def _open(url: str, options: Mapping[str, str]) -> ObjectStore:
    from obstore.store import from_url

    config: Any = dict(options)
    client: Any = {"allow_http": True} if options.get("endpoint", "").startswith("http://") else {}
    retry: Any = {"max_retries": 2, "retry_timeout": _RETRY}  # the outbox tries again, later
    return from_url(url, config=config, client_options=client, retry_config=retry)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
