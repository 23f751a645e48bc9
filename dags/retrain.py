"""### Retrain a Gemini model.

Each run checks the dataset, estimates the price and uploads the data. It creates a tuning job on Vertex AI and waits
for it without occupying a worker. It collects the metrics and sends the smoke-test prompts to the tuned model. The new
model replaces the model in use if it passes all gates and scores better. Each run writes a report to the folder of its
dataset; the last task links to it.

Each file in `include/tunings/` has one such DAG. It runs on the schedule of the file, when the asset of the dataset is
updated, and by hand: **Trigger** opens a form with the values of the file. A promotion updates the asset of the tuned
model; its event has job, model, endpoint, dataset, metrics and verdict.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable
from vertex_tuning.config.base_models import RETIRING_TAG
from vertex_tuning.config.default_args import DEFAULT_ARGS
from vertex_tuning.config.loader import Tuning, build_tunings, project_folder
from vertex_tuning.config.params import ASK_CASES_FROM_FORM, form, form_macros, from_form, known_keys_only
from vertex_tuning.config.tuning_folders import tuning_folders
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.pipeline import tuning_pipeline

PROJECT = project_folder(__file__)


def retraining_dag(tuning: Tuning) -> DAG:
    """The DAG of one tuning."""
    warning = tuning.retirement_note
    with DAG(
        dag_id=f"retrain_{tuning.name}",
        description=f"{warning} {tuning.description}".strip(),
        doc_md=f"**{warning}**\n\n{__doc__}" if warning else __doc__,
        schedule=_schedule(tuning),
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULT_ARGS,
        params=form(tuning),
        user_defined_macros=form_macros(tuning),
        tags=["vertex-ai", "tuning", *([RETIRING_TAG] if warning else [])],
        auto_register=False,  # check_tunings.py runs this file, too
    ) as dag:
        tuning_pipeline(
            from_form(tuning),
            ask_cases=ASK_CASES_FROM_FORM,
            base_dir=PROJECT,
            pre_execute=known_keys_only(form(tuning)),
            model_asset=Asset(f"{tuning.name}_model"),
        )
    return dag


def _schedule(tuning: Tuning) -> AssetOrTimeSchedule:
    """The schedule of the file, and each update of the dataset's asset."""
    schedule = tuning.schedule
    if schedule is None:  # the loader requires one
        raise ConfigurationError("schedule: found nothing, expected a cron expression.")
    # No start date, and no run for a time in the past: switching a DAG on must not start a job.
    cron = CronTriggerTimetable(schedule.cron, timezone=schedule.timezone, run_immediately=timedelta(0))
    return AssetOrTimeSchedule(timetable=cron, assets=[Asset(f"{tuning.name}_dataset")])


dags, mistakes = build_tunings(tuning_folders(PROJECT), retraining_dag)
globals().update({dag.dag_id: dag for dag in dags.values()})
