#!/bin/sh
# Twisted 26.10.0: a second loseWriteConnection() over TCP ends the whole connection, as lost.
#
# IHalfCloseableDescriptor.loseWriteConnection closes the writing side and leaves the reading side open. Called once, the
# peer can go on sending, and its data arrive. Called again later, when there is nothing left to close, the transport
# tries to write nothing to the side that it has closed, takes the kernel's refusal for a lost connection and closes it:
# the protocol is told ConnectionLost although the peer is there and has more to say. loseConnection() may be called
# any number of times.
#
# Output seen: once: data / twice: ConnectionLost
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/environment"
"$folder/environment/bin/pip" install --quiet --disable-pip-version-check Twisted==26.10.0
cat > "$folder/end.py" <<'PYTHON'
import socket
import threading

from twisted.internet import reactor
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

LATER = 0.2  # seconds, enough for what takes a millisecond


@implementer(IHalfCloseableProtocol)
class HalfClosing(Protocol):
    told = False

    def connectionMade(self):
        self.transport.loseWriteConnection()
        if self.factory.times == 2:
            reactor.callLater(LATER, self.transport.loseWriteConnection)

    def readConnectionLost(self):
        pass

    def writeConnectionLost(self):
        pass

    def dataReceived(self, data):
        self.tell("data")

    def connectionLost(self, reason):
        self.tell(reason.type.__name__)

    def tell(self, what):
        if not self.told:
            self.told = True
            self.factory.seen = what


def speak_late(port):
    with socket.create_connection(("127.0.0.1", port)) as peer:
        done.wait(2 * LATER)
        try:
            peer.sendall(b"more")
        except OSError:
            pass
        done.wait(2 * LATER)


done = threading.Event()
factories = []
for times in (1, 2):
    factory = Factory.forProtocol(HalfClosing)
    factory.times, factory.seen = times, "nothing"
    factories.append(factory)
    port = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port
    threading.Thread(target=speak_late, args=(port,), daemon=True).start()
reactor.callLater(8 * LATER, reactor.stop)
reactor.run()
print(f"once: {factories[0].seen} / twice: {factories[1].seen}")
PYTHON
seen=$("$folder/environment/bin/python" -W ignore "$folder/end.py")
echo "$seen"
[ "$seen" = "once: data / twice: ConnectionLost" ]
