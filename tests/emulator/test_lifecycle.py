"""The course of tuning jobs: order of states, what appears when, quota, cancelling, failing."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.emulator.jobs import VALIDATION, create, finished, get, metrics, refused, upload_datasets, wait
from tests.emulator.vertex import LOCATION, Vertex
from tests.support.emulator import running_emulator

pytestmark = pytest.mark.usefixtures("datasets")


def policy(vertex: Vertex, **fields: Any) -> str:
    """Set a lifecycle policy for one job; the display name that job must have."""
    name = f"job-{time.monotonic_ns()}"
    response = vertex.client.post("/_internal/lifecycle", json={"displayName": name, **fields})
    assert response.status_code == 200, response.text
    return name


def advance(vertex: Vertex, job: dict[str, Any]) -> dict[str, Any]:
    response = vertex.client.post(f"/_internal/tuningJobs/{job['name'].rsplit('/', 1)[-1]}:advance")
    assert response.status_code == 200, response.text
    advanced: dict[str, Any] = response.json()
    return advanced


def test_what_appears_when(vertex: Vertex) -> None:
    job = create(vertex, tunedModelDisplayName=policy(vertex, manual=True))
    assert (job["state"], job["tuningJobState"]) == ("JOB_STATE_PENDING", "TUNING_JOB_STATE_WAITING_FOR_CAPACITY")
    assert not {"startTime", "endTime", "experiment", "tunedModel", "tuningDataStats"} & job.keys()
    job = advance(vertex, job)
    assert (job["state"], job["tuningJobState"]) == ("JOB_STATE_RUNNING", "TUNING_JOB_STATE_PROCESSING_DATASET")
    assert "startTime" in job
    assert "experiment" not in job
    job = advance(vertex, job)
    assert (job["state"], job["tuningJobState"]) == ("JOB_STATE_RUNNING", "TUNING_JOB_STATE_TUNING")
    assert "/metadataStores/default/contexts/tuning-experiment-20" in job["experiment"]
    job = advance(vertex, job)
    job = wait(vertex, job["name"])
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert "tuningJobState" not in job
    assert job["createTime"] <= job["startTime"] <= job["endTime"] <= job["updateTime"]


def test_a_job_that_has_succeeded(tuned: dict[str, Any]) -> None:
    model = tuned["tunedModel"]
    assert [item["checkpointId"] for item in model["checkpoints"]] == ["1", "2"]
    assert [item["epoch"] for item in model["checkpoints"]] == ["1", "2"]
    assert len({item["endpoint"] for item in model["checkpoints"]}) == 2
    assert model["endpoint"] == model["checkpoints"][-1]["endpoint"]
    assert model["model"].endswith("@1")
    assert tuned["tuningJobMetadata"]["completedEpochCount"] == "2"
    assert "error" not in tuned


def test_only_the_last_checkpoint(vertex: Vertex) -> None:
    job = finished(vertex, exportLastCheckpointOnly=True)
    assert set(job["tunedModel"]) == {"model", "endpoint"}
    endpoint = get(vertex, job["tunedModel"]["endpoint"])
    assert "checkpointId" not in endpoint["deployedModels"][0]


def test_the_same_request_trains_the_same_model(vertex: Vertex) -> None:
    jobs = [finished(vertex, validationDatasetUri=VALIDATION) for _ in range(2)]
    first, second = (metrics(vertex, job) for job in jobs)
    assert first == second
    assert set(first) == {
        f"/{kind}_{metric}"
        for kind in ("train", "eval")
        for metric in ("total_loss", "fraction_of_correct_next_step_preds", "num_predictions")
    }
    assert first["/train_total_loss"][-1] < first["/train_total_loss"][0]


def test_a_diverging_job_ends_and_can_be_read(vertex: Vertex) -> None:
    job = finished(
        vertex, hyperParameters={"epochCount": 3, "learningRateMultiplier": 100}, validationDatasetUri=VALIDATION
    )
    assert metrics(vertex, job)["/train_num_predictions"]


@pytest.mark.parametrize("at", ["JOB_STATE_PENDING", "JOB_STATE_RUNNING"])
def test_cancelling(vertex: Vertex, at: str) -> None:
    job = create(vertex, tunedModelDisplayName=policy(vertex, manual=True))
    if at == "JOB_STATE_RUNNING":
        job = advance(vertex, advance(vertex, job))
    assert vertex.ok("POST", f"{job['name']}:cancel", {}) == {}
    assert get(vertex, job["name"])["state"] == "JOB_STATE_CANCELLING"
    assert vertex.ok("POST", f"{job['name']}:cancel") == {}
    job = advance(vertex, job)
    assert job["state"] == "JOB_STATE_CANCELLED"
    assert job["error"]["code"] == 1
    assert "endTime" in job
    assert "tunedModel" not in job


def test_cancelling_an_ended_job_does_nothing(vertex: Vertex, tuned: dict[str, Any]) -> None:
    assert vertex.ok("POST", f"{tuned['name']}:cancel", {}) == {}
    assert get(vertex, tuned["name"]) == tuned


def test_cancelling_while_it_trains_takes_its_endpoints_back(vertex: Vertex) -> None:
    name = policy(vertex, timeScale=1)
    job = create(vertex, tunedModelDisplayName=name, hyperParameters={"epochCount": 100})
    while "tunedModel" not in (job := get(vertex, job["name"])):
        assert job["state"] != "JOB_STATE_SUCCEEDED"
    vertex.ok("POST", f"{job['name']}:cancel")
    assert wait(vertex, job["name"])["state"] == "JOB_STATE_CANCELLED"
    for checkpoint in job["tunedModel"]["checkpoints"]:
        assert vertex.refused("GET", checkpoint["endpoint"])["code"] == 404


def test_failing_at_a_step(vertex: Vertex) -> None:
    failure = {"code": 8, "message": "No machines.", "step": 4}
    job = create(vertex, tunedModelDisplayName=policy(vertex, failure=failure))
    job = wait(vertex, job["name"])
    assert job["state"] == "JOB_STATE_FAILED"
    assert job["error"] == {"code": 8, "message": "No machines."}
    assert job["tuningJobMetadata"]["completedStepCount"] == "4"
    assert "tunedModel" not in job


def test_failing_before_the_experiment_has_any_point(vertex: Vertex) -> None:
    job = create(vertex, tunedModelDisplayName=policy(vertex, failure={"code": 3, "message": "Bad data."}))
    assert wait(vertex, job["name"])["error"] == {"code": 3, "message": "Bad data."}


def test_failing_at_deployment_leaves_the_model(vertex: Vertex) -> None:
    job = create(vertex, tunedModelDisplayName=policy(vertex, failure={"atDeployment": True}))
    job = wait(vertex, job["name"])
    assert job["state"] == "JOB_STATE_FAILED"
    assert job["error"] == {
        "code": 13,
        "message": "Failed to create endpoint. Tuned model is uploaded and can be accessed through Model Registry.",
    }
    assert set(job["tunedModel"]) == {"model"}
    assert get(vertex, job["tunedModel"]["model"])["versionId"] == "1"


def test_a_scripted_job(vertex: Vertex) -> None:
    script = [{"state": "JOB_STATE_QUEUED"}, {"state": "JOB_STATE_PAUSED"}, {"state": "JOB_STATE_RUNNING"}]
    name = policy(vertex, manual=True, script=script, metrics={"/train_total_loss": [3, 2, 1]})
    job = create(vertex, tunedModelDisplayName=name)
    wait(vertex, job["name"], "JOB_STATE_QUEUED")
    states = [advance(vertex, job)["state"] for _ in range(3)]
    assert states == ["JOB_STATE_PAUSED", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"]
    endpoint = get(vertex, job["name"])["tunedModel"]["endpoint"]
    assert get(vertex, endpoint)["displayName"] == name


@pytest.mark.parametrize("state", ["JOB_STATE_EXPIRED", "JOB_STATE_PARTIALLY_SUCCEEDED"])
def test_other_ends_of_a_script(vertex: Vertex, state: str) -> None:
    job = create(vertex, tunedModelDisplayName=policy(vertex, script=[], finalState=state))
    job = wait(vertex, job["name"], state)
    assert ("tunedModel" in job) == (state == "JOB_STATE_PARTIALLY_SUCCEEDED")


def test_policies_are_chosen_by_label_and_used_up(vertex: Vertex) -> None:
    body = {"labels": {"kind": "once"}, "count": 1, "script": [], "finalState": "JOB_STATE_EXPIRED"}
    vertex.client.post("/_internal/lifecycle", json=body)
    jobs = [create(vertex, labels={"kind": kind}) for kind in ("other", "once", "once")]
    ends = [wait(vertex, job["name"])["state"] for job in jobs]
    assert ends == ["JOB_STATE_SUCCEEDED", "JOB_STATE_EXPIRED", "JOB_STATE_SUCCEEDED"]


class TestQuota:
    def test_a_job_over_the_quota_waits_for_it(self) -> None:
        with running_emulator(step_seconds=0.02) as url, Vertex(url) as vertex:
            upload_datasets(vertex)
            first = create(vertex)
            second = create(vertex, "projects/my-project/locations/europe-west4")
            other = create(vertex, "projects/other/locations/us-central1")
            waiting = get(vertex, second["name"])
            assert (waiting["state"], waiting["tuningJobState"]) == (
                "JOB_STATE_QUEUED",
                "TUNING_JOB_STATE_WAITING_FOR_QUOTA",
            )
            assert get(vertex, other["name"])["state"] != "JOB_STATE_QUEUED"
            ends = [wait(vertex, job["name"]) for job in (first, second, other)]
            assert [job["state"] for job in ends] == ["JOB_STATE_SUCCEEDED"] * 3
            assert ends[0]["endTime"] <= ends[1]["startTime"]

    def test_or_is_refused(self) -> None:
        with running_emulator(quota_mode="refuse", step_seconds=0.05) as url, Vertex(url) as vertex:
            upload_datasets(vertex)
            first = create(vertex)
            error = refused(vertex, "projects/my-project/locations/europe-west4")
            assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
            metric = "aiplatform.googleapis.com/global_concurrent_tuning_jobs"
            assert error["message"] == f"The following quota metrics exceed quota limits: {metric}"
            kinds = {detail["@type"].rsplit(".", 1)[-1] for detail in error["details"]}
            assert kinds == {"QuotaFailure", "RetryInfo"}
            create(vertex, "projects/other/locations/us-central1")
            vertex.ok("POST", f"{first['name']}:cancel")
            wait(vertex, first["name"])
            create(vertex)

    def test_quota_exhausted_for_a_while(self, vertex: Vertex) -> None:
        vertex.client.post("/_internal/quota:exhaust", json={"seconds": 2}).raise_for_status()
        job = create(vertex, "projects/exhausted/locations/us-central1")
        waiting = wait(vertex, job["name"], "JOB_STATE_QUEUED")
        assert waiting["tuningJobState"] == "TUNING_JOB_STATE_WAITING_FOR_QUOTA"
        assert wait(vertex, job["name"])["state"] == "JOB_STATE_SUCCEEDED"


def test_models_that_serve_from_a_multi_region(vertex: Vertex) -> None:
    job = finished(vertex, baseModel="gemini-3.5-flash")
    endpoint = job["tunedModel"]["endpoint"]
    assert "/locations/us/endpoints/" in endpoint
    assert "/locations/us-central1/models/" in job["tunedModel"]["model"]
    asked = {"contents": [{"role": "user", "parts": [{"text": "My card is late."}]}]}
    assert vertex.ok("POST", f"{endpoint}:generateContent", asked)["candidates"]
    wrong = vertex.refused("POST", f"{endpoint.replace('/us/', '/us-central1/')}:generateContent", asked)
    assert wrong["code"] == 404
    assert "can serve only from location us." in wrong["message"]


class TestContinuousTuning:
    def test_a_new_version_of_the_same_model(self, vertex: Vertex) -> None:
        source = finished(vertex, tunedModelDisplayName="continued")["tunedModel"]["model"]
        body = {"tuned_model_name": source.replace(source.split("/")[1], "my-project"), "checkpoint_id": "1"}
        job = finished(vertex, baseModel=None, preTunedModel=body)
        assert job["tunedModel"]["model"] == source.replace("@1", "@2")
        assert job["tunedModelDisplayName"] == "continued"
        assert job["preTunedModel"] == {
            "tunedModelName": source,
            "checkpointId": "1",
            "baseModel": "gemini-2.5-flash",
        }
        aliases = {
            version["versionId"]: version.get("versionAliases", [])
            for version in vertex.ok("GET", f"{source.split('@')[0]}:listVersions")["models"]
        }
        assert aliases == {"1": [], "2": ["default"]}

    def test_it_goes_on_from_the_weights(self, vertex: Vertex, tuned: dict[str, Any]) -> None:
        """The first loss of the second job is that of a model that has learnt, not of a fresh one."""
        job = finished(vertex, baseModel=None, preTunedModel={"tunedModelName": tuned["tunedModel"]["model"]})
        before, after = (metrics(vertex, item)["/train_total_loss"] for item in (tuned, job))
        assert after[0] < 0.5 * before[0]

    def test_another_display_name_makes_another_model(self, vertex: Vertex, tuned: dict[str, Any]) -> None:
        source = tuned["tunedModel"]["model"]
        job = finished(vertex, baseModel=None, preTunedModel={"tunedModelName": source}, tunedModelDisplayName="other")
        assert job["tunedModel"]["model"].split("@")[0] != source.split("@")[0]
        assert job["tunedModel"]["model"].endswith("@1")

    @pytest.mark.parametrize(
        "source", [{"tunedModelName": f"{LOCATION}/models/1"}, {"checkpointId": "1"}, {"tunedModelName": "x"}]
    )
    def test_unknown_sources(self, vertex: Vertex, source: dict[str, str]) -> None:
        assert refused(vertex, baseModel=None, preTunedModel=source)["code"] in (400, 404)

    def test_unknown_checkpoint(self, vertex: Vertex, tuned: dict[str, Any]) -> None:
        source = {"tunedModelName": tuned["tunedModel"]["model"], "checkpointId": "99"}
        assert refused(vertex, baseModel=None, preTunedModel=source)["code"] == 404


class TestRebase:
    def test_the_operation_ends_with_the_new_job(self, vertex: Vertex) -> None:
        old = finished(vertex, baseModel="gemini-1.5-flash-002", tunedModelDisplayName="old")
        body = {"tunedModelRef": {"tuningJob": old["name"]}, "tuningJob": {"baseModel": "gemini-2.5-flash-lite"}}
        operation = vertex.ok("POST", f"{LOCATION}/tuningJobs:rebaseTunedModel", body)
        assert "done" not in operation
        assert operation["metadata"]["@type"].endswith("RebaseTunedModelOperationMetadata")
        done = vertex.ok("POST", f"{operation['name']}:wait", {"timeout": "30s"})
        assert done["done"] is True
        job = done["response"]
        assert job["baseModel"] == "gemini-2.5-flash-lite"
        assert job["tunedModelDisplayName"] == "old"
        assert job["tunedModel"]["endpoint"] != old["tunedModel"]["endpoint"]

    def test_by_model_onto_the_same_endpoint(self, vertex: Vertex) -> None:
        old = finished(vertex)
        body = {"tunedModelRef": {"tunedModel": old["tunedModel"]["model"]}, "deployToSameEndpoint": True}
        operation = vertex.ok("POST", f"{LOCATION}/tuningJobs:rebaseTunedModel", body)
        job = vertex.ok("POST", f"{operation['name']}:wait")["response"]
        assert job["tunedModel"]["endpoint"] == old["tunedModel"]["endpoint"]
        deployed = get(vertex, old["tunedModel"]["endpoint"])["deployedModels"]
        assert [item["model"] for item in deployed] == [job["tunedModel"]["model"]]

    def test_refusals(self, vertex: Vertex) -> None:
        path = f"{LOCATION}/tuningJobs:rebaseTunedModel"
        assert vertex.refused("POST", path, {})["code"] == 400
        assert vertex.refused("POST", path, {"tunedModelRef": {"pipelineJob": "x"}})["code"] == 400
        assert vertex.refused("POST", path, {"tunedModelRef": {"tuningJob": f"{LOCATION}/tuningJobs/1"}})["code"] == 404

    def test_a_rebase_that_does_not_succeed_ends_the_operation_too(self, vertex: Vertex) -> None:
        name = policy(vertex, script=[], finalState="JOB_STATE_EXPIRED")
        old = finished(vertex)
        body = {"tunedModelRef": {"tuningJob": old["name"]}, "tuningJob": {"tunedModelDisplayName": name}}
        operation = vertex.ok("POST", f"{LOCATION}/tuningJobs:rebaseTunedModel", body)
        ended = vertex.ok("POST", f"{operation['name']}:wait")
        assert "JOB_STATE_EXPIRED" in ended["error"]["message"]
