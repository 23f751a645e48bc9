"""
### Retrain a Gemini model

Checks, prices and uploads the dataset, creates a tuning job on Vertex AI, waits for it without holding a worker,
collects its metrics and asks the tuned model prompts whose answers are known. If it keeps its gates and is better than
the model in use, it takes that one's place. A report of each run lies beside its dataset; the last task links to it.

There is one such DAG for every file in `include/tunings/`. It runs on that file's schedule, whenever the dataset's
asset is updated, and by hand: **Trigger** opens a form with the file's values. When a model is promoted, the tuned
model's asset is updated; its event names job, model, endpoint, dataset, metrics and verdict.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable
from vertex_tuning.config import Tuning, load_tunings
from vertex_tuning.defaults import DEFAULT_ARGS
from vertex_tuning.form import form
from vertex_tuning.task_groups import tuning_pipeline
from vertex_tuning.tuning_folders import tuning_folders

PROJECT = Path(__file__).resolve().parent.parent


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
            tuning=tuning.name,
            base_model="{{ params.base_model }}",
            training_data="{{ params.training_data }}",
            validation_data="{{ params.validation_data or '' }}",
            bucket=tuning.bucket,
            location=tuning.location,
            labels=tuning.labels,
            dataset=_dataset(tuning),
            job=_job(tuning),
            job_timeout=tuning.job_timeout_hours * 3600,
            metrics={"metrics_timeout": tuning.metrics_timeout_minutes * 60},
            cases=tuning.smoke_test.asked(),
            ask_cases="{{ params.ask_smoke_cases }}",
            sample_size=tuning.smoke_test.sample_size,
            smoke_test={
                "min_pass_share": tuning.smoke_test.min_pass_share,
                "min_sample_share": tuning.smoke_test.min_sample_share,
                "on_refused": tuning.promotion.on_refused,
            },
            evaluation={
                "gates": tuning.gates,
                "on_missing_metrics": tuning.on_missing_metrics,
                "on_refused": tuning.promotion.on_refused,
            },
            rule=tuning.promotion.rule,
            champion_alias=tuning.promotion.champion_alias,
            approval_deadline=tuning.promotion.approval_deadline,
            model_asset=Asset(f"{tuning.name}_model"),
        )
    return dag


def _dataset(tuning: Tuning) -> dict[str, Any]:
    return {
        **tuning.dataset.model_dump(),
        "base_dir": str(PROJECT),
        "epoch_count": "{{ params.epoch_count or '' }}",
        "tuning_task": tuning.task,
        "prices": str(PROJECT / "include" / "prices.yaml"),
        "max_cost": "{{ params.max_cost or '' }}",
        "max_training_tokens": tuning.budget.max_training_tokens,
    }


def _job(tuning: Tuning) -> dict[str, Any]:
    return {
        "learning_rate_multiplier": "{{ params.learning_rate_multiplier }}",
        "adapter_size": "{{ params.adapter_size }}",
        "display_name": "{{ params.display_name }}",
        "skip_if_unchanged": "{{ not params.force }}" if tuning.skip_if_unchanged else False,
    }


for folder in tuning_folders(PROJECT):
    for each in load_tunings(folder)[0]:
        globals()[f"retrain_{each.name}"] = retraining_dag(each)
