"""Requests for tuning jobs, and waiting for them, over plain HTTP."""

from __future__ import annotations

from typing import Any

from tests.emulator.vertex import LOCATION, Vertex
from tests.support.emulator import classification_rows
from tests.support.waiting import wait_until

TRAIN = "gs://datasets/train.jsonl"
VALIDATION = "gs://datasets/validation.jsonl"
ENDED = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}


def upload_datasets(vertex: Vertex) -> None:
    vertex.upload(TRAIN, classification_rows(60))
    vertex.upload(VALIDATION, classification_rows(12))


def request(**fields: Any) -> dict[str, Any]:
    """A small valid request; `hyperParameters` and other fields of the spec may be given by name."""
    spec_fields = ("trainingDatasetUri", "validationDatasetUri", "hyperParameters", "exportLastCheckpointOnly")
    spec = {"trainingDatasetUri": TRAIN, "hyperParameters": {"epochCount": 2}}
    spec |= {name: fields.pop(name) for name in spec_fields if name in fields}
    job = {"baseModel": "gemini-2.5-flash", "supervisedTuningSpec": spec} | fields
    return {name: value for name, value in job.items() if value is not None}


def create(vertex: Vertex, parent: str = LOCATION, **fields: Any) -> dict[str, Any]:
    job: dict[str, Any] = vertex.ok("POST", f"{parent}/tuningJobs", request(**fields))
    return job


def refused(vertex: Vertex, parent: str = LOCATION, **fields: Any) -> dict[str, Any]:
    error: dict[str, Any] = vertex.refused("POST", f"{parent}/tuningJobs", request(**fields))
    return error


def get(vertex: Vertex, name: str) -> dict[str, Any]:
    job: dict[str, Any] = vertex.ok("GET", name)
    return job


def wait(vertex: Vertex, name: str, *states: str, seconds: float = 60) -> dict[str, Any]:
    """The job once it is in one of these states; by default, once it has ended."""

    def look() -> dict[str, Any] | None:
        job = get(vertex, name)
        return job if job["state"] in (states or ENDED) else None

    return wait_until(look, seconds, pause=0.01, why=lambda: f"it is {get(vertex, name)['state']}")


def finished(vertex: Vertex, parent: str = LOCATION, **fields: Any) -> dict[str, Any]:
    """A job that has succeeded."""
    job = wait(vertex, create(vertex, parent, **fields)["name"])
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    return job


def series(vertex: Vertex, job: dict[str, Any]) -> dict[str, str]:
    """Names of the job's time series by metric."""
    board = get(vertex, job["experiment"])["metadata"]["backing_tensorboard_resource"]
    experiment = f"{board}/experiments/{job['experiment'].rsplit('/', 1)[-1]}"
    (run,) = vertex.ok("GET", f"{experiment}/runs")["tensorboardRuns"]
    found = vertex.ok("GET", f"{run['name']}/timeSeries").get("tensorboardTimeSeries", [])
    return {item["displayName"]: item["name"] for item in found}


def metrics(vertex: Vertex, job: dict[str, Any]) -> dict[str, list[float]]:
    """Values of the job's metrics by step."""
    return {
        metric: [point["scalar"]["value"] for point in vertex.ok("GET", f"{name}:read")["timeSeriesData"]["values"]]
        for metric, name in series(vertex, job).items()
    }
