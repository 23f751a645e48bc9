"""Requests and responses as proto3 JSON, by the schemas of the API's own discovery documents.

Requests: camelCase and snake_case names, enums as names or numbers, int64 as numbers or strings, a single value for a
list. Other values are refused in the words of Google's front end. Responses: only the fields of the API version.
https://protobuf.dev/programming-guides/json/
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from ..errors import InvalidArgument, bad_fields
from ..state import Resource

Schema = dict[str, Any]

MAX_DEPTH: Final = 100
"""Deepest nesting of a message; protobuf's limit."""

# Enum members whose numbers are not their positions in the discovery document (aiplatform/v1/tuning_job.proto).
_ADAPTER_SIZES: Final = ("UNSPECIFIED", "ONE", "FOUR", "EIGHT", "SIXTEEN", "THIRTY_TWO", "TWO")
_NUMBERS: Final = {f"ADAPTER_SIZE_{size}": number for number, size in enumerate(_ADAPTER_SIZES)}


class _Violation(Exception):  # noqa: N818 - as google.rpc.BadRequest calls it
    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path


@cache
def schemas(version: str) -> dict[str, Schema]:
    """The JSON schemas of `v1` or `v1beta1` by full name, from google-api-python-client's discovery documents."""
    spec = importlib.util.find_spec("googleapiclient")
    if spec is None or spec.origin is None:
        raise RuntimeError("google-api-python-client is not installed; its discovery documents are needed")
    documents = Path(spec.origin).parent / "discovery_cache" / "documents"
    document = msgspec.json.decode((documents / f"aiplatform.{version}.json").read_bytes())
    loaded: dict[str, Schema] = document["schemas"]
    return loaded


def full_name(version: str, message: str) -> str:
    """`GoogleCloudAiplatformV1TuningJob` of `v1` and `TuningJob`; full names stay."""
    prefix = f"GoogleCloudAiplatform{version.capitalize()}"
    return message if message in schemas(version) else prefix + message


def camel(name: str) -> str:
    """`hyperParameters` of `hyper_parameters`."""
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


def snake(name: str) -> str:
    """`hyper_parameters` of `hyperParameters`."""
    return re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)


def decode(body: bytes) -> Any:
    """Any JSON value; an empty body is an empty object.

    :raises InvalidArgument: the body is not JSON, not UTF-8, or nested too deeply
    """
    try:
        return msgspec.json.decode(body) if body.strip() else {}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"Invalid JSON payload received. {error}") from None


def parse(version: str, message: str, body: bytes) -> Resource:
    """The request body as a message in canonical form: camelCase, enum names, int64 as strings, no output-only fields.

    :param message: short name of the message in the discovery document ("TuningJob")
    :raises InvalidArgument: has one violation for each wrong field
    """
    ref = full_name(version, message)
    violations: list[_Violation] = []
    result = _Reader(schemas(version), violations).message(ref, decode(body), snake(message[0].lower() + message[1:]))
    if violations:
        details = [bad_fields((violation.path, str(violation)) for violation in violations)]
        raise InvalidArgument("\n".join(str(violation) for violation in violations), details=details)
    return result


