"""Servers for `sockd send` that say what they like."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable
from contextlib import suppress

import blake3
from click.testing import CliRunner, Result

from sockd.cli.send.command import send

Talk = Callable[[socket.socket], None]
Serve = Callable[[Talk], str]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(send, [str(argument) for argument in arguments])


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def blake(data: bytes) -> str:
    return str(blake3.blake3(data).hexdigest())


class Script:
    """Server that greets, says each line when it has got what is awaited before it, and keeps what it gets.

    Args:
        steps: what to wait for in what it has got, and the answer; an empty one ends its side.
        hello: the greeting.
    """

    def __init__(self, *steps: tuple[bytes, bytes], hello: bytes = b"hello continue chunks drop\n") -> None:
        self.steps = steps
        self.hello = hello
        self.got = b""

    def __call__(self, connection: socket.socket) -> None:
        connection.recv(len(b"hello upload\n"), socket.MSG_WAITALL)
        connection.sendall(self.hello)
        with suppress(OSError):  # the client may have closed
            for awaited, answer in self.steps:
                while awaited not in self.got and (data := connection.recv(65536)):
                    self.got += data
                if answer:
                    connection.sendall(answer)
                else:
                    connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                self.got += data


HELLO = sha256(b"hello").encode()
