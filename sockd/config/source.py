"""Files of a configuration: read again, and checked for changes."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from sockd.config.budget import descriptors_available
from sockd.config.load import FindPlugin, load, with_services
from sockd.config.model import Config


@dataclass(frozen=True, slots=True)
class Source:
    """Configuration file with its includes.

    Attributes:
        path: absolute, as a daemon leaves the folder that it was started in, and that may be removed.
        find_plugin: returns a plugin's class; None leaves the options of plugins unchecked.
    """

    path: Path
    find_plugin: FindPlugin | None

    def load(self) -> Config:
        """Read and check the files as they are now.

        Raises:
            ConfigError: they have faults, or no service to serve.
        """
        config = load(self.path, self.find_plugin, descriptors=descriptors_available())
        return with_services(config, str(self.path))

    def stamp(self, config: Config) -> object:
        """Return a value that changes if a file of this configuration is written, comes or goes."""
        folder = self.path.parent
        included = (name for pattern in config.daemon.include for name in glob.glob(pattern, root_dir=folder))
        return [_stamp(path) for path in (self.path, *(folder / name for name in sorted(included)))]


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return path
    return path, status.st_ino, status.st_size, status.st_mtime_ns
