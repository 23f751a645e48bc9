"""Every kind of answer, in both versions, against the discovery documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from include.gcp_emulator.app import Emulator
from tests.emulator import discovery
from tests.emulator.jobs import VALIDATION, finished, get, request, series, upload_datasets
from tests.emulator.vertex import LOCATION, Vertex
from tests.support.emulator import FAST, classification_rows, running_emulator

ONLY_REFUSE = {
    "models.generateContent",
    "models.streamGenerateContent",
}
_PAIR = {"prediction": "the cat sat", "reference": "a cat sat"}
_TEXTS = {name: {"text": "the cat sat"} for name in ("prompt", "response", "reference")}
_TEMPLATE = {"metricPromptTemplate": "{prompt} {response}"}
EVALUATED: tuple[dict[str, Any], ...] = (
    *({f"{name}Input": {"metricSpec": {}, "instances": [_PAIR]}} for name in ("exactMatch", "bleu", "rouge")),
    *(
        {
            f"{name}MetricInput": {
                "metricSpec": _TEMPLATE,
                "instance": {"jsonInstance": '{"prompt": "a", "response": "a"}'},
            }
        }
        for name in ("pointwise", "pairwise")
    ),
    {"metrics": [{"predefinedMetricSpec": {"metricSpecName": "general_quality_v1"}}], "instance": _TEXTS},
)
"""A request of each kind to the evaluation service."""
ASKED = {"contents": [{"role": "user", "parts": [{"text": "My card is late."}]}]}


@pytest.fixture(scope="module")
def vertex() -> Iterator[Vertex]:
    """An emulator of this module's own, in which every kind of resource has been made."""
    with running_emulator(concurrent_tuning_jobs=4) as url, Vertex(url) as made:
        upload_datasets(made)
        yield made


@pytest.fixture(scope="module")
def job(vertex: Vertex) -> dict[str, Any]:
    return finished(vertex, validationDatasetUri=VALIDATION, labels={"a": "b"}, description="d")


@pytest.fixture(scope="module")
def preferring(vertex: Vertex) -> dict[str, Any]:
    completions = [{"score": i, "completion": {"role": "model", "parts": [{"text": str(i)}]}} for i in (0, 1)]
    rows = [row | {"contents": row["contents"][:1], "completions": completions} for row in classification_rows(9)]
    vertex.upload("gs://datasets/preference.jsonl", rows)
    spec = {"trainingDatasetUri": "gs://datasets/preference.jsonl", "hyperParameters": {"epochCount": 1}}
    return finished(vertex, supervisedTuningSpec=None, preferenceOptimizationSpec=spec)


def reads(vertex: Vertex, job: dict[str, Any], preferring: dict[str, Any]) -> list[str]:
    """Paths of everything that can be got, of one job and around it."""
    store = f"{LOCATION}/metadataStores/default"
    board = get(vertex, job["experiment"])["metadata"]["backing_tensorboard_resource"]
    one = next(iter(series(vertex, job).values()))
    run = one.split("/timeSeries/")[0]
    experiment = run.split("/runs/")[0]
    model = job["tunedModel"]["model"]
    artifact = vertex.ok("GET", f"{store}/artifacts")["artifacts"][0]["name"]
    return [
        job["name"], preferring["name"], f"{LOCATION}/tuningJobs", job["experiment"], f"{store}/contexts",
        f"{store}/artifacts", f"{store}/executions", artifact, f"{LOCATION}/tensorboards", board,
        f"{board}/experiments", experiment, f"{experiment}/runs", run, f"{run}/timeSeries", one, f"{one}:read",
        f"{board}:batchRead?timeSeries={one}", model, f"{LOCATION}/models", f"{model.split('@')[0]}:listVersions",
        f"{model}:listCheckpoints", job["tunedModel"]["endpoint"], f"{LOCATION}/endpoints"
    ]  # fmt: skip


