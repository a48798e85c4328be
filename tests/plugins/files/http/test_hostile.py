from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from sockd_plugins.files.http.site import Options
from tests.plugins.files.http.client import Service


def request(line: str, *fields: str, body: str = "") -> bytes:
    return "\r\n".join((f"{line} HTTP/1.1", "host: files", *fields, "", body)).encode()


FORM = '--x\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\nA: b\r\n\r\nhello\r\n--x--\r\n'
VALID = (
    request("PUT /a", "content-length: 5", "origin: http://x", body="hello"),
    request("PUT /b?sha256=1", "transfer-encoding: chunked", body="5\r\nhello\r\n0\r\na: b\r\n\r\n"),
    request(
        "POST /", "content-type: multipart/form-data; boundary=x", f"content-length: {len(FORM)}", body=FORM
    ),
    request("PUT /c", "content-range: bytes 0-1/3", "content-length: 2", body="ab"),
    request("GET /a", "range: bytes=0-1", "if-none-match: *", "authorization: Basic YTpi"),
    request("GET /t/aaaaaaaaaaaaaaaaaaaaaaaa/", "accept: text/html"),
    request("POST /", "tus-resumable: 1.0.0", "upload-length: 3", "upload-metadata: filename YQ=="),
    request(
        "PUT /d", "upload-draft-interop-version: 6", "upload-complete: ?1", "content-length: 1", body="a"
    ),
    request("PUT /e", "repr-digest: sha-256=:YQ==:", "content-length: 1", body="a"),
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Build requests of which some bytes are others, missing or repeated."""
    stream = bytearray(b"".join(draw(st.lists(st.sampled_from(VALID), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(stream)))
        stream[start : start + draw(st.integers(0, 5))] = draw(st.binary(max_size=5))
    return bytes(stream)


@given(stream=damaged(), size=st.integers(1, 200), serve=st.booleans())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_are_a_fault_of_the_service(tmp_path: Path, stream: bytes, size: int, serve: bool) -> None:
    with TemporaryDirectory(dir=tmp_path) as folder, capturedLogs() as events:
        service = Service(Path(folder) / "received", options=Options(("*",), serve))
        client = service.connect()
        client.sends(*(stream[start : start + size] for start in range(0, len(stream), size)))
        client.half_closes()
        service.clock.pump([1] * 30)
        assert client.peer.ended.called
        service.stop()
    assert not [event for event in events if event.get("log_failure") is not None]
