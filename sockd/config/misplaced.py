"""Keys that exist but stand in the wrong table, as newcomers put them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from sockd.config.diagnose import known_keys
from sockd.config.document import Document, Faults, sentence
from sockd.config.limits import Limits
from sockd.config.listen import Listener
from sockd.config.model import Daemon, Log, ServiceTable
from sockd.config.positions import KeyPath

_KINDS: Mapping[KeyPath, str] = {
    (): "a key of the service itself",
    ("options",): "an option of the plugin",
    ("limits",): "a limit",
}
"""By the table of a service that they stand in."""


def tell_misplaced(
    document: Document, service: KeyPath, plugin: type[BaseModel] | None, faults: Faults
) -> bool:
    """Add faults for keys of a service that belong into another of its tables.

    Args:
        document: the file.
        service: the path of the service's table.
        plugin: the class whose options it takes, if that is known.
        faults: takes the faults.

    Returns:
        True if options of the plugin are among them.
    """
    homes = {
        (): set(known_keys(ServiceTable, ())),
        ("options",): set(known_keys(plugin, ())) if plugin is not None else set(),
        ("limits",): set(known_keys(Limits, ())),
    }
    misplaced = False
    for table, own in homes.items():
        if table == ("options",) and plugin is None:
            continue
        for key in _keys(document.get((*service, *table))):
            if key in own:
                continue
            home = next((home for home, keys in homes.items() if key in keys), None)
            if home is not None:
                place = ".".join(("service", str(service[1]), *home))
                what = f"'{key}' is {_KINDS[home]}: it belongs into [{place}]"
                misplaced |= home == ("options",)
            elif not table and key in Listener.model_fields:
                what = f"'{key}' belongs to a listener: listen = [{{ endpoint = \"tcp:7007\", {key} = … }}]"
            else:
                continue
            path = (*service, *table, key)
            faults.add_key(document, path, sentence(service, what), found=key)
    return misplaced


def tell_stray(document: Document, key: str, faults: Faults) -> None:
    """Add a fault for a table's key outside of all tables, or for a service without `service.`."""
    tables: Mapping[str, type[BaseModel]] = {"daemon": Daemon, "log": Log, "limits": Limits}
    home = next((name for name, model in tables.items() if key in model.model_fields), None)
    value = document.get((key,))
    if home is not None:
        faults.add_key(document, (key,), f"'{key}' belongs into [{home}]", found=key)
    elif isinstance(value, dict) and "plugin" in value:
        faults.add_key(
            document, (key,), f"unknown key '{key}': a service is written [service.{key}]", found=key
        )


def _keys(table: object) -> Iterable[str]:
    return table if isinstance(table, dict) else ()
