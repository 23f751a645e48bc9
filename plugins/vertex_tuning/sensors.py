"""Wait for a tuning job, which may have been created outside Airflow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseOperator, BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning.exceptions import (
    PermanentError,
    PollingError,
    QuotaExceededError,
    QuotaTimeoutError,
    TransientError,
    TuningError,
)
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.operators.waiter import DAY, TuningJobWaiter
from vertex_tuning.resources.resource_names import ResourceName

if TYPE_CHECKING:
    from airflow.sdk import Context

UNREADABLE_SINCE: Final = "tuning_job_unreadable_since"
"""Key in the task state store: time of the first of the failed polls on a worker, in seconds since the epoch."""

NO_QUOTA_SINCE: Final = "no_quota_since"
"""Key in the task state store: since when there is no quota for the next job, in seconds since the epoch."""


class TuningJobSensor(TuningJobWaiter, BaseSensorOperator):
    """Wait until a tuning job has ended, in the triggerer by default, and return the job.

    By default it cancels and creates no job. The options below act only on a job that its own run created.
    The project and the location of the job come from its name, not from `location` and `project_id`. The sensor fails
    with the message of Vertex AI if the job fails, is cancelled or exceeds its timeout. Further parameters:
    :class:`~vertex_tuning.operators.waiter.TuningJobWaiter` and those of any Airflow sensor. `soft_fail` skips the task
    after a permanent error, not after a temporary one.

    :param job_name: `projects/…/locations/…/tuningJobs/ID`. (templated)
    :param poke_interval: time between two polls, at least 1 s; defaults to `[vertex_tuning] poll_interval`.
    :param timeout: maximum age of the job in seconds, from its creation. An older job fails the sensor.
    :param cancel_on_kill: cancel the job if a user clears or marks this task, or if the task is killed.
    :param cancel_on_timeout: cancel the job after its timeout.
    :param resubmit: create a new job if a job fails with a temporary error.
    """

    template_fields: Sequence[str] = (*TuningJobWaiter.template_fields, "job_name")

    def __init__(
        self,
        *,
        job_name: str,
        poke_interval: timedelta | float | None = None,
        timeout: timedelta | float = DAY,
        cancel_on_kill: bool = False,
        cancel_on_timeout: bool = False,
        resubmit: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            poll_interval=None if poke_interval is None else _seconds(poke_interval),
            job_timeout=_seconds(timeout),
            timeout=timeout,
            cancel_on_kill=cancel_on_kill,
            cancel_on_timeout=cancel_on_timeout,
            resubmit=resubmit,
            **kwargs,
        )
        self.job_name = job_name

    def execute(self, context: Context) -> Any:
        if self.deferrable:
            return self._skip_if_soft(lambda: self.wait_for(context, self._first_look()))
        self.poke_interval = self.interval
        self.timeout = math.inf  # the job's own deadline counts, in `poke`
        return super().execute(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral, without the rule of Airflow's sensors that any error may skip the task."""
        self._recall(context)
        return self._skip_if_soft(lambda: BaseOperator.resume_execution(self, next_method, next_kwargs, context))

    def awaited_job(self, context: Context) -> str:
        return self.job_name

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once: return whether the job, or the job that replaced it, has succeeded.

        :raises PermanentError: the job ended without success, or its deadline has passed
        :raises PollingError: the job could not be read for too long
        """
        job = self._look(context)
        if job is None:
            return PokeReturnValue(is_done=False)
        try:
            job = self.follow(context, job)
            if job.is_live and time.time() > self.deadline(context, job):
                job = self.follow(context, self.time_out(context, job, f"{job.name} had not ended at its deadline."))
        except QuotaExceededError as error:
            self._note_missing_quota(context, error)
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=job.succeeded, xcom_value=self.succeed(job) if job.succeeded else None)

    def _note_missing_quota(self, context: Context, error: QuotaExceededError) -> None:
        """Log that there is no quota, until `quota_timeout` has passed.

        :raises QuotaTimeoutError: there was no quota within `quota_timeout`
        """
        store = context["task_state_store"]
        since = store.get(NO_QUOTA_SINCE)
        if not isinstance(since, float):
            store.set(NO_QUOTA_SINCE, since := time.time())
        if time.time() - since >= self.quota_timeout:
            raise QuotaTimeoutError(f"No quota for a tuning job within {self.quota_timeout:.0f} s. {error}") from error
        self.log.warning("No quota for another tuning job; trying again in %.0f s. %s", self.poke_interval, error)

    def _place(self) -> dict[str, Any]:
        name = ResourceName.parse(self.job_name, "tuningJobs")
        return {**super()._place(), "location": name.location, "project_id": name.project}

    def _first_look(self) -> TuningJob:
        """Read the job. A job that cannot be read at the moment counts as running: it may have cost hours already.

        :raises PollingError: reading is not allowed; another attempt may succeed, because a task created this job
        """
        try:
            return self._read(self.job_name)
        except PollingError:
            raise
        except TransientError as error:
            self.log.warning("%s; the triggerer goes on trying.", error)
            return TuningJob(name=self.job_name)

    def _look(self, context: Context) -> TuningJob | None:
        """The job; None if it could not be read.

        :raises PollingError: no process could read it for `max_poll_failures` intervals
        """
        store = context["task_state_store"]
        try:
            job = self.hook.get_tuning_job(self.job.name if self.job else self.job_name)
        except TuningError as error:
            since = store.get(UNREADABLE_SINCE)
            if not isinstance(since, float):
                store.set(UNREADABLE_SINCE, since := time.time())
            if time.time() - since >= self.max_poll_failures * self.interval:
                store.delete(UNREADABLE_SINCE)
                raise PollingError(f"Not read for {time.time() - since:.0f} s; the last error: {error}") from error
            self.log.warning("The job could not be read: %s", error)
            return None
        if store.get(UNREADABLE_SINCE) is not None:
            store.delete(UNREADABLE_SINCE)
        return job

    def _skip_if_soft(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except PermanentError as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipped, because soft_fail or never_fail is set: {error}") from error
            raise


def _seconds(duration: timedelta | float) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration
