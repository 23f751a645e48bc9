"""Links from a task to the Cloud console. A local Google Cloud has no console: there they show the resource itself.

Airflow computes the links in the worker, right after the task has run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

from vertex_tuning.resources.resource_urls import experiment_url, job_url, object_url

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

    from vertex_tuning.jobs.job import TuningJob


def _local_url(operator: BaseOperator) -> str:
    url: str = operator.connection.local_url  # type: ignore[attr-defined]
    return url


class TuningJobLink(BaseOperatorLink):
    """Link to the tuning job. It is empty until the task has a job."""

    @property
    def name(self) -> str:
        return "Tuning job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        job: TuningJob | None = getattr(operator, "job", None)
        return job_url(job.name, _local_url(operator)) if job else ""


class ExperimentLink(BaseOperatorLink):
    """Link to the experiment of the tuning job. It is empty until the job has an experiment."""

    @property
    def name(self) -> str:
        return "Experiment"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        job: TuningJob | None = getattr(operator, "job", None)
        return experiment_url(job.experiment, _local_url(operator)) if job and job.experiment else ""


class ReportLink(BaseOperatorLink):
    """Link to the report of the run, for tasks with the argument `run_folder`."""

    @property
    def name(self) -> str:
        return "Report"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        folder = str(getattr(operator, "run_folder", None) or "")
        if not folder.startswith("gs://"):
            return ""
        endpoint = operator.connection.storage_endpoint  # type: ignore[attr-defined]
        return object_url(f"{folder.rstrip('/')}/report.html", endpoint)
