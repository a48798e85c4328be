#!/bin/sh
# Twisted 26.10.0 closes a connection that begins with "PROXY UNKNOWN\r\n".
#
# The PROXY protocol (haproxy.org, proxy-protocol.txt, 2.1) has this line as the short form for connections whose
# addresses the proxy does not know, such as its own health checks: the receiver must accept them and use the real
# addresses of the connection. Twisted accepts the long form alone, in which addresses follow that nobody may use.
#
# Output seen: short form: closed / long form: b'hello' from 192.168.1.1
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check Twisted==26.10.0
cat > "$folder/unknown.py" <<'PYTHON'
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.protocols.haproxy import proxyEndpoint


class Endpoint:
    """Keeps the factory that it is given."""

    def listen(self, factory):
        self.factory = factory


class Shown(Protocol):
    def dataReceived(self, data):
        seen.append(f"{data!r} from {self.transport.getPeer().host}")

    def connectionLost(self, reason):
        seen.append("closed")


seen = []
for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ::1 ::1 1 2\r\n"):
    endpoint = Endpoint()
    proxyEndpoint(endpoint).listen(Factory.forProtocol(Shown))
    transport = StringTransportWithDisconnection()
    transport.protocol = endpoint.factory.buildProtocol(None)
    transport.protocol.makeConnection(transport)
    transport.protocol.dataReceived(header + b"hello")
print(f"short form: {seen[0]} / long form: {seen[1]}")
PYTHON
seen=$("$folder/environment/bin/python" "$folder/unknown.py")
echo "$seen"
[ "$seen" = "short form: closed / long form: b'hello' from 192.168.1.1" ]
