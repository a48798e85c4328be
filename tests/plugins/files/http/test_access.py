from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest

from sockd_plugins.files.access.credentials import make_token
from sockd_plugins.files.access.shares import Shares
from sockd_plugins.files.storage.sender import Share
from tests.plugins.files.http.client import Reply, Service

HASHED = "$scrypt$ln=4,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$qZhEfTwICSXByfxC9mbEkzGSX5KmzAvMx/tJ1vfvyxg"


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Service]:
    """Return a service that asks for a token or a user."""
    service = Service(tmp_path / "received", means=("tokens", "users"), users=f"ann:{HASHED}")
    yield service
    service.stop()


def put(service: Service, target: str, **headers: str) -> Reply:
    return service.connect().asks("PUT", target, b"hello", **headers).reads_one("PUT")


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def test_without_a_token_nothing_is_stored(closed: Service) -> None:
    reply = put(closed, "/a.txt")
    assert (reply.status, reply.text) == (
        401,
        "error denied: expected a token or a user with a password or key\n",
    )
    assert not (closed.folder / "a.txt").exists()
    assert put(closed, "/a.txt", authorization="Digest x").status == 401


def test_a_client_that_waits_is_refused_before_it_sends(closed: Service) -> None:
    reply = put(closed, "/a.txt", expect="100-continue")
    assert reply.status == 401


def test_a_token_in_the_path_lets_send_and_stays_in_the_addresses(closed: Service) -> None:
    text, _ = closed.tokens.make(max_files=1)
    reply = put(closed, f"/t/{text}/a.txt")
    assert reply.status == 201
    assert urljoin(f"/t/{text}/a.txt", reply.headers["location"]) == f"/t/{text}/a.txt"
    assert (closed.folder / "a.txt").read_bytes() == b"hello"
    again = put(closed, f"/t/{text}/b.txt")
    assert again.status == 403
    assert again.text.endswith("is used up: 1 of 1 file sent\n")


def test_a_token_may_be_the_bearers(closed: Service) -> None:
    text, token = closed.tokens.make(folder="in", max_size=7)
    assert put(closed, "/a.txt", authorization=f"Bearer {text}").status == 201
    assert (closed.folder / "in" / "a.txt").read_bytes() == b"hello"
    refused = put(closed, "/b.txt", authorization=f"Bearer {text}")
    assert refused.status == 507
    assert f"the token {token.id} may send 7 bytes: 5 are sent, and 5 more do not fit" in refused.text
    assert put(closed, "/a.txt", authorization=f"Bearer {make_token()}").status == 401


def test_a_user_sends_to_a_folder_of_the_users_name(closed: Service) -> None:
    assert put(closed, "/a.txt", authorization=basic("ann", "swordfish")).status == 201
    assert (closed.folder / "ann" / "a.txt").read_bytes() == b"hello"
    assert put(closed, "/a.txt", authorization=basic("ann", "x")).status == 401


def test_the_folder_of_a_user_has_a_quota_that_is_told_before_the_first_byte(tmp_path: Path) -> None:
    shares = Shares(Share(9))
    service = Service(tmp_path / "received", means=("users",), users=f"ann:{HASHED}", shares=shares)
    ann = basic("ann", "swordfish")
    assert put(service, "/a.txt", authorization=ann).status == 201
    client = service.connect().asks(
        "PUT", "/b.txt", authorization=ann, expect="100-continue", content_length="5"
    )
    reply = client.reads_one("PUT")
    assert (reply.status, reply.text) == (
        507,
        "error quota: the folder of ann may hold 9 bytes: 5 are stored, 0 are being received,"
        " and 5 more do not fit\n",
    )
    service.stop()


def test_a_token_for_one_file_is_left_by_an_upload_that_breaks(closed: Service) -> None:
    text, _ = closed.tokens.make(max_files=1)
    client = closed.connect().sends(
        f"PUT /t/{text}/a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel".encode()
    )
    client.is_cut_off()
    assert put(closed, f"/t/{text}/a.txt").status == 201


def test_a_file_that_was_sent_with_a_used_up_token_may_come_again(closed: Service) -> None:
    text, token = closed.tokens.make(max_files=1, folder="in")
    assert put(closed, f"/t/{text}/a.txt").status == 201
    again = put(closed, f"/t/{text}/a.txt", accept="application/json")
    assert (again.status, again.json["name"], again.json["duplicate"]) == (201, "a.txt", True)
    (closed.folder / "in" / "a.txt").unlink()  # as a program may that takes received files away
    again = put(closed, f"/t/{text}/a.txt", accept="application/json")
    assert (again.status, again.json["name"], again.json["duplicate"]) == (201, "a.txt", True)
    assert os.listdir(closed.folder / "in") == []
    other = closed.connect().asks("PUT", f"/t/{text}/a.txt", b"HELLO").reads_one("PUT")
    assert (other.status, os.listdir(closed.folder / "in")) == (403, [])
    found = closed.tokens.get(token.id)
    assert found is not None
    assert found.files == 1