def walk_reads(vertex: Vertex, version: str, job: dict[str, Any], preferring: dict[str, Any]) -> None:
    for path in reads(vertex, job, preferring):
        response = vertex.client.get(f"/{version}/{path}")
        assert response.status_code == 200, response.text
        body = response.json()
        assert discovery.check("GET", response.request.url.path, body), f"{path} is in no document"


def walk_the_rest(vertex: Vertex, version: str) -> None:
    ok = Walk(vertex, version)
    made = ok("POST", f"{LOCATION}/tuningJobs", request())
    ok("POST", f"{made['name']}:cancel", {})
    job = finished(vertex, hyperParameters={"epochCount": 1})
    one = next(iter(series(vertex, job).values()))
    ok("POST", f"{one}:exportTensorboardTimeSeries", {"pageSize": 2, "orderBy": "step"})
    operation = ok("POST", f"{LOCATION}/tuningJobs:rebaseTunedModel", {"tunedModelRef": {"tuningJob": job["name"]}})
    ok.operation(operation["name"])
    model, endpoint = job["tunedModel"]["model"], job["tunedModel"]["endpoint"]
    ok("PATCH", model, {"displayName": "new"}, updateMask="displayName")
    ok("POST", f"{model}:mergeVersionAliases", {"versionAliases": ["golden"]})
    for verb in ("generateContent", "streamGenerateContent", "countTokens", "computeTokens"):
        ok("POST", f"{endpoint}:{verb}", ASKED)
    for verb in ("generateContent", "streamGenerateContent", "countTokens", "computeTokens"):
        ok("POST", f"{LOCATION}/publishers/google/models/gemini-2.5-flash:{verb}", ASKED)
    walk_own_experiments(ok, version)
    for asked in EVALUATED:
        ok("POST", f"{LOCATION}:evaluateInstances", asked)
    more = finished(vertex, baseModel=None, preTunedModel={"tunedModelName": model}, hyperParameters={"epochCount": 1})
    newest = more["tunedModel"]["endpoint"]
    for name in (endpoint, newest):
        deployed = get(vertex, name)["deployedModels"][0]["id"]
        ok("POST", f"{name}:undeployModel", {"deployedModelId": deployed})
        ok.operation(ok("DELETE", name)["name"])
    ok("DELETE", f"{model}:deleteVersion")
    ok.operation(ok("DELETE", model.split("@")[0])["name"])


def walk_own_experiments(ok: Walk, version: str) -> None:
    """Metadata and TensorBoard resources that clients make by hand."""
    store = f"{LOCATION}/metadataStores/own-{version}"
    ok.operation(ok("POST", f"{LOCATION}/metadataStores", {}, metadataStoreId=f"own-{version}")["name"])
    ok("GET", f"{LOCATION}/metadataStores")
    ok("GET", store)
    made = {
        kind: ok(
            "POST", f"{store}/{kind}s", {"metadata": {"a": {"b": 1}}, "schemaTitle": "system.X"}, **{f"{kind}Id": "x1"}
        )
        for kind in ("context", "artifact", "execution")
    }
    child = ok("POST", f"{store}/contexts", {"displayName": "child"}, contextId="x2")
    members = {f"{kind}s": [made[kind]["name"]] for kind in ("artifact", "execution")}
    ok("POST", f"{made['context']['name']}:addContextArtifactsAndExecutions", members)
    ok("POST", f"{made['context']['name']}:addContextChildren", {"childContexts": [child["name"]]})
    ok("DELETE", child["name"])
    for resource in made.values():
        ok("PATCH", resource["name"], {"displayName": "new"})
        ok("GET", resource["name"])
        ok("DELETE", resource["name"])
    begun = ok("POST", f"{LOCATION}/tensorboards", {"displayName": "own"})
    board = begun["name"].partition("/operations/")[0]
    ok.operation(begun["name"])
    ok("POST", f"{board}/experiments", {"displayName": "e"}, tensorboardExperimentId="e")
    ok("POST", f"{board}/experiments/e/runs", {"displayName": "r"}, tensorboardRunId="r")
    run = f"{board}/experiments/e/runs/r"
    series = ok(
        "POST", f"{run}/timeSeries", {"displayName": "loss", "valueType": "SCALAR"}, tensorboardTimeSeriesId="1"
    )
    values = [{"step": "1", "wallTime": "2026-01-01T00:00:00Z", "scalar": {"value": 0.5}}]
    data = {"tensorboardTimeSeriesId": "1", "valueType": "SCALAR", "values": values}
    ok("POST", f"{run}:write", {"timeSeriesData": [data]})
    assert ok("GET", f"{series['name']}:read")["timeSeriesData"]["values"][0]["scalar"] == {"value": 0.5}


