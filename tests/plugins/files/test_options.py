from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sockd_plugins.files import Files
from sockd_plugins.files.access.shares import UserQuota
from sockd_plugins.users.passwords import hash_password


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


def problems(folder: Path, **options: Any) -> dict[str, str]:
    return dict(Files(directory=folder, **options).problems())


def test_an_owner_that_files_cannot_be_given_to_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert problems(tmp_path, owner="nobody-here:root") == {
        "owner": "there is no user 'nobody-here' on this machine"
    }
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "only root may give files to another user" in problems(tmp_path, owner="root")["owner"]
    for owner in ("ann:", ":", "a b", "a:b:c"):
        with pytest.raises(ValidationError, match="expected an owner such as"):
            Files(directory=tmp_path, owner=owner)


def test_a_quota_is_that_of_a_user_whom_there_is(tmp_path: Path) -> None:
    options: dict[str, Any] = {"user_quotas": {"ann": {"size": "50GiB"}}, "access": "users"}
    assert problems(tmp_path, **options) == {"user_quotas": "there is no user 'ann' in the file of 'users'"}
    assert problems(tmp_path, **options | {"access": ["users", "certificates"]}) == {}
    with pytest.raises(ValidationError, match="expected the name of a user"):
        Files(directory=tmp_path, user_quotas={"../ann": UserQuota()})


QUOTAS: dict[str, Any] = {"user_quota": "5GiB", "user_files": 7, "user_quotas": {"ann": {"size": 1}}}
ANN = f"ann:{hash_password('secret')}\n".encode()


@pytest.mark.parametrize("option", QUOTAS)
def test_a_quota_of_users_needs_a_way_for_them_to_come_in(tmp_path: Path, option: str) -> None:
    quota = {option: QUOTAS[option]}
    for access in (["anyone"], ["tokens", "anyone"]):
        assert problems(tmp_path, access=access, **quota) == {
            option: "nobody comes in as a user: add 'users' or 'certificates' to 'access'"
        }
    assert problems(tmp_path, access=["tokens", "users"], users=ANN, **quota) == {}
    assert problems(tmp_path, access="certificates", **quota) == {}


def test_users_whom_nobody_asks_for_are_told(tmp_path: Path) -> None:
    told = {"users": "nobody is asked for a password or a key: add 'users' to 'access'"}
    for access in ("anyone", "tokens", "certificates"):
        assert problems(tmp_path, access=access, users=ANN) == told
    assert problems(tmp_path, access=["anyone", "users"], users=ANN) == {}


def test_names_are_patterns_and_no_paths(tmp_path: Path) -> None:
    for pattern in ("", "folder/*.pdf"):
        with pytest.raises(ValidationError, match="expected a pattern of a name"):
            Files(directory=tmp_path, names=(pattern,))
    files = Files(directory=tmp_path, names=("*.pdf",))
    assert "over 'raw' files get names such as" in str(files.refuses("raw", stream=True))
    assert files.refuses("http", stream=True) is None
    assert Files(directory=tmp_path, names=("*.bin",)).refuses("raw", stream=True) is None


def test_a_program_that_is_missing_is_told_before_the_start(tmp_path: Path) -> None:
    told = "there is no program '/nowhere/scan', or it may not be executed"
    assert problems(tmp_path, on_received=("/nowhere/scan", "{file}")) == {"on_received": told}
    assert problems(tmp_path, on_received=("sh", "-c", "true")) == {}


def test_an_argument_with_a_null_byte_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="expected arguments without null bytes"):
        Files(directory=tmp_path, on_received=("sh", "a\0b"))
