"""The JSON Schema of a tuning file, from which editors complete and check."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from vertex_tuning.config.tuning import REQUIRED_IN_FILES, Tuning
from vertex_tuning.evaluation.cases import SmokeCase
from vertex_tuning.evaluation.gates import LIMITS
from vertex_tuning.results import PromotionRule

SCHEMA_FILE: Final = "tuning.schema.json"
"""File next to the tuning files, which name it in their first line."""

SCHEMA_LINE: Final = f"# yaml-language-server: $schema={SCHEMA_FILE}"

_PARAM: Final = re.compile(r":param (\w+): (.*?)(?=\n:|\n\n|\Z)", re.DOTALL)


def tuning_schema() -> dict[str, Any]:
    """The schema of a file: of the fields of `Tuning` without `name`, which is the name of the file."""
    schema = Tuning.model_json_schema()
    del schema["properties"]["name"]
    required = {*schema["required"], *REQUIRED_IN_FILES} - {"name"}
    schema["required"] = [field for field in schema["properties"] if field in required]
    schema["properties"]["display_name"] = _not_null(schema["properties"]["display_name"])
    definitions = schema["$defs"]
    for model in _models(Tuning):
        _describe(schema if model is Tuning else definitions[model.__name__], model)
    definitions |= _parts()
    definitions["SmokeTest"]["properties"]["cases"]["items"] = {"$ref": "#/$defs/SmokeCase"}
    definitions["Promotion"]["properties"]["rule"]["$ref"] = "#/$defs/PromotionRule"
    schema["properties"]["gates"]["items"] = {"$ref": "#/$defs/Gate"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Tuning",
        "description": "A recurring tuning of a Gemini model. The name of the file is the name of the tuning.",
    }


def schema_text() -> str:
    """The schema as the content of `SCHEMA_FILE`."""
    return json.dumps(tuning_schema(), indent=2, ensure_ascii=False) + "\n"


def _not_null(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field that is optional in Python only."""
    [schema] = [choice for choice in field["anyOf"] if choice.get("type") != "null"]
    return dict(schema)


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model, and the models of its fields."""
    inner = [kind for field in model.model_fields.values() for kind in _kinds(field.annotation)]
    return [model, *(found for kind in inner for found in _models(kind))]


def _kinds(annotation: Any) -> list[type[BaseModel]]:
    return [
        kind
        for kind in (annotation, *getattr(annotation, "__args__", ()))
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    ]


def _parts() -> dict[str, Any]:
    """The schemas of smoke-test cases, gates and promotion rules."""
    _, parts = msgspec.json.schema_components((SmokeCase, PromotionRule), ref_template="#/$defs/{name}")
    for part in parts.values():
        part["description"] = part["description"].partition("\n\n")[0]
    for struct in (SmokeCase, PromotionRule):
        _describe(parts[struct.__name__], struct)
    number = {"type": ["number", "null"]}
    gate: dict[str, Any] = {
        "type": "object",
        "description": "A limit on a value of the new model.",
        "properties": {"value": {"type": "string"}, **dict.fromkeys(LIMITS, number)},
        "required": ["value"],
        "additionalProperties": False,
    }
    return {**parts, "Gate": gate}


def _describe(schema: dict[str, Any], kind: type[Any]) -> None:
    """Give a schema and its fields the descriptions of a class's docstring."""
    docstring = inspect.getdoc(kind) or ""
    schema["description"] = docstring.partition("\n\n")[0]
    for field, text in _PARAM.findall(docstring):
        if field in schema["properties"]:
            schema["properties"][field]["description"] = " ".join(text.split())
