"""Data whose place only a run knows: by its date, or from the asset event that started it."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.api.datamodels._generated import AssetReferenceAssetEventDagRun
from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult
from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor
from vertex_tuning.operators.dataset import UploadDatasetOperator


def upload_task(project_dir: Path, folder: Path, **fields: str) -> UploadDatasetOperator:
    """The first task of the sample's DAG, with other fields in its file."""
    for name in ("dags", "include/tunings"):
        shutil.copytree(project_dir / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "include/tunings/support_triage.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **fields}))
    task = DagBag(dag_folder=str(folder / "dags/retrain.py")).dags["retrain_support_triage"].task_dict["upload_dataset"]
    assert isinstance(task, UploadDatasetOperator)
    return task


def event(number: int, extra: dict[str, Any]) -> AssetEventDagRunReferenceResult:
    return AssetEventDagRunReferenceResult(
        asset=AssetReferenceAssetEventDagRun(name="support_triage_dataset", uri="support_triage_dataset", extra={}),
        extra=extra,
        source_task_id="export",
        source_dag_id="upstream",
        source_run_id=f"run {number}",
        source_map_index=-1,
        source_aliases=[],
        timestamp=datetime(2026, 1, 5, number, tzinfo=UTC),
    )


def rendered(task: UploadDatasetOperator, *extras: dict[str, Any], **form: Any) -> tuple[str, str]:
    """Training and validation data of a run of 5 January 2026.

    :param extras: of the asset events that started it, the oldest first
    :param form: what was changed in the form
    """
    assert task.dag
    events = TriggeringAssetEventsAccessor.build([event(number, extra) for number, extra in enumerate(extras)])
    context: Any = {"params": {**task.dag.params.dump(), **form}, "ds": "2026-01-05", "triggering_asset_events": events}
    environment = task.get_template_env()
    training, validation = (
        task.render_template(source, context, environment) for source in (task.training_data, task.validation_data)
    )
    return str(training), str(validation)


def test_a_path_may_have_the_runs_date_in_it(project_dir: Path, tmp_path: Path) -> None:
    fields = {"training_data": "gs://data/{{ ds }}/train.jsonl", "validation_data": "gs://data/{{ ds }}/check.jsonl"}
    task = upload_task(project_dir, tmp_path, **fields)
    assert rendered(task) == ("gs://data/2026-01-05/train.jsonl", "gs://data/2026-01-05/check.jsonl")


def test_a_path_from_the_form_is_used_as_it_is(project_dir: Path, tmp_path: Path) -> None:
    task = upload_task(project_dir, tmp_path, training_data="gs://data/{{ ds }}.jsonl")
    foreign = "{{ conn.google_cloud_default.password }}"
    assert rendered(task, training_data="other.jsonl", validation_data=None) == ("other.jsonl", "")
    assert rendered(task, training_data=foreign, validation_data=foreign) == (foreign, foreign)


@pytest.fixture
def by_event(project_dir: Path, tmp_path: Path) -> UploadDatasetOperator:
    """The example of the page about data."""
    examples = re.findall(r"```yaml\n(.*?)```", (project_dir / "docs" / "own-data.md").read_text(), re.DOTALL)
    [example] = [example for example in examples if "triggering_asset_events" in example]
    return upload_task(project_dir, tmp_path, **yaml.safe_load(example))


def test_the_file_that_an_asset_event_names_is_used(by_event: UploadDatasetOperator) -> None:
    assert rendered(by_event, {"training_data": "gs://data/new.jsonl"})[0].strip() == "gs://data/new.jsonl"


def test_of_several_events_the_newest_counts(by_event: UploadDatasetOperator) -> None:
    events = [{"training_data": f"gs://data/{number}.jsonl"} for number in range(3)]
    assert rendered(by_event, *events)[0].strip() == "gs://data/2.jsonl"


def test_what_an_event_names_is_never_rendered_itself(by_event: UploadDatasetOperator) -> None:
    foreign = "{{ var.value.secret }}"
    assert rendered(by_event, {"training_data": foreign})[0].strip() == foreign


def test_without_an_event_the_files_own_data_is_used(by_event: UploadDatasetOperator) -> None:
    assert rendered(by_event)[0].strip() == "gs://my-bucket/exports/latest.jsonl"
