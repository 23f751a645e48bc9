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
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable
from vertex_tuning.config.base_models import RETIRING_TAG
from vertex_tuning.config.default_args import DEFAULT_ARGS
from vertex_tuning.config.loader import Tuning, build_tunings, project_folder
from vertex_tuning.config.params import form, known_keys_only
from vertex_tuning.config.switches import parse_switch
from vertex_tuning.config.tuning_folders import tuning_folders
from vertex_tuning.pipeline import tuning_pipeline
from vertex_tuning.templates import template_mark

PROJECT = project_folder(__file__)


def retraining_dag(tuning: Tuning) -> DAG:
    """The DAG of one tuning."""
    # No start date, and a first run that is never one already missed: switching a DAG on must not cost anything.
    cron = CronTriggerTimetable(tuning.schedule.cron, timezone=tuning.schedule.timezone, run_immediately=timedelta(0))
    warning = tuning.retirement_note
    with DAG(
        dag_id=f"retrain_{tuning.name}",
        description=f"{warning} {tuning.description}".strip(),
        doc_md=f"**{warning}**\n\n{__doc__}" if warning else __doc__,
        schedule=AssetOrTimeSchedule(timetable=cron, assets=[Asset(f"{tuning.name}_dataset")]),
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULT_ARGS,
        params=form(tuning),
        user_defined_macros={"tuning": tuning, "switch": parse_switch},
        tags=["vertex-ai", "tuning", *([RETIRING_TAG] if warning else [])],
        auto_register=False,  # check_tunings.py runs this file, too
    ) as dag:
        tuning_pipeline(
            tuning=tuning.name,
            base_model="{{ params.base_model }}",
            training_data=_data(tuning, "training_data"),
            validation_data=_data(tuning, "validation_data"),
            bucket=tuning.bucket,
            location=tuning.location,
            labels=tuning.labels,
            dataset=_dataset(tuning),
            job=_job(tuning),
            job_timeout=tuning.job_timeout_hours * 3600,
            metrics={"metrics_timeout": tuning.metrics_timeout_minutes * 60},
            cases=tuning.smoke_test.asked(),
            ask_cases="{{ switch('ask_smoke_cases', params.ask_smoke_cases) }}",
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


def _data(tuning: Tuning, field: str) -> str:
    """What the form says, as it is; the file's own text, if the form has it unchanged, as the template it may be.

    Nothing else from the form is ever rendered: a template can read connections and variables.
    """
    from_form = f"{{{{ params.{field} or '' }}}}"
    own = getattr(tuning, field)
    if not own or not template_mark(own):
        return from_form
    return f"{{% if params.{field} == tuning.{field} %}}{own}{{% else %}}{from_form}{{% endif %}}"


def _dataset(tuning: Tuning) -> dict[str, Any]:
    return {
        **tuning.dataset.model_dump(),
        "base_dir": str(PROJECT),
        "epoch_count": "{{ params.epoch_count or '' }}",
        "tuning_task": tuning.task,
        "prices": str(PROJECT / "include" / "prices.yaml"),
        "max_cost": "{{ params.max_cost or '' }}",
        "max_training_tokens": tuning.budget.max_training_tokens,
        "pre_execute": known_keys_only(form(tuning)),
    }


def _job(tuning: Tuning) -> dict[str, Any]:
    return {
        "learning_rate_multiplier": "{{ params.learning_rate_multiplier }}",
        "adapter_size": "{{ params.adapter_size }}",
        "display_name": "{{ params.display_name }}",
        "skip_if_unchanged": "{{ not switch('force', params.force) }}" if tuning.skip_if_unchanged else False,
    }


dags, mistakes = build_tunings(tuning_folders(PROJECT), retraining_dag)
globals().update({dag.dag_id: dag for dag in dags.values()})
