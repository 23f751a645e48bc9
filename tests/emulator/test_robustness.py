"""Bad input of every kind never gets a 500."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from include.gcp_emulator.app import Emulator
from include.gcp_emulator.vertex.proto_json import schemas
from tests.emulator import discovery
from tests.emulator.jobs import TRAIN, VALIDATION, finished, request, upload_datasets
from tests.emulator.vertex import LOCATION, Vertex
from tests.support.emulator import FAST, running_emulator

GENERATED: Final = 10_000
"""Requests made from the discovery documents; the number the project promises."""
JUNK: Final[tuple[Any, ...]] = (
    None, True, 0, -1, 1.5, 1e308, 2**63, 10**400, "", "x", "1", "-1", "\x00", "\u202e", "\U0001d518" * 40, "x" * 5000,
    [], {}, [None], [[]], {"": ""},
    {"a": {"b": {"c": 1}}}, "projects/p/locations/l/models/m@1", "../../etc/passwd", "gs://", "gs://b/o.jsonl",
    "NaN", "Infinity", "2020-01-01T00:00:00Z", "3.5s", "a,b", "state=", "*", TRAIN,
)  # fmt: skip


@pytest.fixture(scope="module")
def vertex() -> Iterator[Vertex]:
    """An emulator of this module's own, whose jobs are not trained: their number is what counts."""
    with running_emulator(concurrent_tuning_jobs=4) as url, Vertex(url) as made:
        upload_datasets(made)
        finished(made, validationDatasetUri=VALIDATION)
        made.client.post("/_internal/lifecycle", json={"script": []}).raise_for_status()
        yield made


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Route]:
    emulator = Emulator(replace(FAST, data_dir=tmp_path_factory.mktemp("routes")))
    emulator.store.close()
    return [route for route in emulator.routes if isinstance(route, Route) and "{version:" in route.path]


class Generator:
    """Requests by the schemas of a document, right in shape or not, more often nearly right."""

    def __init__(self, chance: random.Random, version: str) -> None:
        self.chance, self.schemas = chance, schemas(version)

    def value(self, schema: dict[str, Any], depth: int) -> Any:
        if self.chance.random() < 0.08 or depth > 6:
            return self.chance.choice(JUNK)
        if "$ref" in schema:
            return self.message(schema["$ref"], depth + 1)
        if "enum" in schema:
            return self.chance.choice([*schema["enum"], self.chance.randrange(-1, 9)])
        kinds: dict[str, Callable[[], Any]] = {
            "array": lambda: [self.value(schema["items"], depth + 1) for _ in range(self.chance.randrange(3))],
            "object": lambda: {"k": self.value(schema.get("additionalProperties", {"type": "any"}), depth + 1)},
            "boolean": lambda: self.chance.random() < 0.5,
            "integer": lambda: self.chance.choice([0, 1, 7, -3, 2**31]),
            "number": lambda: self.chance.choice([0, 0.5, 1, -2.5, 1e30]),
        }
        return kinds.get(schema.get("type", ""), lambda: self.text())()

    def text(self) -> str:
        return self.chance.choice(
            ["1", "2", "default", "gemini-2.5-flash", "user", "model", TRAIN, VALIDATION, LOCATION, "x"]
        )

    def message(self, ref: str, depth: int = 0) -> dict[str, Any]:
        properties = self.schemas[ref].get("properties", {})
        chosen = self.chance.sample(sorted(properties), min(len(properties), self.chance.randrange(1, 6)))
        made = {self.cased(name): self.value(properties[name], depth) for name in chosen}
        if self.chance.random() < 0.05:
            made["unknownField"] = 1
        return made

    def cased(self, name: str) -> str:
        return name if self.chance.random() < 0.5 else re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)


class Call(NamedTuple):
    """A method of a document, with what a call of it needs."""

    version: str
    http_method: str
    path: str
    request: str | None


def calls(routes: list[Route]) -> list[Call]:
    """Everything the documents have at a path of the emulator's, whatever the HTTP method."""
    made = []
    for version in ("v1", "v1beta1"):
        for method in discovery.methods(version):
            path = re.sub(r"\\(.)", r"\1", method.path.pattern.replace("[^/:]+", "x"))
            if any(route.path_regex.match(path) for route in routes):
                template = re.sub(r"\\(.)", r"\1", method.path.pattern.replace("[^/:]+", "{}"))
                made.append(Call(version, method.http_method, template, request_ref(version, method.id)))
    return made


def address(chance: random.Random, template: str, ids: dict[str, list[str]]) -> str:
    """The path with ids that are there, mostly."""
    parts = []
    for collection in re.findall(r"(\w+)/\{\}", template):
        likely = ids.get(collection, []) if chance.random() < 0.95 else []
        parts.append(quote(chance.choice(likely or ["x", "%", "a b", "\u00e9", "1@2", "default"]), safe="@"))
    return template.format(*parts)


