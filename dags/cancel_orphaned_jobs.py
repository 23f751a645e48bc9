"""Cancels running tuning jobs whose DAG run has ended.

This DAG runs every hour. For example, a `dagrun_timeout` can end a run between the creation of its job and the wait;
then Airflow skips the teardown as well. The log names each job.

A job is not cancelled if

- Airflow does not know its run: the log reports the job;
- another Airflow installation created it;
- it was created with `outlives_run`.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable
from vertex_tuning.config.default_args import DEFAULT_ARGS
from vertex_tuning.config.loader import load_tunings, project_folder
from vertex_tuning.config.tuning_folders import tuning_folders
from vertex_tuning.operators.tuning_job import CancelOrphanedJobsOperator

tunings, _ = load_tunings(*tuning_folders(project_folder(__file__)))

if tunings:
    with DAG(
        dag_id="cancel_orphaned_jobs",
        description="Cancels tuning jobs whose run has ended.",
        doc_md=__doc__,
        schedule=CronTriggerTimetable("17 * * * *", timezone="UTC", run_immediately=timedelta(0)),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        default_args=DEFAULT_ARGS,
        tags=["vertex-ai", "tuning"],
    ):
        CancelOrphanedJobsOperator.partial(task_id="cancel_orphaned_jobs").expand(
            location=sorted({tuning.location for tuning in tunings})
        )
