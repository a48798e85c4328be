"""Validation of a document's table by its model: types as strict as TOML's, every fault in one run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sockd.config.diagnose import diagnose, steps_in
from sockd.config.document import Document, Faults, Secret, sentence
from sockd.config.outside import MAX_SECRET, is_secret_file, read_secret
from sockd.config.positions import KeyPath

M = TypeVar("M", bound=BaseModel)

_SCALAR_TYPES = {"bool_type", "int_type", "float_type", "string_type"}


def validate(model: type[M], document: Document, table: KeyPath, faults: Faults) -> M | None:
    """Return the table as an instance of its model, empty if it is missing; None if it has faults."""
    context = {"folder": document.folder, "kept": {}}
    try:
        value, errors = _attempt(model, document, table, context)
        while found := dict(_secret_files(document, table, errors)):
            secrets = {path: _secret(document, path, most, faults) for path, most in found.items()}
            document = document.with_values(secrets)
            value, errors = _attempt(model, document, table, context)
        loose = _loose_types(model, document, table, context)
    except Exception as error:  # the validators of a plugin are its author's code and raise anything
        message = f"the plugin cannot check its options: {type(error).__name__}: {error}"
        faults.add(document, table, sentence(table, " ".join(message.split())))
        return None
    diagnose(errors, model, document, table, faults)
    diagnose(loose, model, document, table, faults)
    return None if errors or loose else value


def _attempt(
    model: type[M], document: Document, table: KeyPath, context: Mapping[str, Any]
) -> tuple[M | None, list[ErrorDetails]]:
    """Validate in pydantic's lax mode, where arrays do for tuples and strings for paths."""
    try:
        return model.model_validate(_data(document, table), context=context), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _loose_types(
    model: type[BaseModel], document: Document, table: KeyPath, context: Mapping[str, Any]
) -> list[ErrorDetails]:
    """Return errors for the values that pydantic's lax mode accepts as another type: "yes" for true, "5" for
    5.

    Its strict mode finds them; by way of JSON, as there an array is a tuple. Text without a type is accepted.
    """
    data = _data(document, table)
    errors: list[ErrorDetails] = []
    try:
        text = json.dumps(data, default=str)
        model.model_validate_json(text, strict=True, context=context)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    except Exception:  # a plugin's validator that got a date as text; the values themselves are valid
        return []
    return [
        error
        for error in errors
        if error["type"] in _SCALAR_TYPES
        and error["loc"][-1:] != ("[key]",)  # keys are always text
        and type(document.get((*table, *steps_in(data, error["loc"])))) in (bool, int, float, str)
    ]


def _data(document: Document, table: KeyPath) -> object:
    data = document.get(table)
    return {} if data is None else data


def _secret_files(
    document: Document, table: KeyPath, errors: Iterable[ErrorDetails]
) -> Iterator[tuple[KeyPath, int]]:
    """Yield where `{ file = "…" }` stands for a value that is not a table, and how many bytes it may have."""
    for error in errors:
        path = (*table, *steps_in(_data(document, table), error["loc"]))
        not_taken = error["type"].endswith(("_type", "literal_error", "enum"))
        if not_taken and is_secret_file(document.get(path)):
            yield path, error.get("ctx", {}).get("max_file", MAX_SECRET)


def _secret(document: Document, path: KeyPath, most: int, faults: Faults) -> Secret:
    file = document.get(path)["file"]
    try:
        secret = read_secret(document.folder / file, most)
    except ValueError as error:
        faults.add(document, path, sentence(path, str(error)))
        return Secret()
    faults.hide(secret, f'{{ file = "{file}" }}')
    return secret
