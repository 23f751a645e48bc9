"""Data that is used where it is, and is replaced between being checked and being trained on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from vertex_tuning import exceptions
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.operators.dataset import UploadDatasetOperator

from tests.support.emulator import classification_rows, upload
from tests.support.google_cloud import LOCATION
from tests.support.tasks import TaskContext, create, execute, origin, sensor

Control = Callable[..., None]


@pytest.fixture
def checked(emulator: str) -> dict[str, Any]:
    """What the upload returns for data that is in Cloud Storage already."""
    uri = upload(emulator, f"gs://data/{uuid4().hex}.jsonl", classification_rows(24))
    result: dict[str, Any] = execute(UploadDatasetOperator(task_id="u", training_data=uri, bucket="bucket"))
    assert result["training_uri"] == uri
    return result


def arguments(checked: dict[str, Any]) -> dict[str, Any]:
    return {
        "training_uri": checked["training_uri"],
        "validation_uri": None,
        "manifest_uri": checked["manifest_uri"],
        "labels": {"team": "x"},
    }


def replace(emulator: str, checked: dict[str, Any]) -> None:
    upload(emulator, checked["training_uri"], classification_rows(25))


def jobs_of(context: TaskContext) -> list[str]:
    return [job.name for job in VertexTuningHook(GoogleConnection(location=LOCATION)).jobs_of(origin(context).identity)]


def test_no_job_is_created_on_data_nobody_checked(emulator: str, checked: dict[str, Any]) -> None:
    replace(emulator, checked)
    context = TaskContext(uuid4().hex)
    with pytest.raises(exceptions.DatasetError, match="other data than was checked") as error:
        execute(create(**arguments(checked)), context)
    assert checked["training_uri"] in str(error.value)
    assert jobs_of(context) == []


def test_the_same_data_copied_there_once_more_is_trained_on(emulator: str, checked: dict[str, Any]) -> None:
    upload(emulator, checked["training_uri"], classification_rows(24))
    context = TaskContext(uuid4().hex)
    assert jobs_of(context) == []
    assert execute(create(**arguments(checked)), context)["name"] in jobs_of(context)


def test_validation_data_is_looked_at_as_well(emulator: str, checked: dict[str, Any]) -> None:
    validation = upload(emulator, f"gs://data/{uuid4().hex}.jsonl", classification_rows(10))
    both = {"training_data": checked["training_uri"], "validation_data": validation, "bucket": "bucket"}
    given = arguments(execute(UploadDatasetOperator(task_id="u", **both))) | {"validation_uri": validation}
    upload(emulator, validation, classification_rows(11))
    with pytest.raises(exceptions.DatasetError, match=f"{validation}: found other data"):
        execute(create(**given), TaskContext(uuid4().hex))


def test_nor_on_data_that_is_gone(emulator: str, checked: dict[str, Any]) -> None:
    name = checked["training_uri"].removeprefix("gs://data/")
    httpx.delete(f"{emulator}/storage/v1/b/data/o/{name}").raise_for_status()
    context = TaskContext(uuid4().hex)
    with pytest.raises(exceptions.DatasetError, match="or no data"):
        execute(create(**arguments(checked)), context)
    assert jobs_of(context) == []


def test_a_job_that_was_created_before_is_adopted_all_the_same(emulator: str, checked: dict[str, Any]) -> None:
    context = TaskContext(uuid4().hex)
    created = execute(create(**arguments(checked)), context)
    replace(emulator, checked)
    assert execute(create(**arguments(checked)), context)["name"] == created["name"]


def test_a_job_that_failed_in_passing_is_not_created_again_on_other_data(
    emulator: str, checked: dict[str, Any], control: Control
) -> None:
    control("lifecycle", labels={"team": "x"}, failure={"code": 13, "message": "Oh.", "step": 1}, count=1)
    context = TaskContext(uuid4().hex)
    created = execute(create(**arguments(checked)), context)
    replace(emulator, checked)
    waiting = sensor(created["name"], deferrable=False, poke_interval=0.05, manifest_uri=checked["manifest_uri"])
    with pytest.raises(exceptions.DatasetError, match="other data than was checked"):
        execute(waiting, context)
    assert jobs_of(context) == [created["name"]]


def test_the_same_data_in_two_places_has_two_manifests(emulator: str, checked: dict[str, Any]) -> None:
    elsewhere = upload(emulator, f"gs://data/{uuid4().hex}.jsonl", classification_rows(24))
    again = execute(UploadDatasetOperator(task_id="u", training_data=elsewhere, bucket="bucket"), TaskContext("other"))
    assert again["dataset_hash"] == checked["dataset_hash"]
    assert again["manifest_uri"] != checked["manifest_uri"]
    for result in (checked, again):
        assert execute(create(**arguments(result)), TaskContext(uuid4().hex))["name"]


def test_validation_data_in_another_place_has_another_manifest_too(emulator: str) -> None:
    rows = {"training": classification_rows(40), "validation": classification_rows(12)}
    training, first, second = (
        upload(emulator, f"gs://data/{uuid4().hex}.jsonl", rows[kind]) for kind in ("training", *["validation"] * 2)
    )
    results = [
        execute(UploadDatasetOperator(task_id="u", training_data=training, validation_data=validation, bucket="bucket"))
        for validation in (first, second)
    ]
    for result in results:
        given = arguments(result) | {"validation_uri": result["validation_uri"]}
        assert execute(create(**given), TaskContext(uuid4().hex))["name"]


def test_a_manifest_of_other_data_does_not_vouch_for_ours(emulator: str, checked: dict[str, Any]) -> None:
    elsewhere = upload(emulator, f"gs://data/{uuid4().hex}.jsonl", classification_rows(24))
    given = arguments(checked) | {"training_uri": elsewhere}
    with pytest.raises(exceptions.DatasetError, match=f"nothing about {elsewhere}"):
        execute(create(**given), TaskContext(uuid4().hex))


def test_a_manifest_that_is_none_vouches_for_nothing(checked: dict[str, Any], storage: StorageHook) -> None:
    storage.write_object(checked["manifest_uri"], b"{}", "application/json")
    context = TaskContext(uuid4().hex)
    with pytest.raises(exceptions.DatasetError, match="or is not valid"):
        execute(create(**arguments(checked)), context)
    assert jobs_of(context) == []
