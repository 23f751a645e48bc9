"""The pipeline in anyone's DAG."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.operators.report import WriteReportOperator, keep_error
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator
from vertex_tuning.task_groups import tuning_pipeline


def pipeline(**arguments: Any) -> Any:
    return tuning_pipeline(
        tuning="cards",
        base_model="gemini-3.1-flash-lite",
        training_data="gs://data/train.jsonl",
        validation_data=None,
        bucket="bucket",
        cases=[{"prompt": "Where is my card?", "equals": "late"}],
        **arguments,
    )


def alarm(context: Any) -> None:
    """Somebody's own callback."""


def test_the_dags_own_callbacks_stay() -> None:
    with DAG("d", schedule=None, default_args={"on_failure_callback": alarm}):
        made = pipeline(approval_deadline=timedelta(hours=1))
    for task in (made.upload_dataset, made.approve_model, made.promote_model):
        assert list(task.on_failure_callback) == [alarm, keep_error]


def test_in_a_task_group_every_task_reads_from_the_others_of_its_group() -> None:
    with DAG("d", schedule=None) as dag, TaskGroup("nightly"):
        made = pipeline()
    assert all(task_id.startswith("nightly.") for task_id in dag.task_ids)
    assert "task_ids='nightly.create_tuning_job'" in made.wait_for_tuning_job.job_name
    report, cancel = dag.task_dict["nightly.write_report"], dag.task_dict["nightly.cancel_unfinished_jobs"]
    assert isinstance(report, WriteReportOperator)
    assert report.tasks["evaluation"] == "nightly.evaluate_model"
    assert isinstance(cancel, CancelUnfinishedJobsOperator)
    assert cancel.created_by == "nightly.create_tuning_job"


def test_what_is_known_of_a_tuning_goes_onto_its_job() -> None:
    with DAG("d", schedule=None):
        made = pipeline(labels={"team": "cards"})
    labels = made.create_tuning_job.labels
    assert (labels["team"], labels["airflow-tuning"]) == ("cards", "cards")
    assert "['rows_hash'][:32]" in labels["airflow-dataset"]


def test_preference_data_is_refused_before_it_is_uploaded_for_the_wrong_kind_of_job() -> None:
    with DAG("d", schedule=None), pytest.raises(ConfigurationError, match=r"dataset\.kind: expected 'supervised'"):
        pipeline(dataset={"kind": "preference"})
