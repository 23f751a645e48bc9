"""Train the same data with several adapter sizes, and name the job with the lowest validation loss."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task
from vertex_tuning.operators.metrics import CollectMetricsOperator
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator, CreateTuningJobOperator
from vertex_tuning.sensors import TuningJobSensor

with DAG(
    "example_sweep",
    schedule=None,
    doc_md=__doc__,
    params={
        "training_uri": Param("gs://my-bucket/train.jsonl", type="string"),
        "validation_uri": Param("gs://my-bucket/validation.jsonl", type="string"),
        "epoch_count": Param(3, type="integer", minimum=1),
    },
    default_args={"location": "{{ var.value.vertex_tuning_location }}"},
    tags=["example"],
) as dag:
    create = CreateTuningJobOperator.partial(
        task_id="create",
        base_model="gemini-3.1-flash-lite",
        training_uri="{{ params.training_uri }}",
        validation_uri="{{ params.validation_uri }}",
        epoch_count="{{ params.epoch_count }}",
        display_name="sweep",
    ).expand(adapter_size=[1, 4, 16])
    wait = TuningJobSensor.partial(task_id="wait", cancel_on_kill=True, cancel_on_timeout=True).expand(
        job_name=create.output.map(lambda job: job["name"])
    )
    metrics = CollectMetricsOperator.partial(task_id="metrics").expand(
        job_name=wait.output.map(lambda job: job["name"])
    )

    @task
    def find_best(found: Any) -> dict[str, Any]:
        """The job with the lowest validation loss, of the metrics of all jobs."""
        best = min(found, key=lambda one: one["values"]["eval_total_loss.last"])
        return {"job_name": best["job_name"], "loss": best["values"]["eval_total_loss.last"]}

    find_best(metrics.output)
    wait >> CancelUnfinishedJobsOperator(task_id="cancel_unfinished_jobs", created_by="create").as_teardown()
