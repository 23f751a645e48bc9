"""Start a DAG of your own when a file arrives in Cloud Storage.

A notification of the bucket sends a message to Pub/Sub for each new object. The trigger waits for messages, and the
event of the asset names the objects. In a tuning file, `schedule.watch` does the same for its retraining.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task
from vertex_tuning.new_data import NewDataTrigger
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.tuning_job import CreateTuningJobOperator

TRIGGER = NewDataTrigger(subscription="projects/my-project/subscriptions/tickets")
FILES = Asset("example_new_files", watchers=[AssetWatcher(name="tickets", trigger=TRIGGER)])

with DAG("example_train_with_new_files", schedule=[FILES], max_active_runs=1, doc_md=__doc__, tags=["example"]) as dag:

    @task
    def newest_file(triggering_asset_events: Any = None) -> str:
        """The object that arrived last."""
        objects: list[str] = [
            name for event in triggering_asset_events[FILES] for name in event.extra["payload"]["objects"]
        ]
        return objects[-1]

    file: Any = newest_file()
    upload = UploadDatasetOperator(
        task_id="upload",
        training_data=file,
        bucket="{{ var.value.vertex_tuning_bucket }}",
        base_model="gemini-3.1-flash-lite",
        location="{{ var.value.vertex_tuning_location }}",
        max_cost=5,
    )
    CreateTuningJobOperator(
        task_id="train",
        base_model="gemini-3.1-flash-lite",
        training_uri=upload.output["training_uri"],
        epoch_count=upload.output["epoch_count"],
        display_name="new files",
        labels={"airflow-tuning": "example_new_files"},
        location="{{ var.value.vertex_tuning_location }}",
        wait_for_completion=True,
    )
