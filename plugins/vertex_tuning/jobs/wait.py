"""Decide what a task does when the tuning job that it waits for has ended. Pure: no Airflow, no network, no clock."""

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
"""Error for each final state of a job other than success."""


@dataclass(frozen=True)
class Done:
    """Decision: the job has succeeded, return it."""

    job: TuningJob


@dataclass(frozen=True)
class Wait:
    """Decision: the job has not ended, wait for it."""

    job: TuningJob


@dataclass(frozen=True)
class Resubmit:
    """Decision: create another job with the settings of this job.

    :param job: the job that ended without success
    :param reason: the service's error message of this job
    """

    job: TuningJob
    reason: str


@dataclass(frozen=True)
class Fail:
    """Decision: fail the task with this error."""

    error: exceptions.PermanentError


@dataclass(frozen=True)
class JobWait:
    """The rules by which a task waits for a job.

    :param resubmit: whether a job that failed for a temporary reason may be replaced with another job
    :param max_job_attempts: most jobs of a task instance in total
    :param cleared: name of the job that was cancelled because the task was cleared; empty without such a job
    """

    resubmit: bool
    max_job_attempts: int
    cleared: str = ""

    def next(self, jobs: Sequence[TuningJob]) -> Done | Wait | Resubmit | Fail:
        """Decide by the newest job of the task instance.

        :param jobs: all jobs of the task instance, at least one job
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
    """The error for a job that has ended without success, with the message of the service."""
    status = ENDED[job.state]
    reason = job.error.message if job.error and job.error.message else "no reason was given"
    return FAILURES[status](f"{job.name} ended as {status}: {reason}")
