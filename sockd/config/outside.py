"""Values from outside the text: `${NAME}` from the environment, `{ file = "…" }` from a file.

`${NAME}` is replaced anywhere in any string value; `$${` stands for a plain `${`. A table with the one
key `file` stands for the text of that file wherever the key does not take a table. The validation of the
key knows that, so files are read there. One newline at the end of the file is not part of its text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sockd.config.document import Document, Faults, Secret, sentence
from sockd.config.positions import KeyPath
from sockd.reading import Unencoded, Unreadable, read_text

MAX_SECRET = 65536
"""Bytes of a file that stands for a value: ample for a key or a password, and an end to `/dev/zero`."""

_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|\$\{")

_NO_TEXT = re.compile("[\ud800-\udfff]")  # how Python shows bytes that are not UTF-8 (PEP 383)


def expand(document: Document, environ: Mapping[str, str], faults: Faults) -> Document:
    """Return the document with the environment's values in the place of `${NAME}`."""

    def expanded(value: Any, path: KeyPath) -> Any:
        match value:
            case dict():
                return {key: expanded(item, (*path, key)) for key, item in value.items()}
            case list():
                return [expanded(item, (*path, index)) for index, item in enumerate(value)]
            case str() if "${" in value:
                return _filled(document, path, value, environ, faults)
            case int() if not -(2**63) <= value < 2**63:
                faults.add(document, path, sentence(path, "expected a number of at most 64 bits, found more"))
                return 0
        return value

    return replace(document, data=expanded(document.data, ()))


def _filled(document: Document, path: KeyPath, value: str, environ: Mapping[str, str], faults: Faults) -> str:
    """Return a string with its variables replaced; one that cannot be replaced stays, and is a fault."""
    pieces: list[str] = []
    wrong: list[tuple[re.Match[str], str]] = []
    at, outside = 0, False
    for variable in _VARIABLE.finditer(value):
        pieces.append(value[at : variable.start()])
        at = variable.end()
        name = variable["name"]
        if variable[0] == "$${":
            pieces.append("${")
        elif name is None:
            wrong.append((variable, "expected ${NAME}, or $${ for a plain ${"))
        elif name not in environ:
            wrong.append((variable, f"the environment variable {name} is not set"))
        elif _NO_TEXT.search(environ[name]):
            wrong.append((variable, f"the environment variable {name} is not UTF-8"))
        else:
            pieces.append(environ[name])
            faults.hide(environ[name], variable[0])
            outside = True
    if wrong:
        first, _ = wrong[0]
        part = document.part(path, first.start(), len(first[0]))
        faults.mark(document, path, part, sentence(path, "; ".join(message for _, message in wrong)))
        return value
    filled = "".join([*pieces, value[at:]])
    return Secret(filled) if outside else filled


def is_secret_file(value: Any) -> bool:
    """Tell whether a value has the form `{ file = "…" }`."""
    return isinstance(value, dict) and value.keys() == {"file"} and isinstance(value["file"], str)


def read_secret(path: Path, most: int = MAX_SECRET) -> Secret:
    """Return the text of a file that stands for a value, of `most` bytes.

    Raises:
        ValueError: it cannot be read, or it is no text; says so with the path.
    """
    try:
        text = read_text(path, most)
    except Unencoded as error:  # a wrong byte is part of the secret
        raise ValueError(f"cannot read {path}: it is not UTF-8 in line {error.line}") from error
    except Unreadable as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    return Secret(text.removesuffix("\n").removesuffix("\r"))
