"""Links from a task to the Cloud console. Airflow asks for them in the worker, right after the task has run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from airflow.sdk import BaseOperatorLink

from vertex_tuning.jobs import location_of, project_of

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

    from vertex_tuning.jobs import TuningJob

CONSOLE: Final = "https://console.cloud.google.com/vertex-ai"


def job_url(job: TuningJob) -> str:
    """The tuning job's page; the console's paths are those the Gen AI SDK shows in notebooks."""
    job_id = job.name.rpartition("/")[2]
    return f"{CONSOLE}/studio/tuning/tuningjob/{job.location}/{job_id}?project={project_of(job.name)}"


def experiment_url(experiment: str) -> str:
    """The experiment's page: the curves as TensorBoard draws them."""
    experiment_id = experiment.rpartition("/")[2]
    location, project = location_of(experiment), project_of(experiment)
    return f"{CONSOLE}/locations/{location}/experiments/{experiment_id}/metrics?project={project}"


class TuningJobLink(BaseOperatorLink):
    """To the tuning job."""

    @property
    def name(self) -> str:
        return "Tuning job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        job: TuningJob | None = getattr(operator, "job", None)
        return job_url(job) if job else ""


class ExperimentLink(BaseOperatorLink):
    """To the job's experiment, once it has one."""

    @property
    def name(self) -> str:
        return "Experiment"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        job: TuningJob | None = getattr(operator, "job", None)
        return experiment_url(job.experiment) if job and job.experiment else ""
