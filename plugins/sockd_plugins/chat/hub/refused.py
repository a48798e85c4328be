"""Refusals of requests."""

from __future__ import annotations


class ChatRefused(Exception):
    """Refusal of a request.

    Args:
        code: reason in one word, for programs.
        text: reason for people; empty if the person has been told already.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
