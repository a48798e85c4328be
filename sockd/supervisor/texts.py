"""The configuration as text: read once, and then the same for every worker, whatever becomes of the files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import tomli

from sockd.config import Config, Document, FindPlugin, load_document
from sockd.config.document import read
from sockd.config.load import TABLES
from sockd.config.positions import find_spans
from sockd.errors import ConfigError, Fault

Texts = Sequence[tuple[str, str, str]]
"""Name, folder and text of each file; the first is the main one."""


def read_texts(path: Path, include: Iterable[str]) -> Texts:
    """The text of a file, and of those that it includes.

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
    """What `config.load` made of the files, with the options of plugins checked.

    Whatever concerns more than one file was checked when they were read.

    Raises:
        ConfigError: with the faults of all files.
    """
    main, *included = (
        Document(name, text, tomli.loads(text), find_spans(text), Path(folder))
        for name, folder, text in texts
    )
    tables = {key: main.data[key] for key in TABLES if key in main.data}
    if "daemon" in tables:
        tables["daemon"] = {key: value for key, value in tables["daemon"].items() if key != "include"}
    configs: list[Config] = []
    faults: list[Fault] = []
    for document in (main, *included):
        # The tables of the main file hold for the services of each.
        data = {**tables, "service": document.data.get("service", {})}
        try:
            configs.append(load_document(replace(document, data=data), find_plugin))
        except ConfigError as error:
            faults.extend(error.faults)
    if faults:
        raise ConfigError(faults)
    services = {name: service for config in configs for name, service in config.services.items()}
    return replace(configs[0], services=services)
