#!/bin/sh
# curl 7.88.1 (Debian 12) sends no end of the body when it uploads an empty file in chunks, and waits for ever.
#
# A chunked body ends with a chunk of size 0 (RFC 9112, 7.1), an empty one too. From a pipe (-T -) curl sends it. From
# an empty file, with the field that curl documents for chunks, it does not: the server waits for the rest of the body,
# and curl for the answer.
#
# Output seen: file: b'' / pipe: b'0\r\n\r\n'
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
: > "$folder/empty"
cat > "$folder/listen.py" <<'PYTHON'
import socket
import subprocess
import sys


def body(upload):
    """What curl sends behind the header in three seconds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        chunks = ["-H", "Transfer-Encoding: chunked", "-H", "Expect:"]
        curl = subprocess.Popen(["curl", "-s", *chunks, "-T", upload, url], stdin=subprocess.DEVNULL)
        connection, _ = server.accept()
        connection.settimeout(3)
        received = b""
        try:
            while data := connection.recv(65536):
                received += data
        except TimeoutError:
            pass
        curl.kill()
        curl.wait()
        connection.close()
    return received.partition(b"\r\n\r\n")[2]


print(f"file: {body(sys.argv[1])} / pipe: {body('-')}")
PYTHON
seen=$(python3 "$folder/listen.py" "$folder/empty")
printf "%s\n" "$seen"
[ "$seen" = "file: b'' / pipe: b'0\\r\\n\\r\\n'" ]
