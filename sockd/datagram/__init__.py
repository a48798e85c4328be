"""Shell around a datagram port: reads in bounded batches, and guards the replies.

The source of a datagram is easily forged. So a datagram from a port that must not be answered (well-known
ports and our own: CVE-1999-0103, CVE-2024-2169) is not delivered, and the bytes sent back are bounded by what
the service allows for the bytes received.
"""

from sockd.datagram.loops import Loops
from sockd.datagram.port import DatagramPort

__all__ = ["DatagramPort", "Loops"]
