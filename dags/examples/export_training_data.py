"""Export training data from BigQuery, and start the retraining with it.

The table has the columns `prompt` and `response`. The event of the asset names the exported file, and the DAG
`retrain_support_triage` runs after each event. Its tuning file takes the file from the event:

    training_data: >-
      {%- set events = triggering_asset_events.values() | sum(start=[]) -%}
      {{ events[-1].extra.training_data if events else 'gs://my-bucket/exports/latest.jsonl' }}
"""

from __future__ import annotations

from typing import Any

from airflow.providers.google.cloud.transfers.bigquery_to_gcs import BigQueryToGCSOperator
from airflow.sdk import DAG, Asset, task

DATASET = Asset("support_triage_dataset")
FILE = "gs://{{ var.value.vertex_tuning_bucket }}/exports/{{ run_id | replace(':', '-') }}.jsonl"

with DAG("example_export_training_data", schedule="0 4 * * 1", catchup=False, doc_md=__doc__, tags=["example"]) as dag:
    export = BigQueryToGCSOperator(
        task_id="export",
        source_project_dataset_table="my-project.support.answered_messages",
        destination_cloud_storage_uris=[FILE],
        export_format="NEWLINE_DELIMITED_JSON",
    )

    @task(outlets=[DATASET])
    def announce(file: str, outlet_events: Any = None) -> None:
        """Name the file in the event, which starts the retraining."""
        outlet_events[DATASET].extra = {"training_data": file}

    export >> announce(FILE)
