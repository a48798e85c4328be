"""JSON Schema of the configuration file, from which editors complete, explain and check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema
from typing_extensions import override

from sockd.config.listen import ENDPOINT_SCHEMA, Listener
from sockd.config.load import TABLES
from sockd.config.model import Daemon, ServiceTable

_OUTSIDE = {
    "description": 'From elsewhere: "${NAME}" from the environment, { file = "path" } from a file.',
    "anyOf": [
        {"type": "string", "pattern": r"\$\{"},
        {
            "type": "object",
            "properties": {"file": {"type": "string"}},
            "required": ["file"],
            "additionalProperties": False,
        },
    ],
}

_VALUES = ("default", "examples", "const", "enum")
"""Words of JSON Schema whose values are no schemas."""


def schema(plugins: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a file that may use these plugins, and others unchecked."""
    models: list[type[BaseModel]] = [*TABLES.values(), ServiceTable, Listener, *plugins.values()]
    refs, generated = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_Generator
    )
    definitions = _for_toml(generated["$defs"], names=True)

    def ref(model: type[BaseModel]) -> dict[str, Any]:
        return dict(refs[model, "validation"])

    def defined(model: type[BaseModel]) -> dict[str, Any]:
        found: dict[str, Any] = definitions[ref(model)["$ref"].rpartition("/")[2]]
        return found

    service = defined(ServiceTable)
    listener = {"anyOf": [_for_toml(dict(ENDPOINT_SCHEMA)), ref(Listener)]}
    listeners = service["properties"]["listen"]
    about = {"description": listeners.pop("description")}
    service["properties"]["listen"] = {**about, "anyOf": [{**listeners, "items": listener}, listener]}
    files = defined(Daemon)["properties"]
    patterns = {key: files["include"].pop(key) for key in ("type", "items")}
    files["include"]["anyOf"] = [patterns, patterns["items"]]
    service["properties"]["plugin"]["examples"] = list(plugins)
    service["allOf"] = [
        {
            "if": {"properties": {"plugin": {"const": name}}, "required": ["plugin"]},
            "then": {
                "properties": {"options": ref(plugin)},
                "required": ["options"] if defined(plugin).get("required") else [],
            },
        }
        for name, plugin in plugins.items()
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sockd configuration",
        "type": "object",
        "properties": {
            **{name: ref(model) for name, model in TABLES.items()},
            "service": {"type": "object", "additionalProperties": ref(ServiceTable)},
        },
        "additionalProperties": False,
        "$defs": {**definitions, "outside": _OUTSIDE},
    }


class _Generator(GenerateJsonSchema):
    """Generator that permits anything for a type without JSON Schema, as a plugin may have options of any
    type.
    """

    @override
    def handle_invalid_for_json_schema(
        self, schema: core_schema.CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        return {}


def _for_toml(node: Any, *, names: bool = False) -> Any:
    """Return the schema for TOML: it has no null, and a scalar may come from outside the text.

    Args:
        node: a schema, or a mapping or list of schemas.
        names: whether the keys of the mapping are names rather than words of JSON Schema.
    """
    if isinstance(node, list):
        return [_for_toml(item) for item in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {name: _for_toml(item) for name, item in node.items()}
    made = {
        key: item if key in _VALUES else _for_toml(item, names=key in ("properties", "$defs"))
        for key, item in node.items()
        if key != "title" and not (key == "default" and isinstance(item, (dict, type(None))))
    }
    choices = [choice for choice in made.pop("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return {**choices[0], **made}
    if choices:
        return {**made, "anyOf": choices}
    if _is_scalar(made):
        about = {key: made.pop(key) for key in ("description", "default", "examples") if key in made}
        return {**about, "anyOf": [made, {"$ref": "#/$defs/outside"}]}
    return made


def _is_scalar(node: Mapping[str, Any]) -> bool:
    types = node.get("type", ())
    return bool(
        {"string", "integer", "number", "boolean"} & {*([types] if isinstance(types, str) else types)}
    )
