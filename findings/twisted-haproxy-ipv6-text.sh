#!/bin/sh
# Twisted 26.10.0 names one IPv6 peer in two ways, by the version of the PROXY header that tells of it.
#
# From a header of version 2 getPeer().host is "2001:db8:0:0:0:0:0:1", from one of version 1 and from a connection
# without a proxy it is "2001:db8::1", as RFC 5952 has it. A list of hosts or a count by host, compared as text,
# takes one machine for two, and which one it is changes with a setting of the proxy.
#
# Output seen: version 1: 2001:db8::1 / version 2: 2001:db8:0:0:0:0:0:1
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check Twisted==26.10.0
cat > "$folder/text.py" <<'PYTHON'
import socket
import struct

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport
from twisted.protocols.haproxy import proxyEndpoint


class Endpoint:
    """Keeps the factory that it is given."""

    def listen(self, factory):
        self.factory = factory


class Shown(Protocol):
    def dataReceived(self, data):
        seen.append(self.transport.getPeer().host)


peer, here = "2001:db8::1", "2001:db8::2"
packed = b"".join(socket.inet_pton(socket.AF_INET6, host) for host in (peer, here)) + struct.pack("!HH", 1234, 80)
seen = []
for header in (
    f"PROXY TCP6 {peer} {here} 1234 80\r\n".encode(),
    b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x21, len(packed)) + packed,
):
    endpoint = Endpoint()
    proxyEndpoint(endpoint).listen(Factory.forProtocol(Shown))
    protocol = endpoint.factory.buildProtocol(None)
    protocol.makeConnection(StringTransport())
    protocol.dataReceived(header + b"hello")
print(f"version 1: {seen[0]} / version 2: {seen[1]}")
PYTHON
seen=$("$folder/environment/bin/python" "$folder/text.py")
echo "$seen"
[ "$seen" = "version 1: 2001:db8::1 / version 2: 2001:db8:0:0:0:0:0:1" ]
