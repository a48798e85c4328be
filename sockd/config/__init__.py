"""TOML text -> validated values -> located faults. Knows nothing of Twisted.

`load` reads a file and what it includes into a `Config`; whatever is wrong comes as one `ConfigError`
with every fault at its line and column, and `render` shows a fault as a person reads it.
"""

from sockd.config.document import Document, Secret, Text
from sockd.config.faults import as_dict, render, report
from sockd.config.load import FindPlugin, load, load_document
from sockd.config.model import Config, Daemon, Limits, Listener, Log, ServiceConfig, SocketOptions
from sockd.config.positions import KeyPath, Span
from sockd.config.written import Duration, Size

__all__ = [
    "Config",
    "Daemon",
    "Document",
    "Duration",
    "FindPlugin",
    "KeyPath",
    "Limits",
    "Listener",
    "Log",
    "Secret",
    "ServiceConfig",
    "Size",
    "SocketOptions",
    "Span",
    "Text",
    "as_dict",
    "load",
    "load_document",
    "render",
    "report",
]
