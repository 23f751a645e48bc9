"""Links from a task to the Cloud console, or to the resource itself where a local Google Cloud has it.

Airflow asks for them in the worker, right after the task has run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

from vertex_tuning.resource_urls import experiment_url, job_url, object_url

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

    from vertex_tuning.jobs.job import TuningJob


def _local_url(operator: BaseOperator) -> str:
    url: str = operator.connection.local_url  # type: ignore[attr-defined]
    return url


class TuningJobLink(BaseOperatorLink):
    """To the tuning job."""

    @property
    def name(self) -> str:
        return "Tuning job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        job: TuningJob | None = getattr(operator, "job", None)
        return job_url(job, _local_url(operator)) if job else ""


class ExperimentLink(BaseOperatorLink):
    """To the job's experiment, once it has one."""

    @property
    def name(self) -> str:
        return "Experiment"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        job: TuningJob | None = getattr(operator, "job", None)
        return experiment_url(job.experiment, _local_url(operator)) if job and job.experiment else ""


class ReportLink(BaseOperatorLink):
    """To the page that shows all of the run; for tasks that are told the run's folder."""

    @property
    def name(self) -> str:
        return "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        folder = str(getattr(operator, "run_folder", None) or "")
        if not folder.startswith("gs://"):
            return ""
        endpoint = operator.connection.storage_endpoint  # type: ignore[attr-defined]
        return object_url(f"{folder.rstrip('/')}/report.html", endpoint)
