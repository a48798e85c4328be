"""sockd: one daemon for many small network services, each a Twisted protocol chosen in a TOML file."""

__version__ = "0.1.0"
