from __future__ import annotations

import hashlib

from tests.plugins.files.http.client import Service


def test_a_file_is_stored_before_the_answer(service: Service) -> None:
    reply = service.connect().asks("PUT", "/a.txt", b"hello").reads_one()
    digest = hashlib.sha256(b"hello").hexdigest()
    assert (reply.status, reply.text) == (201, f"ok a.txt 5 sha256={digest}\n")
    assert reply.headers["location"] == "/a.txt"
    assert reply.headers["repr-digest"] == "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"
    assert (service.folder / "a.txt").read_bytes() == b"hello"
