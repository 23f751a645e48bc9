"""
### Retrain a Gemini model

Checks and uploads the dataset, creates a tuning job on Vertex AI, waits for it without holding a worker, collects
its metrics and asks the tuned model a few prompts whose answers are known.

There is one such DAG for every file in `include/tunings/`. It runs on that file's schedule, whenever the dataset's
asset is updated, and by hand: **Trigger** opens a form with the file's values. When all five steps have passed, the
tuned model's asset is updated; its event names job, model, endpoint and headline metrics.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, conf
from vertex_tuning.config import Tuning, load_tunings
from vertex_tuning.exceptions import STOP_ON_PERMANENT_ERRORS
from vertex_tuning.form import form
from vertex_tuning.task_groups import tuning_pipeline

PROJECT = Path(__file__).resolve().parent.parent

DEFAULT_ARGS = {
    "retries": 3,
    "retry_delay": timedelta(seconds=conf.getfloat("vertex_tuning", "retry_delay", fallback=60.0)),
    "retry_exponential_backoff": 2,
    "max_retry_delay": timedelta(minutes=30),
    "retry_policy": STOP_ON_PERMANENT_ERRORS,
}


def retraining_dag(tuning: Tuning) -> DAG:
    """The DAG of one tuning."""
    # No start date, and a first run that is never one already missed: switching a DAG on must not cost anything.
    cron = CronTriggerTimetable(tuning.schedule.cron, timezone=tuning.schedule.timezone, run_immediately=timedelta(0))
    with DAG(
        dag_id=f"retrain_{tuning.name}",
        description=tuning.description,
        doc_md=__doc__,
        schedule=AssetOrTimeSchedule(timetable=cron, assets=[Asset(f"{tuning.name}_dataset")]),
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULT_ARGS,
        params=form(tuning),
        tags=["vertex-ai", "tuning"],
    ) as dag:
        tuning_pipeline(
            base_model="{{ params.base_model }}",
            training_data="{{ params.training_data }}",
            validation_data="{{ params.validation_data or '' }}",
            epoch_count="{{ params.epoch_count }}",
            learning_rate_multiplier="{{ params.learning_rate_multiplier }}",
            adapter_size="{{ params.adapter_size }}",
            display_name="{{ params.display_name }}",
            labels=tuning.labels,
            location=tuning.location,
            bucket=tuning.bucket,
            base_dir=str(PROJECT),
            job_timeout=tuning.job_timeout_hours * 3600,
            smoke_cases=tuning.smoke_test.asked(),
            ask_cases="{{ params.ask_smoke_cases }}",
            min_pass_share=tuning.smoke_test.min_pass_share,
            model_asset=Asset(f"{tuning.name}_model"),
        )
    return dag


for each in load_tunings(PROJECT / "include" / "tunings")[0]:
    globals()[f"retrain_{each.name}"] = retraining_dag(each)
