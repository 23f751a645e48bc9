"""What the tuning guide promises its users, row by row, by plain HTTP in the guide's own casing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator.jobs import ENDED, metrics
from tests.emulator.vertex import Vertex
from tests.support.emulator import classification_rows, running_emulator
from tests.support.waiting import wait_until

PROJECT = "projects/guide-project"
JOBS = f"{PROJECT}/locations/us-central1/tuningJobs"
TRAIN, VALIDATION = "gs://guide/sft_train_data.jsonl", "gs://guide/sft_validation_data.jsonl"


@pytest.fixture(scope="module")
def vertex() -> Iterator[Vertex]:
    with running_emulator() as url, Vertex(url) as made:
        yield made


@pytest.fixture(scope="module")
def uploaded(vertex: Vertex) -> None:
    """Row 2: a file in a bucket of one's choice."""
    vertex.upload(TRAIN, classification_rows(90))
    vertex.upload(VALIDATION, classification_rows(18))


def body(**fields: Any) -> dict[str, Any]:
    spec = {
        "training_dataset_uri": TRAIN,
        "validation_dataset_uri": VALIDATION,
        "hyper_parameters": {"epoch_count": 3, "learning_rate_multiplier": 1.0},
    }
    return {"baseModel": "gemini-1.0-pro-002", "supervisedTuningSpec": spec | fields.pop("spec", {})} | fields


def waited(vertex: Vertex, name: str) -> dict[str, Any]:
    """Row 5: poll until it has ended; the guide does so once a minute."""

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = vertex.ok("GET", name, version="v1")
        return job if job["state"] in ENDED else None

    return wait_until(look)


@pytest.fixture(scope="module")
def job(vertex: Vertex, uploaded: None) -> dict[str, Any]:
    """Rows 1, 3 and 5: a job with validation, waited for."""
    made = vertex.ok("POST", JOBS, body(tunedModelDisplayName="my-model"), version="v1")
    return waited(vertex, made["name"])


def test_rows_1_and_5_the_job_ends_with_names(job: dict[str, Any]) -> None:
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["tunedModelDisplayName"] == "my-model"
    assert "/models/" in job["tunedModel"]["model"]
    assert "/endpoints/" in job["tunedModel"]["endpoint"]
    assert "/contexts/tuning-experiment-" in job["experiment"]


@pytest.mark.usefixtures("uploaded")
def test_row_1_a_job_without_a_name_gets_a_random_one(vertex: Vertex) -> None:
    made = [vertex.ok("POST", JOBS, body(), version="v1") for _ in range(2)]
    assert len({job["tunedModelDisplayName"] for job in made}) == 2
    for job in made:
        waited(vertex, job["name"])


@pytest.mark.usefixtures("uploaded")
def test_row_4_the_region_is_where_the_model_is_put(vertex: Vertex) -> None:
    made = vertex.ok("POST", f"{PROJECT}/locations/europe-west1/tuningJobs", body(), version="v1")
    job = waited(vertex, made["name"])
    names = [job["name"], job["experiment"], job["tunedModel"]["model"], job["tunedModel"]["endpoint"]]
    assert all("/locations/europe-west1/" in name for name in names)


def test_rows_6_and_7_list_and_get(vertex: Vertex, job: dict[str, Any]) -> None:
    assert job["name"] in [item["name"] for item in vertex.ok("GET", JOBS, version="v1")["tuningJobs"]]
    by_project_id = f"{JOBS}/{job['name'].rsplit('/', 1)[-1]}"
    assert vertex.ok("GET", by_project_id, version="v1") == job


@pytest.mark.usefixtures("uploaded")
def test_row_8_cancel_with_an_empty_body(vertex: Vertex) -> None:
    vertex.client.post(
        "/_internal/lifecycle", json={"displayName": "held", "script": [{"state": "JOB_STATE_RUNNING", "seconds": 60}]}
    )
    made = vertex.ok("POST", JOBS, body(tunedModelDisplayName="held"), version="v1")
    assert vertex.ok("POST", f"{made['name']}:cancel", version="v1") == {}
    assert waited(vertex, made["name"])["state"] == "JOB_STATE_CANCELLED"


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_rows_9_10_and_16_predict(vertex: Vertex, job: dict[str, Any], temperature: float) -> None:
    """The role in capitals and one part as an object, as the guide prints them."""
    asked = {
        "contents": [{"role": "USER", "parts": {"text": "My card is stolen, message 4."}}],
        "generation_config": {"temperature": temperature, "top_p": 0.95, "top_k": 20, "max_output_tokens": 8},
    }
    answer = vertex.ok("POST", f"{job['tunedModel']['endpoint']}:generateContent", asked, version="v1")
    assert answer["candidates"][0]["content"]["role"] == "model"
    if temperature == 0:
        assert answer["candidates"][0]["content"]["parts"][0]["text"] == "stolen"


def test_rows_11_to_13_metrics_of_every_step(vertex: Vertex, job: dict[str, Any]) -> None:
    shown = metrics(vertex, job)
    steps = int(job["tuningDataStats"]["supervisedTuningDataStats"]["tuningStepCount"])
    for metric in ("total_loss", "fraction_of_correct_next_step_preds", "num_predictions"):
        assert len(shown[f"/train_{metric}"]) == steps
        assert 0 < len(shown[f"/eval_{metric}"]) <= steps
    assert shown["/eval_total_loss"][-1] < shown["/eval_total_loss"][0]


@pytest.mark.usefixtures("uploaded")
def test_row_12_without_validation_data_only_training_metrics(vertex: Vertex) -> None:
    made = vertex.ok("POST", JOBS, body(spec={"validation_dataset_uri": None}), version="v1")
    assert {name[:7] for name in metrics(vertex, waited(vertex, made["name"]))} == {"/train_"}


@pytest.mark.usefixtures("uploaded")
def test_row_15_more_epochs_learn_more(vertex: Vertex) -> None:
    ends = []
    for epochs in (1, 6):
        made = vertex.ok("POST", JOBS, body(spec={"hyper_parameters": {"epoch_count": epochs}}), version="v1")
        ends.append(metrics(vertex, waited(vertex, made["name"]))["/eval_total_loss"][-1])
    assert ends[1] < ends[0]
