"""The upload task against the live local Google Cloud."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from vertex_tuning import exceptions
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.operators.dataset import UploadDatasetOperator

from tests.emulator_fixture import classification_rows
from tests.vertex_tuning.conftest import TRAINING
from tests.vertex_tuning.tasks import execute


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path.name


def upload(folder: Path, **arguments: Any) -> UploadDatasetOperator:
    return UploadDatasetOperator(task_id="upload", bucket="bucket", base_dir=str(folder), **arguments)


def test_local_files_are_checked_and_uploaded_under_their_content(tmp_path: Path, storage: StorageHook) -> None:
    training = write(tmp_path / "t.jsonl", *classification_rows(30))
    validation = write(tmp_path / "v.jsonl", *classification_rows(6))
    result = execute(upload(tmp_path, training_data=training, validation_data=validation))
    assert (result["training"]["rows"], result["validation"]["rows"]) == (30, 6)
    assert result["training"]["sha256"] in result["training_uri"]
    with storage.open_object(result["validation_uri"]) as file:
        assert file.read() == (tmp_path / "v.jsonl").read_bytes()
    assert execute(upload(tmp_path, training_data=training))["training_uri"] == result["training_uri"]


def test_data_in_cloud_storage_is_checked_and_used_where_it_is(tmp_path: Path) -> None:
    result = execute(upload(tmp_path, training_data=TRAINING, validation_data=""))
    assert (result["training_uri"], result["validation_uri"]) == (TRAINING, None)
    assert result["training"]["rows"] == 120


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "found no rows"),
        (["not json"], "t.jsonl, line 1: not JSON"),
        ([{"contents": []}], "line 1"),
        ([*classification_rows(3), {"prompt": "x"}], "line 4"),
    ],
)
def test_a_dataset_that_cannot_work_is_refused_before_anything_is_uploaded(
    tmp_path: Path, emulator: str, content: list[Any], words: str
) -> None:
    write(tmp_path / "v.jsonl", *classification_rows(3))
    operator = upload(tmp_path, training_data="v.jsonl", validation_data=write(tmp_path / "t.jsonl", *content))
    before = httpx.get(f"{emulator}/storage/v1/b/bucket/o").json()
    with pytest.raises(exceptions.DatasetError, match=words):
        execute(operator)
    assert httpx.get(f"{emulator}/storage/v1/b/bucket/o").json() == before


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(exceptions.DatasetError, match=r"none\.jsonl: found no file"):
        execute(upload(tmp_path, training_data="none.jsonl"))


@pytest.mark.parametrize("source", ["/etc/passwd", "../outside.jsonl", "link.jsonl"])
def test_a_path_from_a_form_reads_nothing_outside_the_dataset_folders(tmp_path: Path, source: str) -> None:
    (tmp_path / "outside.jsonl").write_text("secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    with pytest.raises(exceptions.ConfigurationError, match="dataset_dirs") as error:
        execute(upload(inside, training_data=source))
    assert "secret" not in str(error.value)


def test_further_folders_are_opened_by_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(3))
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DATASET_DIRS", f"/nowhere:{tmp_path}")
    (tmp_path / "base").mkdir()
    assert execute(upload(tmp_path / "base", training_data=str(tmp_path / "t.jsonl")))["training"]["rows"] == 3
