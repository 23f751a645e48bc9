"""What the tests of Cloud Storage share."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import secrets
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any
from unittest import mock

import google_crc32c
import httpx
import jsonschema
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

KIB = 1024
QUANTUM = 256 * KIB


@contextmanager
def storage_client(url: str) -> Iterator[Client]:
    """The official client, pointed at an emulator the way its documentation says."""
    with mock.patch.dict("os.environ", {"STORAGE_EMULATOR_HOST": url}):
        client = Client(project="my-project", credentials=AnonymousCredentials())
        yield client
        client.close()


def new_name(prefix: str = "bucket") -> str:
    return f"{prefix}-{secrets.token_hex(6)}"


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


@functools.cache
def discovery() -> Any:
    """Google's own description of the API, as its Python client ships it."""
    path = files("googleapiclient") / "discovery_cache" / "documents" / "storage.v1.json"
    return json.loads(path.read_text(encoding="utf-8"))


def check_schema(resource: Any, schema: str) -> None:
    """Assert that a response is such a resource: known fields only, each of its type."""
    schemas = {name: _strict(body) for name, body in discovery()["schemas"].items()}
    jsonschema.validate(resource, {"$ref": f"#/schemas/{schema}", "schemas": schemas})


def _strict(schema: Any) -> Any:
    """The schema with references that resolve, and without room for unknown fields."""
    if "$ref" in schema:
        return {"$ref": f"#/schemas/{schema['$ref']}"}
    made = {"type": schema["type"]}
    if "properties" in schema:
        made["properties"] = {name: _strict(field) for name, field in schema["properties"].items()}
        made["additionalProperties"] = False
    for name in ("items", "additionalProperties"):
        if name in schema:
            made[name] = _strict(schema[name])
    return made


class Http:
    """Plain HTTP to one bucket of an emulator."""

    def __init__(self, url: str, bucket: str) -> None:
        self.client = httpx.Client(base_url=url, timeout=30)
        self.bucket = bucket
        self.objects = f"/storage/v1/b/{bucket}/o"
        self.uploads = f"/upload/storage/v1/b/{bucket}/o"

    def put(self, name: str, content: bytes = b"content", **params: Any) -> dict[str, Any]:
        """Upload an object; its resource."""
        response = self.upload(name, content, **params)
        assert response.status_code == 200, response.text
        made: dict[str, Any] = response.json()
        return made

    def upload(
        self, name: str, content: bytes = b"content", headers: dict[str, str] | None = None, **params: Any
    ) -> httpx.Response:
        query = {"uploadType": "media", "name": name} | params
        return self.client.post(self.uploads, params=query, content=content, headers=headers)

    def object(self, name: str) -> str:
        """The path of an object's resource."""
        return f"{self.objects}/{quoted(name)}"

    def read(self, name: str, **params: Any) -> bytes:
        response = self.client.get(self.object(name), params={"alt": "media"} | params)
        assert response.status_code in (200, 206), response.text
        return response.content

    def start(self, name: str, headers: dict[str, str] | None = None, **params: Any) -> str:
        """Open a resumable session; its address."""
        query = {"uploadType": "resumable", "name": name} | params
        response = self.client.post(self.uploads, params=query, headers=headers)
        assert response.status_code == 200, response.text
        return response.headers["location"]

    def chunk(self, session: str, content: bytes, span: str, **headers: str) -> httpx.Response:
        """Send a chunk; `span` is what follows `bytes ` in Content-Range."""
        return self.client.put(session, content=content, headers={"content-range": f"bytes {span}"} | headers)


def quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


@contextmanager
def http_bucket(url: str, **fields: Any) -> Iterator[Http]:
    """A new bucket, spoken to over plain HTTP."""
    http = Http(url, new_name())
    response = http.client.post("/storage/v1/b", params={"project": "p"}, json={"name": http.bucket} | fields)
    assert response.status_code == 200, response.text
    yield http
    http.client.close()


def error_of(response: httpx.Response, status: int, reason: str) -> str:
    """The message of a refusal, after checking that it is this one in the service's envelope."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["code"] == status
    assert error["errors"] == [{"message": error["message"], "domain": "global", "reason": reason}]
    return str(error["message"])


def copy(http: Http, params: dict[str, Any], source: str = "other", target: str = "a") -> httpx.Response:
    path = f"{http.object(source)}/copyTo/b/{http.bucket}/o/{target}"
    return http.client.post(path, params=params)


def rewrite(http: Http, params: dict[str, Any], source: str = "other", target: str = "a") -> httpx.Response:
    path = f"{http.object(source)}/rewriteTo/b/{http.bucket}/o/{target}"
    return http.client.post(path, params=params)


def compose(http: Http, params: dict[str, Any]) -> httpx.Response:
    return http.client.post(f"{http.object('a')}/compose", params=params, json={"sourceObjects": [{"name": "other"}]})


def resumable(http: Http, params: dict[str, Any]) -> httpx.Response:
    return http.chunk(http.start("a", **params), b"new", "0-2/3")
