#!/bin/sh
# Twisted 26.10.0: loseConnection() with a registered push producer closes over TCP, and does not over TLS.
#
# ITransport.loseConnection says that a transport with a registered producer is not closed until the producer has been
# unregistered. TLS keeps to that. TCP closes at once unless the producer is paused at that moment. So a protocol that
# forgets to unregister works in every test over TCP, and leaves its connections open once TLS is put in front of it.
#
# Output seen: TCP: closed / TLS: open
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check 'Twisted[tls]==26.10.0' trustme==1.2.1
cat > "$folder/close.py" <<'PYTHON'
import trustme
from twisted.internet import reactor, ssl
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from zope.interface import implementer

PATIENCE = 2  # seconds, for what takes a millisecond


@implementer(IPushProducer)
class Producer:
    def pauseProducing(self):
        pass

    def resumeProducing(self):
        pass

    def stopProducing(self):
        pass


class Server(Protocol):
    def dataReceived(self, data):
        self.transport.registerProducer(Producer(), True)
        self.transport.write(b"bye")
        self.transport.loseConnection()


class Client(Protocol):
    def connectionMade(self):
        self.transport.write(b"hello")

    def connectionLost(self, reason):
        closed.add(self.factory.name)


def client(name):
    factory = ClientFactory.forProtocol(Client)
    factory.name = name
    return factory


closed = set()
authority = trustme.CA()
pair = authority.issue_cert("localhost")
certificate = ssl.PrivateCertificate.loadPEM(pair.private_key_and_cert_chain_pem.bytes())
port = reactor.listenTCP(0, Factory.forProtocol(Server), interface="127.0.0.1").getHost().port
reactor.connectTCP("127.0.0.1", port, client("TCP"))
port = reactor.listenSSL(0, Factory.forProtocol(Server), certificate.options(), interface="127.0.0.1").getHost().port
reactor.connectSSL("127.0.0.1", port, client("TLS"), ssl.CertificateOptions())
reactor.callLater(PATIENCE, lambda: (seen.update(closed), reactor.stop()))
seen = set()
reactor.run()
print(" / ".join(f"{name}: {'closed' if name in seen else 'open'}" for name in ("TCP", "TLS")))
PYTHON
seen=$("$folder/environment/bin/python" -W ignore "$folder/close.py")
echo "$seen"
[ "$seen" = "TCP: closed / TLS: open" ]
