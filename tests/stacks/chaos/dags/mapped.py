"""Several jobs from one dataset: dynamically mapped creates, and for each a wait."""

from __future__ import annotations

from typing import Final

from airflow.sdk import DAG
from vertex_tuning.config.default_args import DEFAULT_ARGS
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator, CreateTuningJobOperator
from vertex_tuning.sensors import TuningJobSensor

from include.local.stack import PROJECT_DIR

BASE_MODEL: Final = "gemini-3.1-flash-lite"
DATA: Final = "include/data/support_triage/training.jsonl"

with DAG("tune_mapped", schedule=None, default_args=DEFAULT_ARGS):
    upload = UploadDatasetOperator(
        task_id="upload_dataset",
        training_data=DATA,
        base_dir=str(PROJECT_DIR),
        bucket="{{ var.value.vertex_tuning_bucket }}",
        base_model=BASE_MODEL,
    )
    create = CreateTuningJobOperator.partial(
        task_id="create_tuning_job",
        base_model=BASE_MODEL,
        training_uri="{{ ti.xcom_pull(task_ids='upload_dataset')['training_uri'] }}",
        adapter_size=4,
    ).expand(epoch_count=[1, 2])
    wait = TuningJobSensor.partial(task_id="wait_for_tuning_job", cancel_on_kill=True, cancel_on_timeout=True).expand(
        job_name=create.output.map(lambda job: job["name"])
    )
    cancel = CancelUnfinishedJobsOperator(task_id="cancel_unfinished_jobs", created_by="create_tuning_job")
    upload >> create >> wait >> cancel.as_teardown()
