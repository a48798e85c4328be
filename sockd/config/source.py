"""The files that a configuration is read from: read anew, and looked at for changes."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from sockd.config.budget import descriptors_available
from sockd.config.load import FindPlugin, load, with_services
from sockd.config.model import Config


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration file with what it includes.

    Attributes:
        path: absolute, for a daemon leaves the folder that it was started in, and that may be removed.
        find_plugin: gives a plugin's class; None leaves the options of plugins unchecked.
    """

    path: Path
    find_plugin: FindPlugin | None

    def load(self) -> Config:
        """Read and check it as it is now. Raises as `load` does, and where there is no service to serve."""
        config = load(self.path, self.find_plugin, descriptors=descriptors_available())
        return with_services(config, str(self.path))

    def stamp(self, config: Config) -> object:
        """Other than before if a file of this configuration has been written, has come or has gone."""
        folder = self.path.parent
        included = (name for pattern in config.daemon.include for name in glob.glob(pattern, root_dir=folder))
        return [_stamp(path) for path in (self.path, *(folder / name for name in sorted(included)))]


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return path
    return path, status.st_ino, status.st_size, status.st_mtime_ns
