"""The whole retraining as one call, for anyone's DAG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg, chain

from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.metrics import CollectMetricsOperator
from vertex_tuning.operators.smoke_test import SmokeTestOperator
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator, CreateTuningJobOperator
from vertex_tuning.sensors import TuningJobSensor

if TYPE_CHECKING:
    from airflow.sdk import Asset


@dataclass(frozen=True)
class Pipeline:
    """The five tasks, to hang further ones onto."""

    upload_dataset: UploadDatasetOperator
    create_tuning_job: CreateTuningJobOperator
    wait_for_tuning_job: TuningJobSensor
    collect_metrics: CollectMetricsOperator
    smoke_test: SmokeTestOperator


def tuning_pipeline(
    *,
    base_model: str,
    training_data: str,
    validation_data: str | None,
    bucket: str,
    smoke_cases: list[dict[str, Any]],
    ask_cases: bool | str = True,
    min_pass_share: float = 1.0,
    base_dir: str = ".",
    job_timeout: float = 86_400.0,
    model_asset: Asset | None = None,
    location: str = "us-central1",
    gcp_conn_id: str = "google_cloud_default",
    **job: Any,
) -> Pipeline:
    """Add the five steps of a retraining, in order, to the DAG or task group one is in.

    A teardown beside them cancels a job that a run left behind, as when it was marked failed before the waiting began.

    :param base_model: as every text here, may be a template
    :param training_data: local JSONL file or `gs://` URI
    :param bucket: bucket to upload to
    :param smoke_cases: see :class:`~vertex_tuning.smoke.SmokeCase`
    :param ask_cases: whether these cases suit the data; without them only a sample of the validation data is asked
    :param job_timeout: seconds the job may take
    :param model_asset: updated when the model has passed; its event says job, model, endpoint and headline metrics
    :param job: further arguments of :class:`~vertex_tuning.operators.tuning_job.CreateTuningJobOperator`
    """
    where: dict[str, Any] = {"location": location, "gcp_conn_id": gcp_conn_id}
    upload = UploadDatasetOperator(
        task_id="upload_dataset",
        training_data=training_data,
        validation_data=validation_data,
        bucket=bucket,
        base_dir=base_dir,
        **where,
    )
    create = CreateTuningJobOperator(
        task_id="create_tuning_job",
        base_model=base_model,
        training_uri=_result_of(upload, "['training_uri']"),
        validation_uri=_result_of(upload, "['validation_uri'] or ''"),
        **job,
        **where,
    )
    wait = TuningJobSensor(
        task_id="wait_for_tuning_job", job_name=_result_of(create, "['name']"), timeout=job_timeout, **where
    )
    metrics = CollectMetricsOperator(task_id="collect_metrics", job_name=_result_of(wait, "['name']"), **where)
    smoke_test = SmokeTestOperator(
        task_id="smoke_test",
        endpoint=_result_of(wait, "['tuned_model']['endpoint']"),
        cases=smoke_cases,
        ask_cases=ask_cases,
        min_pass_share=min_pass_share,
        sample_uri=_result_of(upload, "['validation_uri']"),
        outlets=[model_asset] if model_asset else [],
        event_extra={
            "job": _result_of(wait, "['name']"),
            "model": _result_of(wait, "['tuned_model']['model']"),
            "endpoint": _result_of(wait, "['tuned_model']['endpoint']"),
            "metrics": XComArg(metrics, key="headline"),
        },
        **where,
    )
    cancel_unfinished = CancelUnfinishedJobsOperator(
        task_id="cancel_unfinished_jobs", created_by=create.task_id, **where
    )
    chain(upload, create, wait, metrics, smoke_test)
    wait >> cancel_unfinished.as_teardown()
    return Pipeline(upload, create, wait, metrics, smoke_test)


def _result_of(task: Any, path: str) -> str:
    """A template that reads from what a task returned."""
    return f"{{{{ ti.xcom_pull(task_ids='{task.task_id}'){path} }}}}"
