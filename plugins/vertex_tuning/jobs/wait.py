"""What follows when a tuning job that a task waits for has ended. Pure: no Airflow, no network, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vertex_tuning import exceptions
from vertex_tuning.jobs.job import CANCELLED, ENDED, TuningJob, newest

FAILURES: Final[dict[str, type[exceptions.PermanentError]]] = {
    "failed": exceptions.TuningJobFailedError,
    "cancelled": exceptions.TuningJobCancelledError,
    "expired": exceptions.TuningJobExpiredError,
    "partially_succeeded": exceptions.TuningJobPartiallySucceededError,
}
"""The error for each way a job can end but success."""


@dataclass(frozen=True)
class Done:
    """The job has succeeded."""

    job: TuningJob


@dataclass(frozen=True)
class Wait:
    """This job has not ended."""

    job: TuningJob


@dataclass(frozen=True)
class Resubmit:
    """Create another job like this one."""

    job: TuningJob
    reason: str


@dataclass(frozen=True)
class Fail:
    """Nothing follows."""

    error: exceptions.PermanentError


@dataclass(frozen=True)
class JobWait:
    """The rules of one wait.

    :param resubmit: whether another job may be created in the place of one that failed for a passing reason
    :param max_job_attempts: jobs of one task instance, all in all
    :param cleared: name of the job that was cancelled because the task was cleared; empty for none
    """

    resubmit: bool
    max_job_attempts: int
    cleared: str = ""

    def next(self, jobs: Sequence[TuningJob]) -> Done | Wait | Resubmit | Fail:
        """Decide from all jobs of the task instance; the newest one counts.

        :param jobs: at least one
        """
        job = newest(jobs)
        if job.succeeded:
            return Done(job)
        if job.is_live:
            return Wait(job)
        if self._may_resubmit(job):
            return Resubmit(job, job.error.message if job.error else job.state)
        return Fail(failure_of(job))

    def _may_resubmit(self, job: TuningJob) -> bool:
        passing = job.failed_in_passing or (job.name == self.cleared and job.state == CANCELLED)
        return self.resubmit and passing and job.attempt < self.max_job_attempts


def failure_of(job: TuningJob) -> exceptions.PermanentError:
    """The error for a job that has ended without success, in the service's own words."""
    status = ENDED[job.state]
    reason = job.error.message if job.error and job.error.message else "no reason was given"
    return FAILURES[status](f"{job.name} ended as {status}: {reason}")
