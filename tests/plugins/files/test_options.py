from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sockd_plugins.files import Files


@pytest.mark.parametrize(
    ("protocol", "access", "needed"),
    [
        ("raw", ["tokens", "users"], "certificates"),
        ("tftp", ["users", "certificates"], "tokens"),
        ("raw", ["certificates"], None),
        ("tftp", ["tokens"], None),
        ("raw", "anyone", None),
        ("upload", ["tokens"], None),
        ("http", ["users"], None),
    ],
)
def test_a_protocol_over_which_nobody_could_send_is_refused(
    tmp_path: Path, protocol: str, access: Any, needed: str | None
) -> None:
    reason = Files(directory=tmp_path, access=access).refuses(protocol, stream=protocol != "tftp")
    told = f"nobody could send: over '{protocol}' access needs '{needed}' or 'anyone'"
    assert reason == (told if needed else None)


@pytest.mark.parametrize("url", ["drop.example.org", "ftp://drop.example.org", "https://", "https://x/?a"])
def test_a_public_address_is_one_of_the_web(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValidationError, match="expected an address such as"):
        Files(directory=tmp_path, url=url)


def test_access_needs_a_way_that_there_is(tmp_path: Path) -> None:
    wrong: tuple[Any, ...] = ([], "nobody", ["tokens", "x"])
    for access in wrong:
        with pytest.raises(ValidationError):
            Files(directory=tmp_path, access=access)
