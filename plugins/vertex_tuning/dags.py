"""The DAGs of a project, for its DAG files: retraining and rollback of each tuning, and two that watch over them.

A DAG file names itself, and the folder `include/` next to its folder, or in it, has the tunings:

    globals().update(retraining_dags(__file__))

Airflow reads only files that contain the words `airflow` and `dag`, for example in a comment.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from airflow.sdk import DAG, Asset, CronTriggerTimetable, chain

from vertex_tuning.config.base_models import RETIRING_TAG
from vertex_tuning.config.default_args import DEFAULT_ARGS
from vertex_tuning.config.loader import build_tunings, first_mistakes, load_tunings, project_folder
from vertex_tuning.config.local_data import file_mistakes
from vertex_tuning.config.params import ASK_CASES_FROM_FORM, form, form_macros, from_form, known_keys_only
from vertex_tuning.config.tuning import Tuning
from vertex_tuning.config.tuning_folders import tuning_folders
from vertex_tuning.datasets.manifest import DATASETS
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.installation import installed_twice
from vertex_tuning.operators.registry import FindPreviousOperator, RollbackOperator
from vertex_tuning.operators.report import ROLLBACK_TASKS, WriteReportOperator, keep_error
from vertex_tuning.operators.smoke_test import SmokeTestOperator
from vertex_tuning.operators.tuning_job import CancelOrphanedJobsOperator
from vertex_tuning.pipeline import tuning_pipeline
from vertex_tuning.timetables import batch_events, dataset_asset, schedule_of, skip_without_new_data

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.definitions.deadline import DeadlineAlert

TAGS: Final = ("vertex-ai", "tuning")

RETRAINING_DOC: Final = """\
### Retrain a Gemini model.

Each run checks the dataset, estimates the price and uploads the data. It creates a tuning job on Vertex AI and waits
for it without occupying a worker. It collects the metrics and sends the smoke-test prompts to the tuned model. The new
model replaces the model in use if it passes all gates and scores better. Each run writes a report to the folder of its
dataset; the last task links to it.

Each file in `include/tunings/` has one such DAG. It runs on the schedule of the file, when the asset of the dataset is
updated, and by hand: **Trigger** opens a form with the values of the file. A promotion updates the asset of the tuned
model; its event has job, model, endpoint, dataset, metrics and verdict.
"""

ROLLBACK_DOC: Final = """\
### Go back to the previous model.

Runs the smoke test on the previous model and puts that model into use again. Start it with **Trigger** when a new model
is worse than its evaluation said; it has no schedule. The last task links to a report.

The model taken out of use gets the alias `rolled-back` in the Model Registry. It is not promoted again until you remove
this alias. A rollback goes back one step: there is no previous model until the next promotion. The rollback updates the
asset of the model; its event says `rolled back`.
"""

ORPHANED_JOBS_DOC: Final = """\
Cancels running tuning jobs whose DAG run has ended.

This DAG runs every hour. For example, a `dagrun_timeout` can end a run between the creation of its job and the wait;
then Airflow skips the teardown as well. The log names each job.

A job is not cancelled if

- Airflow does not know its run: the log reports the job;
- another Airflow installation created it;
- it was created with `outlives_run`.
"""


HOUSEKEEPING_DOC: Final = """\
Deletes old models with their endpoints, and datasets that no kept model was made from.

