#!/bin/sh
# curl 7.88.1 (Debian 12) loses a block of a file that it sends by TFTP when the answer to its options arrives twice.
#
# A network may deliver a datagram twice. After the first OACK (RFC 2347) curl sends block 1. After the second one it
# sends the data that follows, again as block 1. A server that takes this for a repeated block (RFC 1350, section 2)
# stores the file without it, and curl ends with 0.
#
# Output seen: block 1: AAAA / block 1: BBBB / block 2: CCCC / curl ends with 0
set -eu
python3 - <<'PYTHON'
import socket
import subprocess
import sys

server = socket.socket(type=socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
server.settimeout(10)
url = f"tftp://127.0.0.1:{server.getsockname()[1]}/file"
curl = subprocess.Popen(["curl", "-sS", "-m", "20", "-T", "-", url], stdin=subprocess.PIPE)
curl.stdin.write(b"A" * 512 + b"B" * 512 + b"C" * 100)
curl.stdin.close()
request, client = server.recvfrom(2048)
answer = b"\0\6" + request.partition(b"octet\0")[2]
server.sendto(answer, client)
server.sendto(answer, client)
expected, blocks = 1, []
while True:
    packet = server.recv(2048)
    number = int.from_bytes(packet[2:4], "big")
    blocks.append((number, packet[4:8].decode()))
    print(f"block {number}: {packet[4:8].decode()}")
    if number == expected:
        server.sendto(b"\0\4" + packet[2:4], client)
        expected += 1
    if len(packet) < 516:
        break
print(f"curl ends with {curl.wait()}")
sys.exit(blocks != [(1, "AAAA"), (1, "BBBB"), (2, "CCCC")] or curl.returncode)
PYTHON
