"""What creating, getting and listing tuning jobs takes, gives and refuses, over plain HTTP."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.emulator.jobs import TRAIN, VALIDATION, create, finished, refused, request, wait
from tests.emulator.vertex import LOCATION, Vertex

pytestmark = pytest.mark.usefixtures("datasets")
SPEC = "tuning_job.supervised_tuning_spec"


def fields_of(error: dict[str, Any]) -> list[str]:
    return [violation["field"] for detail in error["details"] for violation in detail["fieldViolations"]]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_the_guides_own_request(vertex: Vertex, version: str, caplog: pytest.LogCaptureFixture) -> None:
    """Snake case and camel case mixed, a retired model, as the guide prints it."""
    body = {
        "baseModel": "gemini-1.0-pro-002",
        "supervisedTuningSpec": {
            "training_dataset_uri": TRAIN,
            "validation_dataset_uri": VALIDATION,
            "hyper_parameters": {"epoch_count": 2, "learning_rate_multiplier": 1.0},
        },
        "tunedModelDisplayName": "guide",
    }
    job = vertex.ok("POST", f"{LOCATION}/tuningJobs", body, version=version)
    assert "base model gemini-1.0-pro-002 is retired" in caplog.text
    assert re.fullmatch(r"projects/\d{12}/locations/us-central1/tuningJobs/\d{19}", job["name"])
    spec = job["supervisedTuningSpec"]
    assert spec["trainingDatasetUri"] == TRAIN
    assert spec["validationDatasetUri"] == VALIDATION
    assert spec["hyperParameters"] == {
        "epochCount": "2",
        "learningRateMultiplier": 1.0,
        "adapterSize": "ADAPTER_SIZE_FOUR",
    }
    assert ("tuningJobState" in job) == (version == "v1beta1")
    assert "tuningJobState" not in vertex.ok("GET", job["name"], version="v1")
    assert wait(vertex, job["name"])["state"] == "JOB_STATE_SUCCEEDED"


def test_defaults_are_resolved_and_echoed(vertex: Vertex) -> None:
    job = create(vertex, hyperParameters=None, supervisedTuningSpec={"trainingDatasetUri": TRAIN})
    vertex.ok("POST", f"{job['name']}:cancel")
    hyper = job["supervisedTuningSpec"]["hyperParameters"]
    assert hyper == {"epochCount": "40", "learningRateMultiplier": 1.0, "adapterSize": "ADAPTER_SIZE_FOUR"}
    assert re.fullmatch(r"gemini-2\.5-flash-[0-9a-f-]{36}", job["tunedModelDisplayName"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", job["createTime"])


@pytest.mark.parametrize(("given", "size"), [(1, "ONE"), (6, "TWO"), (2, "FOUR"), ("ADAPTER_SIZE_SIXTEEN", "SIXTEEN")])
def test_enums_are_names_or_numbers(vertex: Vertex, given: Any, size: str) -> None:
    job = create(vertex, hyperParameters={"epochCount": "1", "adapterSize": given})
    assert job["supervisedTuningSpec"]["hyperParameters"]["adapterSize"] == f"ADAPTER_SIZE_{size}"
    assert job["supervisedTuningSpec"]["hyperParameters"]["epochCount"] == "1"


def test_output_only_fields_of_a_request_are_ignored(vertex: Vertex) -> None:
    job = create(vertex, state="JOB_STATE_SUCCEEDED", name="x", createTime="y", error=None)
    assert job["state"] in ("JOB_STATE_PENDING", "JOB_STATE_QUEUED")
    assert job["name"] != "x"


def test_project_id_and_number_name_the_same_job(vertex: Vertex) -> None:
    job = create(vertex)
    by_id = job["name"].replace(job["name"].split("/")[1], "my-project")
    assert vertex.ok("GET", by_id)["name"] == job["name"]


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"baseModel": "gemini-9"}, "INVALID_ARGUMENT", "Base model gemini-9 is not supported."),
        ({"baseModel": None}, "INVALID_ARGUMENT", "Exactly one of tuning_job.base_model"),
        ({"supervisedTuningSpec": None}, "INVALID_ARGUMENT", "Exactly one of tuning_job.supervised_tuning_spec"),
        ({"trainingDatasetUri": ""}, "INVALID_ARGUMENT", f"{SPEC}.training_dataset_uri is required"),
        ({"hyperParameters": {"epochCount": 0}}, "INVALID_ARGUMENT", f"{SPEC}.hyper_parameters.epoch_count"),
        ({"hyperParameters": {"epochCount": -3}}, "INVALID_ARGUMENT", f"{SPEC}.hyper_parameters.epoch_count"),
        ({"hyperParameters": {"epochCount": 101}}, "INVALID_ARGUMENT", f"{SPEC}.hyper_parameters.epoch_count"),
        ({"hyperParameters": {"epochCount": "two"}}, "INVALID_ARGUMENT", '(TYPE_INT64), "two"'),
        ({"hyperParameters": {"epochCount": 1.5}}, "INVALID_ARGUMENT", "(TYPE_INT64), 1.5"),
        ({"hyperParameters": {"adapterSize": "ADAPTER_SIZE_THIRTY_TWO"}}, "INVALID_ARGUMENT", "is not supported for"),
        ({"hyperParameters": {"adapterSize": "BIG"}}, "INVALID_ARGUMENT", '"BIG"'),
        ({"hyperParameters": {"learningRateMultiplier": 0}}, "INVALID_ARGUMENT", "learning_rate_multiplier"),
        ({"hyperParameters": {"batchSize": 4}}, "INVALID_ARGUMENT", "only available for open source models"),
        ({"tunedModelDisplayName": "x" * 129}, "INVALID_ARGUMENT", "at most 128 characters"),
        ({"labels": {"Team": "a"}}, "INVALID_ARGUMENT", "invalid label key 'Team'"),
        ({"labels": {"team": "A"}}, "INVALID_ARGUMENT", "invalid value 'A'"),
        ({"labels": {"x" * 65: "a"}}, "INVALID_ARGUMENT", "invalid label key"),
        ({"labels": {f"k{i}": "" for i in range(65)}}, "INVALID_ARGUMENT", "at most 64 labels"),
        ({"colour": "red"}, "INVALID_ARGUMENT", "Unknown name \"colour\" at 'tuning_job': Cannot find field."),
        ({"outputUri": "gs://a/b"}, "INVALID_ARGUMENT", "tuning_job.output_uri is not supported"),
        ({"preTunedModel": {"tunedModelName": "a"}}, "INVALID_ARGUMENT", "Exactly one of"),
    ],
)
def test_refusals(vertex: Vertex, fields: dict[str, Any], status: str, text: str) -> None:
    error = refused(vertex, **fields)
    assert error["status"] == status
    assert text in error["message"]


@pytest.mark.parametrize("location", ["global", "antarctica-south1", "us"])
def test_locations_that_cannot_tune(vertex: Vertex, location: str) -> None:
    error = refused(vertex, f"projects/p/locations/{location}")
    assert (error["code"], error["status"]) == (400, "FAILED_PRECONDITION")


def test_the_newest_models_tune_in_two_regions(vertex: Vertex) -> None:
    error = refused(vertex, "projects/p/locations/us-east1", baseModel="gemini-3.5-flash")
    assert "europe-west4, us-central1" in error["message"]


def test_dataset_uris_are_refused_together(vertex: Vertex) -> None:
    error = refused(vertex, trainingDatasetUri="gs://datasets/train.csv", validationDatasetUri="gs://datasets/no.jsonl")
    assert error["message"].startswith(
        f"List of found errors:\t1.Field: {SPEC}.training_dataset_uri; "
        "Message: gs://datasets/train.csv should be a GCS object of type JSONL.\t2.Field: "
    )
    assert fields_of(error) == [f"{SPEC}.training_dataset_uri", f"{SPEC}.validation_dataset_uri"]


def test_several_violations_come_in_one_answer(vertex: Vertex) -> None:
    error = refused(vertex, colour=1, hyperParameters={"epochCount": []})
    assert fields_of(error) == [f"{SPEC}.hyper_parameters.epoch_count", "tuning_job"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b'{"a":' * 200 + b"1" + b"}" * 200])
def test_bodies_that_are_no_message(vertex: Vertex, body: bytes) -> None:
    response = vertex.client.post(f"/v1/{LOCATION}/tuningJobs", content=body)
    assert response.status_code == 400
    assert response.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_a_body_that_is_too_large(vertex: Vertex) -> None:
    response = vertex.client.post(f"/v1/{LOCATION}/tuningJobs", content=b" " * (11 * 2**20))
    assert response.status_code == 413


def test_unknown_jobs_and_paths(vertex: Vertex) -> None:
    assert vertex.refused("GET", f"{LOCATION}/tuningJobs/1")["status"] == "NOT_FOUND"
    assert vertex.refused("POST", f"{LOCATION}/tuningJobs/1:cancel", {})["status"] == "NOT_FOUND"
    assert vertex.refused("DELETE", f"{LOCATION}/tuningJobs/1")["code"] == 405
    assert vertex.refused("GET", "nothing")["code"] == 404


class TestList:
    PARENT = "projects/lister/locations/europe-west4"

    @pytest.fixture(scope="class")
    @classmethod
    def jobs(cls, vertex: Vertex) -> list[str]:
        """Names of five jobs, newest first; the oldest has failed."""
        vertex.client.post("/_internal/lifecycle", json={"displayName": "bad", "failure": {"code": 3}, "count": 1})
        made = [create(vertex, cls.PARENT, tunedModelDisplayName="bad", labels={"run": "r0"})["name"]]
        wait(vertex, made[0])
        for i in range(1, 5):
            base = "gemini-2.5-pro" if i == 4 else "gemini-2.5-flash"
            made.append(finished(vertex, cls.PARENT, baseModel=base, labels={"run": f"r{i}"})["name"])
        return made[::-1]

    def names(self, vertex: Vertex, **params: Any) -> list[str]:
        return [job["name"] for job in vertex.ok("GET", f"{self.PARENT}/tuningJobs", **params).get("tuningJobs", [])]

    def test_newest_first_and_only_of_the_location(self, vertex: Vertex, jobs: list[str]) -> None:
        assert self.names(vertex) == jobs
        assert vertex.ok("GET", "projects/lister/locations/us-central1/tuningJobs") == {}

    def test_pages(self, vertex: Vertex, jobs: list[str]) -> None:
        first = vertex.ok("GET", f"{self.PARENT}/tuningJobs", pageSize=2)
        late = create(vertex, self.PARENT)["name"]
        second = vertex.ok("GET", f"{self.PARENT}/tuningJobs", pageSize=3, pageToken=first["nextPageToken"])
        assert [job["name"] for page in (first, second) for job in page["tuningJobs"]] == jobs
        assert "nextPageToken" not in second
        wait(vertex, late)
        jobs.insert(0, late)

    @pytest.mark.parametrize(
        ("query", "wanted"),
        [
            ('state="JOB_STATE_FAILED"', {"r0"}),
            ("state!=JOB_STATE_FAILED AND labels.run:*", {"r1", "r2", "r3", "r4"}),
            ("labels.run=r2", {"r2"}),
            ("labels.run=r2 OR labels.run=r3", {"r2", "r3"}),
            ("tunedModelDisplayName=bad", {"r0"}),
            ("tuned_model_display_name:bad", {"r0"}),
            ('tunedModelDisplayName="b*"', {"r0"}),
            ("baseModel=gemini-2.5-pro", {"r4"}),
            ("NOT (labels.run=r1 OR labels.run=r2) labels.run:*", {"r0", "r3", "r4"}),
            ("labels.none=x", set()),
        ],
    )
    @pytest.mark.usefixtures("jobs")
    def test_filters(self, vertex: Vertex, query: str, wanted: set[str]) -> None:
        found = vertex.ok("GET", f"{self.PARENT}/tuningJobs", filter=query).get("tuningJobs", [])
        assert {job["labels"]["run"] for job in found} == wanted

    @pytest.mark.parametrize(
        "query", ["state", "state=", "(state=x", "state=x)", "shoe=1", "= =", "state ~ x", '"', "a(b", "(" * 200]
    )
    def test_invalid_filters(self, vertex: Vertex, query: str) -> None:
        assert vertex.refused("GET", f"{self.PARENT}/tuningJobs", filter=query)["status"] == "INVALID_ARGUMENT"

    @pytest.mark.parametrize(
        "params",
        [{"pageSize": -1}, {"pageSize": "x"}, {"pageSize": 2**31}, {"pageToken": "x"}, {"pageToken": "cGFnZQ"}],
    )
    def test_invalid_pages(self, vertex: Vertex, params: dict[str, Any]) -> None:
        assert vertex.refused("GET", f"{self.PARENT}/tuningJobs", **params)["status"] == "INVALID_ARGUMENT"

    def test_page_size_zero_is_the_default(self, vertex: Vertex, jobs: list[str]) -> None:
        assert self.names(vertex, pageSize=0) == jobs


def test_a_hundred_jobs_fit_a_page(vertex: Vertex) -> None:
    started = time.monotonic()
    parent = "projects/many/locations/us-central1"
    vertex.client.post("/_internal/lifecycle", json={"displayName": "quick", "script": []})
    for _ in range(101):
        vertex.ok("POST", f"{parent}/tuningJobs", request(tunedModelDisplayName="quick"))
    page = vertex.ok("GET", f"{parent}/tuningJobs", pageSize=1000)
    assert len(page["tuningJobs"]) == 100
    assert len(vertex.ok("GET", f"{parent}/tuningJobs", pageToken=page["nextPageToken"])["tuningJobs"]) == 1
    assert time.monotonic() - started < 30