def send(vertex: Vertex, chance: random.Random, call: Call, ids: dict[str, list[str]]) -> httpx.Response:
    params = {name: chance.choice(JUNK) for name in chance.sample(("filter", "pageSize", "pageToken", "updateMask"), 2)}
    params = params if chance.random() < 0.3 else {}
    body = Generator(chance, call.version).message(call.request) if call.request else chance.choice(JUNK)
    if call.request and call.path.endswith("/tuningJobs") and chance.random() < 0.8:
        body = request() | dict(chance.sample(list(body.items()), 1))
    content = json.dumps(body).encode() if chance.random() < 0.95 else chance.randbytes(20)
    return vertex.client.request(call.http_method, address(chance, call.path, ids), params=params, content=content)


def ids_of(vertex: Vertex) -> dict[str, list[str]]:
    """Ids of what the emulator holds, by collection."""
    state = vertex.client.get("/_internal/state").json()
    kinds = ("tuningJobs", "models", "endpoints", "contexts", "artifacts", "timeSeries", "operations")
    found: dict[str, set[str]] = {}
    for name in (name for kind in kinds for name in state.get(kind, {})):
        parts = name.split("/")
        for collection, resource_id in zip(parts[::2], parts[1::2], strict=True):
            found.setdefault(collection, set()).add(resource_id)
    return {collection: sorted(members) for collection, members in found.items()}


def request_ref(version: str, method_id: str) -> str | None:
    """The schema of a method's request body."""
    resource: Any = discovery.document(version)
    *path, name = method_id.split(".")[1:]
    for part in path:
        resource = resource["resources"][part]
    found: str | None = resource["methods"][name].get("request", {}).get("$ref")
    return found


@pytest.mark.timeout(600)
def test_ten_thousand_generated_requests(vertex: Vertex, routes: list[Route]) -> None:
    chance = random.Random(7)
    choices = calls(routes)
    assert len(choices) > 100
    seen: dict[int, int] = {}
    ids: dict[str, list[str]] = {}
    for number in range(GENERATED):
        ids = ids_of(vertex) if number % 500 == 0 else ids
        response = send(vertex, chance, chance.choice(choices), ids)
        seen[response.status_code] = seen.get(response.status_code, 0) + 1
        assert response.status_code < 500 or response.status_code == 501, (response.request.url, response.text)
    assert seen[200] > 1000
    assert seen[400] > 1000


tree = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


class TestEveryRoute:
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_json(self, vertex: Vertex, routes: list[Route], data: st.DataObject) -> None:
        route = data.draw(st.sampled_from(routes))
        (method,) = (route.methods or set()) - {"HEAD"}
        text = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=8)
        path = re.sub(r"\{version:\w+\}", "v1", route.path)
        path = re.sub(r"\{\w+(:\w+)?\}", lambda _: quote(data.draw(text), safe=""), path)
        body = data.draw(tree)
        response = vertex.client.request(method, path, content=json.dumps(body).encode("utf-8", "replace"))
        assert response.status_code < 500 or response.status_code == 501, (path, body, response.text)

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        spec=tree,
        name=st.sampled_from(["supervisedTuningSpec", "preferenceOptimizationSpec", "preTunedModel", "labels"]),
    )
    def test_any_part_of_a_job(self, vertex: Vertex, spec: Any, name: str) -> None:
        body = {"baseModel": "gemini-2.5-flash", "supervisedTuningSpec": {"trainingDatasetUri": TRAIN}, name: spec}
        assert vertex.call("POST", f"{LOCATION}/tuningJobs", body).status_code in (200, 400, 404)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("state=:\"()AND OR NOT-*<>!.labels\\'x1 \u00e9"), max_size=30))
def test_any_filter(vertex: Vertex, text: str) -> None:
    assert vertex.call("GET", f"{LOCATION}/tuningJobs", filter=text).status_code in (200, 400)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(tree | st.binary(max_size=20), min_size=1, max_size=4))
def test_any_dataset(vertex: Vertex, rows: list[Any]) -> None:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    uri = vertex.upload("gs://junk/rows.jsonl", b"\n".join(lines))
    body = {"baseModel": "gemini-2.5-flash", "supervisedTuningSpec": {"trainingDatasetUri": uri}}
    assert vertex.call("POST", f"{LOCATION}/tuningJobs", body).status_code == 400


@pytest.mark.parametrize("path", ["%2e%2e/x.jsonl", "..%2F..%2Fetc%2Fpasswd.jsonl", "a%00b.jsonl"])
def test_object_names_never_become_paths(vertex: Vertex, tmp_path: Path, path: str) -> None:
    uri = "gs://junk/" + path.replace("%2e", ".").replace("%2F", "/").replace("%00", "\x00")
    body = {"baseModel": "gemini-2.5-flash", "supervisedTuningSpec": {"trainingDatasetUri": uri}}
    error = vertex.refused("POST", f"{LOCATION}/tuningJobs", body)
    assert "does not exist" in error["message"]


def test_control_takes_no_junk(vertex: Vertex) -> None:
    for body in JUNK:
        if isinstance(body, int) and body > 2**63:
            continue
        for path in ("faults", "lifecycle", "quota:exhaust"):
            response = vertex.client.post(f"/_internal/{path}", json=body)
            assert response.status_code in (200, 400), (path, body, response.text)
    vertex.client.delete("/_internal/lifecycle")
