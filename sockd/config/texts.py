"""Configuration as text: read once, and the same for every worker, even if the files change."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from sockd.config import Config, FindPlugin, load_document
from sockd.config.document import parsed, read

Texts = Sequence[tuple[str, str, str]]
"""Name, folder and text of each file; the first is the main one."""


def read_texts(path: Path, include: Iterable[str]) -> Texts:
    """Return the texts of a file and of its includes.

    Raises:
        ConfigError: one cannot be read or is not TOML.
    """
    main = read(path)
    found, seen = [main], {os.path.realpath(path)}
    for pattern in include:
        for name in sorted(glob.glob(pattern, root_dir=main.folder)):
            file = main.folder / name
            if os.path.realpath(file) not in seen:
                seen.add(os.path.realpath(file))
                found.append(read(file, str(Path(main.name).parent / name)))
    return [(document.name, str(document.folder), document.text) for document in found]


def load_texts(texts: Texts, find_plugin: FindPlugin | None) -> Config:
    """Return the configuration of texts as `config.load` does, with the options of plugins checked.

    Raises:
        ConfigError: with the faults of all files.
    """
    main, *included = (parsed(name, text, Path(folder)) for name, folder, text in texts)
    return load_document(main, find_plugin, included=included)