class Walk:
    """Calls that must succeed, and be in the document of that version."""

    def __init__(self, vertex: Vertex, version: str) -> None:
        self.vertex, self.version = vertex, version

    def __call__(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        answer = self.vertex.ok(method, path, body, version=self.version, **params)
        assert discovery.check(method, f"/{self.version}/{path}", answer), f"{path} is in no document"
        return answer

    def operation(self, name: str) -> None:
        """All that can be done with an operation."""
        assert self("POST", f"{name}:wait")["done"] is True
        self("GET", name)
        self("POST", f"{name}:cancel")
        collection = name.rsplit("/", 1)[0]
        if self.version == "v1" or "/tuningJobs/" not in name:  # v1beta1 has no list of a tuning job's operations
            self("GET", collection)
        self("DELETE", name)


def test_storage(vertex: Vertex) -> None:
    """The JSON API's resources; its protocols are tested elsewhere."""
    for method, path, body in (
        ("GET", "/storage/v1/b?project=p", None),
        ("POST", "/storage/v1/b?project=p", {"name": "checked"}),
        ("PATCH", "/storage/v1/b/checked", {"labels": {"a": "b"}}),
        ("GET", "/storage/v1/b/checked", None),
        ("GET", "/storage/v1/b/datasets/o", None),
        ("GET", "/storage/v1/b/datasets/o/train.jsonl", None),
        ("PATCH", "/storage/v1/b/datasets/o/train.jsonl", {"metadata": {"a": "b"}}),
        ("POST", "/storage/v1/b/datasets/o/train.jsonl/copyTo/b/checked/o/copy", {}),
        ("POST", "/storage/v1/b/datasets/o/train.jsonl/rewriteTo/b/checked/o/again", {}),
        ("POST", "/storage/v1/b/checked/o/both/compose", {"sourceObjects": [{"name": "copy"}, {"name": "again"}]}),
    ):
        response = vertex.client.request(method, path, json=body)
        assert response.status_code == 200, response.text
        assert discovery.check(method, response.request.url.path, response.json()), f"{path} is in no document"


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_every_route_gives_what_the_document_says(
    vertex: Vertex, version: str, job: dict[str, Any], preferring: dict[str, Any], tmp_path: Path
) -> None:
    walk_reads(vertex, version, job, preferring)
    walk_the_rest(vertex, version)
    emulator = Emulator(replace(FAST, data_dir=tmp_path))
    emulator.store.close()
    routes = [route for route in emulator.routes if isinstance(route, Route) and "{version:" in route.path]
    assert len(routes) > 50
    # A method may have a second path, which a client uses and the document does not know.
    unseen = {route.name for route in routes} - {route.name for route in routes if was_checked(version, route)}
    assert unseen == ONLY_REFUSE | ({"tuningJobs.operations.list"} if version == "v1beta1" else set())


def was_checked(version: str, route: Route) -> bool:
    path = re.sub(r"\{\w+(:\w+)?\}", "x", re.sub(r"^/\{[^}]+\}", f"/{version}", route.path))
    (http_method,) = (route.methods or set()) - {"HEAD"}
    ids = [
        method.id
        for method in discovery.methods(version)
        if method.http_method == http_method and method.path.fullmatch(path)
    ]
    return any(discovery.checked[f"{version}:{method_id}"] for method_id in ids)
