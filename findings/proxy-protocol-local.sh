#!/bin/sh
# proxy-protocol 0.11.3 takes the addresses of a LOCAL header for extensions (TLV) of the protocol.
#
# With the command LOCAL a proxy opens a connection of its own, a health check. The receiver must skip what follows
# the fixed part, addresses too (haproxy.org, proxy-protocol.txt, 2.2), and a proxy may well send them. Here the twelve
# bytes of the addresses and ports are read as if extensions began there: one of the type 192, the first number of the
# address 192.0.2.1, which nobody has sent.
#
# Output seen: with addresses: types [0, 192] / without: types []
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check proxy-protocol==0.11.3
cat > "$folder/local.py" <<'PYTHON'
import asyncio
import socket
import struct

from proxyprotocol.reader import ProxyProtocolReader
from proxyprotocol.v2 import ProxyProtocolV2


async def extensions(family, block):
    """The types of the extensions that are found in a LOCAL header."""
    stream = asyncio.StreamReader()
    stream.feed_data(b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x20, family, len(block)) + block)
    result = await ProxyProtocolReader(ProxyProtocolV2()).read(stream)
    return list(result.tlv)


addresses = socket.inet_aton("192.0.2.1") + socket.inet_aton("192.0.2.2") + struct.pack("!HH", 1234, 80)
found = asyncio.run(extensions(0x11, addresses))
none = asyncio.run(extensions(0x00, b""))
print(f"with addresses: types {sorted(found)} / without: types {none}")
PYTHON
seen=$("$folder/environment/bin/python" "$folder/local.py")
echo "$seen"
[ "$seen" = "with addresses: types [0, 192] / without: types []" ]
