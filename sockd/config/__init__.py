"""Configuration: TOML text -> validated values -> located faults. Imports nothing of Twisted.

`load` reads a file and its includes into a `Config`. All faults come as one `ConfigError`, each with line
and column; `render` shows a fault to a person.
"""

from sockd.config.broker import Broker, Server, server_of
from sockd.config.budget import descriptors_available, descriptors_needed
from sockd.config.conflicts import Examine
from sockd.config.control import Control
from sockd.config.credentials import Key, read_certificate, read_key
from sockd.config.document import Document, Secret, Text
from sockd.config.faults import as_dict, render, report
from sockd.config.limits import Limits
from sockd.config.listen import Listener, ProxyProtocol, SocketOptions, Tls
from sockd.config.load import FindPlugin, load, load_document
from sockd.config.metrics import Metrics
from sockd.config.model import Config, Daemon, Log, ServiceConfig
from sockd.config.networks import read_networks
from sockd.config.positions import KeyPath, Span
from sockd.config.source import Source
from sockd.config.written import Duration, Rate, Size

__all__ = [
    "Broker",
    "Config",
    "Control",
    "Daemon",
    "Document",
    "Duration",
    "Examine",
    "FindPlugin",
    "Key",
    "KeyPath",
    "Limits",
    "Listener",
    "Log",
    "Metrics",
    "ProxyProtocol",
    "Rate",
    "Secret",
    "Server",
    "ServiceConfig",
    "Size",
    "SocketOptions",
    "Source",
    "Span",
    "Text",
    "Tls",
    "as_dict",
    "descriptors_available",
    "descriptors_needed",
    "load",
    "load_document",
    "read_certificate",
    "read_key",
    "read_networks",
    "render",
    "report",
    "server_of",
]
