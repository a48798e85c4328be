#!/bin/sh
# Python 3.11's http.client, and with it urllib, takes a response for whole whose connection ends within the header.
#
# A response that ends before its header does is incomplete, and a client must not take it for a whole one (RFC 9112, 8).
# urlopen returns status 200 without fields and with an empty body. Where the same connection ends within the body it
# raises IncompleteRead. So a server that crashes while it answers looks like one that had nothing to say.
#
# Output seen: in the header: 200 b'' / in the body: IncompleteRead
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/cut.py" <<'PYTHON'
import socket
import threading
import urllib.request
from http.client import HTTPException


def seen(data):
    """What a client sees of a response of which these bytes come."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server, data))
        thread.start()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.getsockname()[1]}/") as response:
                return f"{response.status} {response.read()}"
        except (HTTPException, OSError) as error:
            return type(error).__name__
        finally:
            thread.join()


def answer(server, data):
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(65536)


whole = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello"
print(f"in the header: {seen(whole[:30])} / in the body: {seen(whole[:-2])}")
PYTHON
seen=$(python3 "$folder/cut.py")
printf "%s\n" "$seen"
[ "$seen" = "in the header: 200 b'' / in the body: IncompleteRead" ]
