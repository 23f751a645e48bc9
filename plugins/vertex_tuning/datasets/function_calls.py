"""Convert tools and tool calls of chat completions to Gemini's function declarations and function parts. Pure."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from vertex_tuning.datasets.findings import key_of
from vertex_tuning.datasets.formats import conversion_error, require_known
from vertex_tuning.datasets.rows import UNREADABLE_ROW

_TYPES: Final = ("string", "number", "integer", "boolean", "array", "object")
_SAME: Final = (
    "format",
    "title",
    "description",
    "nullable",
    "default",
    "minItems",
    "maxItems",
    "required",
    "minProperties",
    "maxProperties",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "additionalProperties",
)
"""Fields that a JSON schema and Gemini's schema share.

Source: https://docs.cloud.google.com/gemini-enterprise-agent-platform/reference/rest/v1beta1/Schema.
"""
_NULL: Final = {"type": "null"}
_KNOWN: Final = {"type", "enum", "properties", "items", "anyOf", "$schema", *_SAME}


class Call(NamedTuple):
    """A call of a function."""

    id: str
    name: str
    arguments: dict[str, Any]


def read_calls(calls: object, path: str) -> list[Call]:
    """Read `tool_calls` of an assistant's message.

    :param path: JSON path of the message
    :raises ConversionError: a call has another form
    """
    place = f"{path}.tool_calls"
    found = [_call(call, place) for call in calls] if isinstance(calls, list) else []
    if not found or len({call.id for call in found}) != len(found):
        raise conversion_error("part", place, calls, "a list of calls, each with its own id")
    return found


def _call(call: object, path: str) -> Call:
    expected = 'calls {"id": …, "type": "function", "function": {"name": …, "arguments": …}}'
    if not isinstance(call, dict) or not isinstance(call.get("function"), dict) or call.get("type") != "function":
        raise conversion_error("part", path, call, expected)
    function = call["function"]
    if not isinstance(call.get("id"), str) or not isinstance(function.get("name"), str) or not function["name"]:
        raise conversion_error("part", path, call, expected)
    require_known(call, {"id", "type", "function", "index"}, path)
    require_known(function, {"name", "arguments"}, f"{path}.function")
    arguments = function.get("arguments") or "{}"
    values = _json_object(arguments)
    if values is None:
        raise conversion_error("function", f"{path}.function.arguments", arguments, "a JSON object as text")
    return Call(call["id"], function["name"], values)


def _json_object(text: object) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text) if isinstance(text, str) else None
    except UNREADABLE_ROW:
        return None
    return value if isinstance(value, dict) else None


def call_part(call: Call) -> dict[str, Any]:
    """The part of a turn with a call. Gemini needs no id: responses have the order of the calls."""
    return {"functionCall": {"name": call.name, "args": call.arguments}}


def response_part(name: str, content: str) -> dict[str, Any]:
    """The part of a turn with the response of a function: an object, or a text as its `output`."""
    values = _json_object(content)
    return {"functionResponse": {"name": name, "response": {"output": content} if values is None else values}}


def read_tools(tools: object, path: str) -> list[dict[str, Any]]:
    """Convert `tools` to function declarations.

    :raises ConversionError: a tool has another form, or its schema has a field that Gemini's schema does not have
    """
    if not isinstance(tools, list):
        raise conversion_error("type", path, tools, "a list of tools")
    return [{"functionDeclarations": [_declaration(tool, f"{path}[{index}]") for index, tool in enumerate(tools)]}]


def _declaration(tool: object, path: str) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type") != "function" or not isinstance(tool.get("function"), dict):
        raise conversion_error("tools", path, tool, 'a tool {"type": "function", "function": {"name": …}}')
    require_known(tool, {"type", "function"}, path)
    function, path = tool["function"], f"{path}.function"
    # `strict` says how OpenAI's service generates arguments, and nothing about the function.
    require_known(function, {"name", "description", "parameters", "strict"}, path)
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise conversion_error("function", f"{path}.name", function.get("name"), "the function's name")
    declaration = {"name": function["name"]}
    if function.get("description"):
        declaration["description"] = function["description"]
    if function.get("parameters"):
        declaration["parameters"] = _schema(function["parameters"], f"{path}.parameters")
    return declaration


def _schema(schema: object, path: str) -> dict[str, Any]:
    """Convert a JSON schema.

    :raises ConversionError: it says more than Gemini's schema can
    """
    if not isinstance(schema, dict):
        raise conversion_error("tools", path, schema, "a JSON schema")
    for key, found in schema.items():
        if key not in _KNOWN:
            listed = ", ".join(sorted(_KNOWN))
            raise conversion_error("tools", path + key_of(key), found, f"only {listed}, as Gemini's schema has no more")
    converted = {**_type(schema, path), **{key: schema[key] for key in _SAME if key in schema}}
    if "enum" in schema:
        converted["enum"] = _enumeration(schema["enum"], f"{path}.enum")
    if "items" in schema:
        converted["items"] = _schema(schema["items"], f"{path}.items")
    if "anyOf" in schema:
        converted |= _alternatives(schema["anyOf"], f"{path}.anyOf")
    if "properties" in schema:
        converted["properties"] = _properties(schema["properties"], f"{path}.properties")
    return converted


def _type(schema: dict[str, Any], path: str) -> dict[str, Any]:
    if "type" not in schema:
        return {}
    given = schema["type"]
    types = list(given) if isinstance(given, list) else [given]
    others = [name for name in types if name != "null"]
    if len(others) != 1 or others[0] not in _TYPES:
        raise conversion_error("tools", f"{path}.type", given, f"one of {', '.join(_TYPES)}")
    return {"type": others[0].upper(), **({"nullable": True} if len(types) > 1 else {})}


def _enumeration(values: object, path: str) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise conversion_error("tools", path, values, "a list of texts")
    return values


def _alternatives(schemas: object, path: str) -> dict[str, Any]:
    if not isinstance(schemas, list):
        raise conversion_error("tools", path, schemas, "a list of schemas")
    kept = [_schema(item, f"{path}[{index}]") for index, item in enumerate(schemas) if item != _NULL]
    return {"anyOf": kept, **({"nullable": True} if len(kept) < len(schemas) else {})}


def _properties(properties: object, path: str) -> dict[str, Any]:
    if not isinstance(properties, dict):
        raise conversion_error("tools", path, properties, "an object of schemas")
    return {name: _schema(schema, path + key_of(name)) for name, schema in properties.items()}
