"""Shell around a UNIX stream whose protocol takes file descriptors that the peer passes along."""

from __future__ import annotations

from twisted.internet.interfaces import IFileDescriptorReceiver
from zope.interface import implementer

from sockd.stream.connection import Connection


@implementer(IFileDescriptorReceiver)
class ReceivingConnection(Connection):
    """Connection that reactors know to serve on a transport that can receive descriptors."""

    __slots__ = ()

    def fileDescriptorReceived(self, descriptor: int) -> None:  # noqa: N802  # as Twisted calls it
        """Hand it to the plugin, whose it is from now on."""
        try:
            IFileDescriptorReceiver(self.protocol).fileDescriptorReceived(descriptor)
        except BaseException:  # a plugin may raise anything
            self.fault("fileDescriptorReceived")