class _Reader:
    """Walks a value along a schema and collects violations."""

    def __init__(self, all_schemas: dict[str, Schema], violations: list[_Violation]) -> None:
        self.schemas = all_schemas
        self.violations = violations

    def message(self, ref: str, value: Any, path: str, depth: int = 0) -> Resource:
        if not isinstance(value, dict) or depth > MAX_DEPTH:
            self._refuse(path, f"type.googleapis.com/{ref}", value)
            return {}
        result = {}
        for key, item in value.items():
            name, schema = self._property(ref, key)
            if schema is None:
                text = f"Invalid JSON payload received. Unknown name {quote(key)} at '{path}': Cannot find field."
                self.violations.append(_Violation(path, text))
            elif item is not None and not schema.get("readOnly"):
                result[name] = self.value(name, schema, item, f"{path}.{snake(name)}", depth + 1)
        return result

    def _property(self, ref: str, key: str) -> tuple[str, Schema | None]:
        properties = self.schemas[ref].get("properties", {})
        name = key if key in properties else camel(key)
        return name, properties.get(name)

    def value(self, name: str, schema: Schema, value: Any, path: str, depth: int) -> Any:
        if "$ref" in schema:
            return self.message(schema["$ref"], value, path, depth)
        if schema["type"] == "array":
            items = value if isinstance(value, list) else [value]
            return [self.value(name, schema["items"], item, f"{path}[{i}]", depth) for i, item in enumerate(items)]
        if schema["type"] == "object":
            return self._map(name, schema, value, path, depth)
        return self._scalar(name, schema, value, path)

    def _map(self, name: str, schema: Schema, value: Any, path: str, depth: int) -> Any:
        if not isinstance(value, dict):
            return self._refuse(path, "Map", value)
        inner = schema.get("additionalProperties", {"type": "any"})
        return {key: self.value(name, inner, item, path, depth + 1) for key, item in value.items()}

    def _scalar(self, name: str, schema: Schema, value: Any, path: str) -> Any:
        if "enum" in schema:
            return _enum(schema["enum"], value) or self._refuse(path, snake(name), value)
        kind = schema.get("format") or schema["type"]
        convert: Callable[[Any], Any] = _SCALARS.get(kind, _text)
        try:
            return convert(value)
        except (ValueError, TypeError, OverflowError):
            return self._refuse(path, _TYPE_NAMES.get(kind, "TYPE_STRING"), value)

    def _refuse(self, path: str, kind: str, value: Any) -> Any:
        self.violations.append(_Violation(path, f"Invalid value at '{path}' ({kind}), {quote(value)}"))


def quote(value: Any) -> str:
    """A value as JSON, cut if it is long."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 200 else text[:200] + "..."


def _enum(members: list[str], value: Any) -> str | None:
    if isinstance(value, str):
        return value if value in members else None
    known = {_NUMBERS.get(member, place): member for place, member in enumerate(members)}
    return known.get(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise TypeError(value)
        if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,20}", value):
            raise ValueError(value)
        number = int(value)
        if number != (value if isinstance(value, float) else number) or not low <= number <= high:
            raise ValueError(value)
        return number

    return convert


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


_int64 = _integer(-(2**63), 2**63 - 1)
_uint64 = _integer(0, 2**64 - 1)
_SCALARS: Final[dict[str, Callable[[Any], Any]]] = {
    "int64": lambda value: str(_int64(value)),
    "uint64": lambda value: str(_uint64(value)),
    "int32": _integer(-(2**31), 2**31 - 1),
    "double": _double,
    "float": _double,
    "boolean": _boolean,
    "any": lambda value: value,
}
_TYPE_NAMES: Final = {
    "int64": "TYPE_INT64",
    "uint64": "TYPE_UINT64",
    "int32": "TYPE_INT32",
    "double": "TYPE_DOUBLE",
    "float": "TYPE_FLOAT",
    "boolean": "TYPE_BOOL",
}


def present(version: str, message: str, resource: Resource) -> Resource:
    """The resource with only the fields that the message has in that version of the API."""
    return _project(schemas(version), full_name(version, message), resource)


def _project(all_schemas: dict[str, Schema], ref: str, resource: Resource) -> Resource:
    properties = all_schemas[ref].get("properties", {})
    return {
        name: _project_value(all_schemas, properties[name], value)
        for name, value in resource.items()
        if name in properties
    }


def _project_value(all_schemas: dict[str, Schema], schema: Schema, value: Any) -> Any:
    if "$ref" in schema and isinstance(value, dict):
        return _project(all_schemas, schema["$ref"], value)
    if schema.get("type") == "array":
        return [_project_value(all_schemas, schema["items"], item) for item in value]
    return value
