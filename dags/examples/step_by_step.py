"""Each operator alone, wired by results: a DAG to take single steps from."""

from __future__ import annotations

from airflow.sdk import DAG, Param
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.evaluation import EvaluateModelOperator
from vertex_tuning.operators.metrics import CollectMetricsOperator
from vertex_tuning.operators.registry import PromoteModelOperator
from vertex_tuning.operators.smoke_test import SmokeTestOperator
from vertex_tuning.operators.tuning_job import (
    CancelUnfinishedJobsOperator,
    CreateTuningJobOperator,
    GetTuningJobOperator,
    ListTuningJobsOperator,
)
from vertex_tuning.sensors import TuningJobSensor

TUNING = "example_step_by_step"
CASES = [{"prompt": "My card is late, message 3.", "equals": "late"}]

with DAG(
    TUNING,
    schedule=None,
    doc_md=__doc__,
    params={
        "training_data": Param("gs://my-bucket/train.jsonl", type="string"),
        "validation_data": Param("gs://my-bucket/validation.jsonl", type="string"),
        "epoch_count": Param(3, type="integer", minimum=1),
    },
    default_args={"location": "{{ var.value.vertex_tuning_location }}"},
    tags=["example"],
) as dag:
    upload = UploadDatasetOperator(
        task_id="upload",
        training_data="{{ params.training_data }}",
        validation_data="{{ params.validation_data }}",
        bucket="{{ var.value.vertex_tuning_bucket }}",
        base_model="gemini-3.1-flash-lite",
        epoch_count="{{ params.epoch_count }}",
        max_cost=5,
    )
    create = CreateTuningJobOperator(
        task_id="create",
        base_model="gemini-3.1-flash-lite",
        training_uri=upload.output["training_uri"],
        validation_uri=upload.output["validation_uri"],
        epoch_count=upload.output["epoch_count"],
        display_name="step by step",
        labels={"airflow-tuning": TUNING},
    )
    wait = TuningJobSensor(task_id="wait", job_name=create.output["name"], cancel_on_kill=True, cancel_on_timeout=True)
    metrics = CollectMetricsOperator(task_id="metrics", job_name=wait.output["name"])
    smoke_test = SmokeTestOperator(task_id="smoke_test", endpoint=metrics.output["endpoint"], cases=CASES)
    evaluate = EvaluateModelOperator(
        task_id="evaluate",
        tuning=TUNING,
        job_name=wait.output["name"],
        values=[metrics.output["values"], smoke_test.output["values"]],
        gates=[{"value": "overfitting", "max": 0}],
        rule={"value": "sample.exact_share"},
        cases=CASES,
        sample_uri=upload.output["sample_uri"],
    )
    PromoteModelOperator(
        task_id="promote",
        tuning=TUNING,
        model=evaluate.output["model"],
        expected_champion=evaluate.output["champion_model"],
    )

    # Cancels the job if the run ends before the wait.
    wait >> CancelUnfinishedJobsOperator(task_id="cancel_unfinished_jobs", created_by="create").as_teardown()

    # Jobs can be read at any time.
    GetTuningJobOperator(task_id="get", job_name=create.output["name"])
    create >> ListTuningJobsOperator(task_id="list", filter=f"labels.airflow-tuning={TUNING}", limit=20)
