"""The shell around a datagram port: reads in bounded batches, and guards what is answered.

A datagram's source is easily forged. So nothing is delivered that must not be answered (well-known and
our own ports: CVE-1999-0103, CVE-2024-2169), and no more goes back than the service allows for what came.
"""

from sockd.datagram.loops import Loops
from sockd.datagram.port import DatagramPort

__all__ = ["DatagramPort", "Loops"]
