"""Wait for a tuning job that was started elsewhere, e.g. in a notebook, and read its metrics.

The sensor only looks: it never cancels a job of another program. It waits in the triggerer, without a worker.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param
from vertex_tuning.operators.metrics import CollectMetricsOperator
from vertex_tuning.sensors import TuningJobSensor

with DAG(
    "example_wait_for_a_job",
    schedule=None,
    doc_md=__doc__,
    params={
        "job_name": Param(
            "projects/my-project/locations/us-central1/tuningJobs/123",
            type="string",
            pattern="^projects/[^/]+/locations/[^/]+/tuningJobs/[0-9]+$",
        )
    },
    tags=["example"],
) as dag:
    wait = TuningJobSensor(task_id="wait", job_name="{{ params.job_name }}", timeout=24 * 3600)
    CollectMetricsOperator(task_id="metrics", job_name=wait.output["name"])