This DAG runs every night. It has a task for each tuning whose file has `housekeeping`. With `dry_run`, the default, a
task only logs what it would delete. The log gives the reason for each model and dataset that is kept.
"""


def retraining_dags(dag_file: str) -> dict[str, DAG]:
    """The DAG `retrain_NAME` of each tuning, by its id. A tuning with mistakes has none: see `check_tunings`.

    :param dag_file: the DAG file, `__file__`
    """
    if message := installed_twice():
        warnings.warn(message, stacklevel=2)
    dags, _ = _retraining(dag_file)
    return dags


def rollback_dags(dag_file: str) -> dict[str, DAG]:
    """The DAG `rollback_NAME` of each tuning, by its id.

    :param dag_file: the DAG file, `__file__`
    """
    dags, _ = _rollbacks(dag_file)
    return dags


def orphaned_jobs_dag(dag_file: str) -> dict[str, DAG]:
    """The DAG `cancel_orphaned_jobs` for the locations of all tunings, by its id; empty if there are no tunings.

    :param dag_file: the DAG file, `__file__`
    """
    tunings, _ = load_tunings(*tuning_folders(project_folder(dag_file)))
    if not tunings:
        return {}
    with DAG(
        dag_id="cancel_orphaned_jobs",
        description="Cancels tuning jobs whose run has ended.",
        doc_md=ORPHANED_JOBS_DOC,
        schedule=CronTriggerTimetable("17 * * * *", timezone="UTC", run_immediately=timedelta(0)),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        default_args=DEFAULT_ARGS,
        tags=[*TAGS],
        auto_register=False,
    ) as dag:
        CancelOrphanedJobsOperator.partial(task_id="cancel_orphaned_jobs").expand(
            location=sorted({tuning.location for tuning in tunings})
        )
    return {dag.dag_id: dag}


def housekeeping_dag(dag_file: str) -> dict[str, DAG]:
    """The DAG `housekeeping` with a task for each tuning that has the field, by its id; empty if none has.

    :param dag_file: the DAG file, `__file__`
    """
    tunings, _ = load_tunings(*tuning_folders(project_folder(dag_file)))
    if not any(tuning.housekeeping for tuning in tunings):
        return {}
    from vertex_tuning.operators.housekeeping import HousekeepingOperator

    with DAG(
        dag_id="housekeeping",
        description="Deletes old models and datasets of tunings.",
        doc_md=HOUSEKEEPING_DOC,
        schedule=CronTriggerTimetable("43 2 * * *", timezone="UTC", run_immediately=timedelta(0)),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        default_args=DEFAULT_ARGS,
        tags=[*TAGS],
        auto_register=False,
    ) as dag:
        for tuning in tunings:
            if rules := tuning.housekeeping:
                HousekeepingOperator(
                    task_id=tuning.name,
                    tuning=tuning.name,
                    champion_alias=tuning.promotion.champion_alias,
                    location=tuning.location,
                    bucket=tuning.bucket,
                    keep_models=rules.keep_models,
                    keep_days=rules.keep_days,
                    delete=not rules.dry_run,
                    base_models=sorted({other.base_model for other in tunings if "/" in other.base_model}),
                    other_locations=sorted({other.location for other in tunings}),
                )
    return {dag.dag_id: dag}


def check_tunings(dag_file: str) -> None:
    """Refuse mistakes in tunings, in the data files and notifiers that they name, and in this package's installation.

    Call it in a DAG file without DAGs. Its error is then a DAG import error, which disables only that file: correct
    tunings keep running while you correct a wrong one. A tuning whose data file is missing keeps running, too.

    :param dag_file: the DAG file, `__file__`
    :raises ConfigurationError: has a line for each mistake
    """
    tunings, _ = load_tunings(*tuning_folders(project_folder(dag_file)))
    from vertex_tuning.config.notifiers import notifier_mistakes

    found = [
        installed_twice(),
        *_retraining(dag_file)[1],
        *_rollbacks(dag_file)[1],
        *file_mistakes(project_folder(dag_file)),
        *notifier_mistakes(tunings),
    ]
    if mistakes := list(dict.fromkeys(filter(None, found))):
        raise ConfigurationError(first_mistakes(mistakes))


def _retraining(dag_file: str) -> tuple[dict[str, DAG], list[str]]:
    project = project_folder(dag_file)
    return _build(dag_file, lambda tuning: _retraining_dag(tuning, str(project)))


def _rollbacks(dag_file: str) -> tuple[dict[str, DAG], list[str]]:
    return _build(dag_file, _rollback_dag)


def _build(dag_file: str, build: Callable[[Tuning], DAG]) -> tuple[dict[str, DAG], list[str]]:
    """:returns: the DAGs by their ids, and one line for each mistake"""
    dags, mistakes = build_tunings(tuning_folders(project_folder(dag_file)), build)
    return {dag.dag_id: dag for dag in dags.values()}, mistakes


def _retraining_dag(tuning: Tuning, base_dir: str) -> DAG:
    warning = tuning.retirement_note
    with DAG(
        dag_id=f"retrain_{tuning.name}",
        description=f"{warning} {tuning.description}".strip(),
        doc_md=f"**{warning}**\n\n{RETRAINING_DOC}" if warning else RETRAINING_DOC,
        schedule=schedule_of(tuning),
        catchup=False,
        max_active_runs=1,
        default_args=DEFAULT_ARGS,
        deadline=_deadline(tuning),
        params=form(tuning),
        user_defined_macros=form_macros(tuning),
        tags=[*TAGS, *([RETIRING_TAG] if warning else [])],
        auto_register=False,  # check_tunings makes these DAGs, too
    ) as dag:
        pipeline = tuning_pipeline(
            from_form(tuning),
            ask_cases=ASK_CASES_FROM_FORM,
            base_dir=base_dir,
            pre_execute=_checks(tuning),
            model_asset=Asset(f"{tuning.name}_model"),
        )
        if _needs_new_data(tuning):
            pipeline.steps[0].add_inlets([dataset_asset(tuning)])
    batch_events(dag)
    return dag


def _checks(tuning: Tuning) -> Callable[[Context], None]:
    """The check before the first task."""
    known_keys = known_keys_only(form(tuning))
    new_data = skip_without_new_data(dataset_asset(tuning)) if _needs_new_data(tuning) else None

    def check(context: Context) -> None:
        known_keys(context)
        if new_data:
            new_data(context)

    return check


def _needs_new_data(tuning: Tuning) -> bool:
    return bool(tuning.schedule and tuning.schedule.only_with_new_data)


def _deadline(tuning: Tuning) -> list[DeadlineAlert] | None:
    """Messages about runs that take too long. Imported here: few tunings have them, and Airflow parses DAGs often."""
    if not tuning.notify:
        return None
    from vertex_tuning.notifications.overdue import overdue_alerts

    return overdue_alerts(tuning)


def _rollback_dag(tuning: Tuning) -> DAG:
    models = {"tuning": tuning.name, "champion_alias": tuning.promotion.champion_alias, "location": tuning.location}
    with DAG(
        dag_id=f"rollback_{tuning.name}",
        description=f"Puts the previous model of {tuning.name} into use again.",
        doc_md=ROLLBACK_DOC,
        schedule=None,
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,  # nothing starts it but a person, in a hurry
        default_args={**DEFAULT_ARGS, "on_failure_callback": keep_error},
        tags=[*TAGS],
        auto_register=False,  # check_tunings makes these DAGs, too
    ) as dag:
        find = FindPreviousOperator(task_id="find_previous", pre_execute=known_keys_only(()), **models)
        test = SmokeTestOperator(
            task_id="smoke_test",
            endpoint=find.output["previous_endpoint"],
            cases=tuning.smoke_test.asked(),
            min_pass_share=tuning.smoke_test.min_pass_share,
            location=tuning.location,
        )
        roll_back = RollbackOperator(
            task_id="roll_back",
            model=find.output["previous_model"],
            expected_champion=find.output["champion"],
            outlets=[Asset(f"{tuning.name}_model")],
            **models,
        )
        report = WriteReportOperator(
            task_id="write_report",
            refused_folder=f"gs://{tuning.bucket}/{DATASETS}/rollbacks",
            title=tuning.name,
            tasks=ROLLBACK_TASKS,
            tuning=tuning.name,
            bucket=tuning.bucket,
            location=tuning.location,
        )
        chain(find, test, roll_back, report.as_teardown())
    return dag
