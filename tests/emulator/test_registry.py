"""Model Registry, endpoints and operations over plain HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.jobs import create, finished, get, wait
from tests.emulator.vertex import LOCATION, Vertex

pytestmark = pytest.mark.usefixtures("datasets")


@pytest.fixture
def job(vertex: Vertex) -> dict[str, Any]:
    return finished(vertex, labels={"team": "b"}, description="A test.")


@pytest.fixture
def versions(vertex: Vertex) -> list[str]:
    """Names of the three versions of a model, oldest first."""
    first = finished(vertex, hyperParameters={"epochCount": 1})["tunedModel"]["model"]
    for _ in range(2):
        finished(vertex, baseModel=None, preTunedModel={"tunedModelName": first}, hyperParameters={"epochCount": 1})
    return [first.replace("@1", f"@{number}") for number in (1, 2, 3)]


def aliases(vertex: Vertex, model: str) -> dict[str, list[str]]:
    listed = vertex.ok("GET", f"{model.split('@')[0]}:listVersions")["models"]
    return {item["versionId"]: item["versionAliases"] for item in listed}


class TestModels:
    def test_a_tuned_model(self, vertex: Vertex, job: dict[str, Any]) -> None:
        name = job["tunedModel"]["model"]
        model = get(vertex, name)
        assert model["name"] == name.removesuffix("@1")
        assert (model["versionId"], model["versionAliases"]) == ("1", ["default"])
        assert model["displayName"] == job["tunedModelDisplayName"]
        assert model["description"] == "A test."
        assert model["labels"] == {
            "team": "b",
            "google-vertex-llm-tuning-base-model-id": "gemini-2.5-flash",
            "google-vertex-llm-tuning-job-id": job["name"].rsplit("/", 1)[-1],
            "tune-type": "sft",
        }
        assert model["modelSourceInfo"] == {"sourceType": "GENIE"}
        source = model["baseModelSource"]["genieSource"]["baseModelUri"]
        assert source == "publishers/google/models/gemini-2.5-flash"
        assert model["defaultCheckpointId"] == "2"
        assert {item["endpoint"] for item in model["deployedModels"]} == {
            item["endpoint"] for item in job["tunedModel"]["checkpoints"]
        }
        assert get(vertex, model["name"]) == model
        assert get(vertex, f"{model['name']}@default") == model

    def test_checkpoints(self, vertex: Vertex, job: dict[str, Any]) -> None:
        listed = vertex.ok("GET", f"{job['tunedModel']['model']}:listCheckpoints")["checkpoints"]
        assert {item["checkpointId"] for item in listed} == {"1", "2"}
        page = vertex.ok("GET", f"{job['tunedModel']['model']}:listCheckpoints", pageSize=1)
        assert len(page["checkpoints"]) == 1
        assert page["nextPageToken"]

    def test_list_shows_default_versions_and_filters(self, vertex: Vertex, versions: list[str]) -> None:
        name = versions[0].removesuffix("@1")
        display_name = get(vertex, name)["displayName"]
        (listed,) = vertex.ok("GET", f"{LOCATION}/models", filter=f'display_name="{display_name}"')["models"]
        assert (listed["name"], listed["versionId"]) == (name, "3")
        assert vertex.ok("GET", f"{LOCATION}/models", filter="labels.tune-type=none") == {}

    def test_versions_carry_their_ids(self, vertex: Vertex, versions: list[str]) -> None:
        listed = vertex.ok("GET", f"{versions[0].split('@')[0]}:listVersions")["models"]
        assert [item["name"] for item in listed] == versions[::-1]

    def test_patch(self, vertex: Vertex, job: dict[str, Any]) -> None:
        name = job["tunedModel"]["model"]
        body = {"display_name": "renamed", "labels": {"a": "b"}}
        model = vertex.ok("PATCH", name, body, updateMask="displayName,labels")
        assert (model["displayName"], model["labels"]) == ("renamed", {"a": "b"})
        assert get(vertex, name) == model

    def test_the_default_checkpoint_moves_the_jobs_endpoint(self, vertex: Vertex, job: dict[str, Any]) -> None:
        vertex.ok("PATCH", job["tunedModel"]["model"], {"defaultCheckpointId": "1"}, updateMask="default_checkpoint_id")
        tuned = get(vertex, job["name"])["tunedModel"]
        assert tuned["endpoint"] == tuned["checkpoints"][0]["endpoint"]

    @pytest.mark.parametrize(
        ("body", "mask", "code"),
        [
            ({"defaultCheckpointId": "7"}, "defaultCheckpointId", 404),
            ({"displayName": "x" * 129}, "displayName", 400),
            ({"displayName": ""}, "displayName", 400),
            ({"labels": {"A": ""}}, "labels", 400),
            ({"artifactUri": "x"}, "artifactUri", 400),
            ({}, "", 400),
        ],
    )
    def test_patches_that_are_refused(
        self, vertex: Vertex, tuned: dict[str, Any], body: Any, mask: str, code: int
    ) -> None:
        assert vertex.refused("PATCH", tuned["tunedModel"]["model"], body, updateMask=mask)["code"] == code

    @pytest.mark.parametrize("tag", ["", "@1", "@7", "@none"])
    def test_unknown_models(self, vertex: Vertex, tag: str) -> None:
        for method, suffix in (("GET", ""), ("GET", ":listVersions"), ("DELETE", ""), ("GET", ":listCheckpoints")):
            assert vertex.refused(method, f"{LOCATION}/models/1{tag}{suffix}")["code"] == 404


class TestAliases:
    def merge(self, vertex: Vertex, name: str, *changes: str) -> Any:
        return vertex.ok("POST", f"{name}:mergeVersionAliases", {"versionAliases": changes})

    def test_an_alias_is_on_one_version_at_a_time(self, vertex: Vertex, versions: list[str]) -> None:
        assert aliases(vertex, versions[0]) == {"1": [], "2": [], "3": ["default"]}
        model = self.merge(vertex, versions[0], "golden", "live")
        assert model["versionAliases"] == ["golden", "live"]
        self.merge(vertex, versions[1], "golden")
        assert aliases(vertex, versions[0]) == {"1": ["live"], "2": ["golden"], "3": ["default"]}
        assert get(vertex, f"{versions[0].split('@')[0]}@golden")["versionId"] == "2"
        self.merge(vertex, versions[1], "-golden", "default")
        assert aliases(vertex, versions[0]) == {"1": ["live"], "2": ["default"], "3": []}
        assert get(vertex, versions[0].split("@")[0])["versionId"] == "2"

    @pytest.mark.parametrize(
        "changes", [["-default"], [], ["Golden"], ["-"], ["a"], ["1a"], ["x" * 129], ["golden,live"], [1]]
    )
    def test_changes_that_are_refused(self, vertex: Vertex, tuned: dict[str, Any], changes: list[Any]) -> None:
        path = f"{tuned['tunedModel']['model']}:mergeVersionAliases"
        assert vertex.refused("POST", path, {"versionAliases": changes})["code"] == 400

    @pytest.mark.parametrize("tag", ["", "@default"])
    def test_the_name_must_carry_a_version_id(self, vertex: Vertex, tuned: dict[str, Any], tag: str) -> None:
        name = tuned["tunedModel"]["model"].split("@")[0] + tag
        body = {"versionAliases": ["golden"]}
        assert vertex.refused("POST", f"{name}:mergeVersionAliases", body)["code"] == 400


class TestEndpoints:
    def test_an_endpoint(self, vertex: Vertex, job: dict[str, Any]) -> None:
        endpoint = get(vertex, job["tunedModel"]["endpoint"])
        (deployed,) = endpoint["deployedModels"]
        assert deployed["model"] == job["tunedModel"]["model"]
        assert deployed["checkpointId"] == "2"
        assert endpoint["trafficSplit"] == {deployed["id"]: 100}
        assert endpoint["displayName"] == job["tunedModelDisplayName"]
        assert endpoint["labels"]["team"] == "b"

    def test_by_label_of_the_job(self, vertex: Vertex, job: dict[str, Any]) -> None:
        query = f"labels.google-vertex-llm-tuning-job-id={job['name'].rsplit('/', 1)[-1]}"
        listed = vertex.ok("GET", f"{LOCATION}/endpoints", filter=query)["endpoints"]
        assert {item["name"] for item in listed} == {item["endpoint"] for item in job["tunedModel"]["checkpoints"]}

    def test_unknown_endpoints(self, vertex: Vertex, tuned: dict[str, Any]) -> None:
        name = f"{LOCATION}/endpoints/1"
        assert vertex.refused("GET", name)["code"] == 404
        assert vertex.refused("DELETE", name)["code"] == 404
        assert vertex.refused("POST", f"{name}:undeployModel", {"deployedModelId": "1"})["code"] == 404
        endpoint = tuned["tunedModel"]["endpoint"]
        assert vertex.refused("POST", f"{endpoint}:undeployModel", {"deployedModelId": "1"})["code"] == 404


def undeploy(vertex: Vertex, endpoint: str) -> None:
    for deployed in get(vertex, endpoint)["deployedModels"]:
        operation = vertex.ok("POST", f"{endpoint}:undeployModel", {"deployedModelId": deployed["id"]})
        assert operation["done"] is True


class TestDeleting:
    def test_the_order(self, vertex: Vertex, job: dict[str, Any]) -> None:
        model = job["tunedModel"]["model"].split("@")[0]
        endpoints = [item["endpoint"] for item in job["tunedModel"]["checkpoints"]]
        for name in (model, *endpoints):
            assert vertex.refused("DELETE", name)["status"] == "FAILED_PRECONDITION"
        for endpoint in endpoints:
            undeploy(vertex, endpoint)
            assert not get(vertex, endpoint).get("deployedModels")
            vertex.ok("DELETE", endpoint)
            assert vertex.refused("GET", endpoint)["code"] == 404
        operation = vertex.ok("DELETE", model)
        assert operation["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
        assert vertex.refused("GET", model)["code"] == 404
        assert get(vertex, job["name"])["state"] == "JOB_STATE_SUCCEEDED"

    def test_versions(self, vertex: Vertex, versions: list[str], job: dict[str, Any]) -> None:
        first, second, third = versions
        assert vertex.refused("DELETE", f"{third}:deleteVersion")["code"] == 400
        assert vertex.refused("DELETE", f"{first}:deleteVersion")["code"] == 400
        for deployment in get(vertex, first)["deployedModels"]:
            undeploy(vertex, deployment["endpoint"])
        vertex.ok("DELETE", f"{first}:deleteVersion")
        assert set(aliases(vertex, second)) == {"2", "3"}
        assert vertex.refused("DELETE", f"{first}:deleteVersion")["code"] == 404
        only = job["tunedModel"]["model"]
        assert "only version" in vertex.refused("DELETE", f"{only}:deleteVersion")["message"]
        assert vertex.refused("DELETE", f"{only.split('@')[0]}:deleteVersion")["code"] == 400

    def test_predictions_after_undeploying(self, vertex: Vertex, job: dict[str, Any]) -> None:
        endpoint = job["tunedModel"]["endpoint"]
        body = {"contents": [{"role": "user", "parts": [{"text": "My card is lost."}]}]}
        assert vertex.ok("POST", f"{endpoint}:generateContent", body)["candidates"]
        undeploy(vertex, endpoint)
        assert vertex.refused("POST", f"{endpoint}:generateContent", body)["status"] == "FAILED_PRECONDITION"


class TestOperations:
    @pytest.fixture
    def operation(self, vertex: Vertex, job: dict[str, Any]) -> dict[str, Any]:
        endpoint = job["tunedModel"]["endpoint"]
        undeploy(vertex, endpoint)
        made: dict[str, Any] = vertex.ok("DELETE", endpoint)
        return made

    def test_get_list_wait_cancel_delete(self, vertex: Vertex, operation: dict[str, Any]) -> None:
        name, parent = operation["name"], operation["name"].rsplit("/", 1)[0]
        assert get(vertex, name) == operation
        assert vertex.ok("POST", f"{name}:wait", timeout="1s") == operation
        assert operation in vertex.ok("GET", parent)["operations"]
        assert vertex.ok("POST", f"{name}:cancel", {}) == {}
        assert vertex.ok("DELETE", name) == {}
        assert vertex.refused("GET", name)["code"] == 404

    def test_waiting_ends_with_the_timeout(self, vertex: Vertex) -> None:
        vertex.client.post("/_internal/lifecycle", json={"displayName": "held", "manual": True, "count": 1})
        old = finished(vertex)
        body = {"tunedModelRef": {"tuningJob": old["name"]}, "tuningJob": {"tunedModelDisplayName": "held"}}
        operation = vertex.ok("POST", f"{LOCATION}/tuningJobs:rebaseTunedModel", body)
        waited = vertex.ok("POST", f"{operation['name']}:wait", {"timeout": "0.1s"})
        assert "done" not in waited
        job = operation["name"].split("/operations/")[0]
        vertex.ok("POST", f"{job}:cancel")
        vertex.client.post(f"/_internal/tuningJobs/{job.rsplit('/', 1)[-1]}:advance").raise_for_status()
        ended = vertex.ok("POST", f"{operation['name']}:wait")
        assert ended["error"]["code"] == 1

    @pytest.mark.parametrize("timeout", ["1", "x", "-1s", 3, {}])
    def test_bad_timeouts(self, vertex: Vertex, operation: dict[str, Any], timeout: Any) -> None:
        assert vertex.refused("POST", f"{operation['name']}:wait", {"timeout": timeout})["code"] == 400


def test_a_version_that_was_never_trained_does_not_answer(vertex: Vertex) -> None:
    vertex.client.post("/_internal/lifecycle", json={"displayName": "unscripted", "script": []})
    job = wait(vertex, create(vertex, tunedModelDisplayName="unscripted")["name"])
    body = {"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]}
    error = vertex.refused("POST", f"{job['tunedModel']['endpoint']}:generateContent", body)
    assert error["status"] == "FAILED_PRECONDITION"
