"""
### Cancel tuning jobs that nobody waits for any more

Every hour this looks for running jobs whose run in Airflow has ended, and cancels them: for example when a
`dagrun_timeout` ended a run between the creation of its job and the wait, so that Airflow skipped the teardown as well.
The log names each job. A job whose run Airflow does not know is reported and not cancelled; nor is one that another
Airflow installation created, or that was created with `outlives_run`.
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
