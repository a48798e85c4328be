"""Answers to one command, with the label that the client gave it (labeled-response)."""

from __future__ import annotations

from collections.abc import Sequence

from sockd_plugins.chat.irc.message import escaped

_BATCH = "answer"
"""Reference of a batch of answers. It is closed before anything else is sent."""


def labelled(server: str, label: str, lines: Sequence[str]) -> list[str]:
    """Return the lines of an answer as the answer to a labelled command.

    Args:
        server: source of the lines around them.
        label: the command's; empty for none.
        lines: the answer.
    """
    if not label:
        return list(lines)
    tag = f"label={escaped(label)}"
    if not lines:
        return [f"@{tag} :{server} ACK"]
    if len(lines) == 1:
        return [tagged(lines[0], tag)]
    inside = f"batch={_BATCH}"
    return [
        f"@{tag} :{server} BATCH +{_BATCH} labeled-response",
        *(line if line.startswith("@batch=") else tagged(line, inside) for line in lines),
        f":{server} BATCH -{_BATCH}",
    ]


def tagged(line: str, tag: str) -> str:
    """Return a line with one more tag."""
    return f"@{tag};{line[1:]}" if line.startswith("@") else f"@{tag} {line}"
