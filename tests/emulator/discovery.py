"""Answers checked against the discovery documents, which are the contract for shapes."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from jsonschema import Draft202012Validator

_INT64 = r"^-?[0-9]{1,20}$"
_DATETIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$"
_DOCUMENTS = {"v1": "aiplatform.v1", "v1beta1": "aiplatform.v1beta1", "storage": "storage.v1"}

checked: Counter[str] = Counter()
"""How often an answer of each method was found right, by document and id ("v1:aiplatform.projects....get")."""


class Method(NamedTuple):
    id: str
    http_method: str
    path: re.Pattern[str]
    response: str | None


@cache
def document(name: str) -> dict[str, Any]:
    spec = importlib.util.find_spec("googleapiclient")
    assert spec
    assert spec.origin
    path = Path(spec.origin).parent / "discovery_cache" / "documents" / f"{_DOCUMENTS[name]}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@cache
def methods(name: str) -> list[Method]:
    """All methods of a document."""
    found: list[Method] = []
    base = document(name)["servicePath"]

    def walk(resource: dict[str, Any]) -> None:
        for method in resource.get("methods", {}).values():
            path = re.escape(f"/{base}{method.get('flatPath', method['path'])}")
            pattern = re.sub(r"\\\{\w+\\\}", "[^/:]+", path)
            found.append(
                Method(method["id"], method["httpMethod"], re.compile(pattern), method.get("response", {}).get("$ref"))
            )
        for inner in resource.get("resources", {}).values():
            walk(inner)

    walk(document(name))
    return found


def _json_schema(schema: Any) -> Any:
    """A discovery schema as JSON Schema; fields that the document does not know are errors."""
    if isinstance(schema, list):
        return [_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _json_schema(schema[key]) for key in ("items", "additionalProperties", "enum") if key in schema}
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    if "properties" in schema:
        made["properties"] = {key: _json_schema(value) for key, value in schema["properties"].items()}
        made.setdefault("additionalProperties", False)
    if schema.get("type") not in (None, "any"):
        made["type"] = schema["type"]
    pattern = {"int64": _INT64, "uint64": _INT64, "google-datetime": _DATETIME}.get(schema.get("format", ""))
    return made | ({"pattern": pattern} if pattern else {})


@cache
def validator(name: str, ref: str) -> Draft202012Validator:
    definitions = _definitions(name)
    return Draft202012Validator({"$ref": f"#/$defs/{ref}", "$defs": definitions})


@cache
def _definitions(name: str) -> dict[str, Any]:
    return {key: _json_schema(schema) for key, schema in document(name)["schemas"].items()}


def check(http_method: str, path: str, body: Any) -> str | None:
    """Check an answer; the id of the method that gave it, None when no document has that path.

    :raises AssertionError: with every place where the answer is not what the document says
    """
    name = "storage" if path.startswith("/storage/") else path.split("/")[1]
    if name not in _DOCUMENTS:
        return None
    for method in methods(name):
        if method.http_method == http_method and method.path.fullmatch(path):
            for item in body if isinstance(body, list) else [body]:
                _check_message(name, method, item)
            checked[f"{name}:{method.id}"] += 1
            return method.id
    return None


def _check_message(name: str, method: Method, body: Any) -> None:
    if method.response is None:
        return
    errors = [
        f"{error.json_path}: {error.message[:300]}" for error in validator(name, method.response).iter_errors(body)
    ]
    if method.response == "GoogleLongrunningOperation":
        errors += [text for field in ("metadata", "response") for text in _typed_errors(name, body.get(field, {}))]
    assert not errors, f"{method.id}: {errors}"


def _typed_errors(name: str, message: dict[str, Any]) -> list[str]:
    """What is wrong with a message that names its own type."""
    kind = message.get("@type", "").rsplit(".", 1)[-1]
    ref = f"GoogleCloudAiplatform{name.capitalize()}{kind}"
    if ref not in document(name)["schemas"]:
        return []
    body = {key: value for key, value in message.items() if key != "@type"}
    return [f"{kind}{error.json_path[1:]}: {error.message[:300]}" for error in validator(name, ref).iter_errors(body)]


def check_response(response: httpx.Response) -> None:
    """An httpx hook: checks every JSON answer, and that refusals come in the API's envelope."""
    response.read()
    path = response.request.url.path
    if response.status_code == 200 and "json" in response.headers.get("content-type", ""):
        check(response.request.method, path, response.json())
    elif response.status_code >= 400 and path.startswith("/v1"):
        _check_refusal(response)


def _check_refusal(response: httpx.Response) -> None:
    error = response.json()["error"]
    assert set(error) <= {"code", "message", "status", "details"}, error
    assert error["code"] == response.status_code
    assert re.fullmatch(r"[A-Z_]+", error["status"])
    assert error["message"]
    assert all("@type" in detail for detail in error.get("details", []))
