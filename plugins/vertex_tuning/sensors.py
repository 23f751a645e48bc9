"""Waiting for a tuning job, wherever it was started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowException, AirflowSensorTimeout, AirflowSkipException

from vertex_tuning.exceptions import PermanentError, PollingError, TransientError, TuningError
from vertex_tuning.jobs import TuningJob, terminal_event
from vertex_tuning.waiting import DAY, TuningJobWaiter

if TYPE_CHECKING:
    from airflow.sdk import Context


class TuningJobSensor(TuningJobWaiter, BaseSensorOperator):
    """
    Wait until a tuning job has ended, in the triggerer by default, and return the job.

    Fails with Vertex AI's own words when the job fails, was cancelled or is not done in time. Further parameters:
    :class:`~vertex_tuning.waiting.TuningJobWaiter` and Airflow's own of any sensor.

    :param job_name: `projects/…/locations/…/tuningJobs/ID`. (templated)
    :param poke_interval: seconds between two looks; `[vertex_tuning] poll_interval` when not given.
    :param timeout: seconds the job may take from the moment the waiting begins.
    """

    template_fields: Sequence[str] = (*TuningJobWaiter.template_fields, "job_name")

    def __init__(
        self, *, job_name: str, poke_interval: float | None = None, timeout: float = DAY, **kwargs: Any
    ) -> None:
        super().__init__(poll_interval=poke_interval, job_timeout=timeout, timeout=timeout, **kwargs)
        self.job_name = job_name
        self._failures = 0

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return self._execute_on_worker(context)
        try:
            return self.wait_for(context, self._first_look())
        except AirflowException as error:
            if self.soft_fail:
                raise AirflowSkipException("Skipped, because soft_fail is set.") from error
            raise

    def _first_look(self) -> TuningJob:
        """The job; one that cannot be read just now is taken for a running one, which may have cost hours already.

        :raises PollingError: reading it was refused; whoever started it could, so that it is worth another attempt
        """
        try:
            return self.hook.get_tuning_job(self.job_name)
        except TransientError as error:
            self.log.warning("%s; the triggerer goes on trying.", error)
            return TuningJob(name=self.job_name)
        except PermanentError as error:
            raise PollingError(str(error)) from error

    def awaited_job(self, context: Context) -> str:
        return self.job_name

    def poke(self, context: Context) -> PokeReturnValue:
        job = self._look()
        event = terminal_event(job) if job else None
        if event is None:
            return PokeReturnValue(is_done=False)
        result = self.conclude(context, event)
        return PokeReturnValue(is_done=result is not None, xcom_value=result)

    def _look(self) -> TuningJob | None:
        """The job; None when it could not be read.

        :raises PollingError: not for many looks in a row; those of `mode="reschedule"` are not counted
        """
        try:
            self.job = self.hook.get_tuning_job(self.job.name if self.job else self.job_name)
        except TuningError as error:
            self._failures += 1
            if self._failures >= self.max_poll_failures:
                raise PollingError(f"{self._failures} failed looks in a row; the last: {error}") from error
            self.log.warning("Look %d of %d failed: %s", self._failures, self.max_poll_failures, error)
            return None
        self._failures = 0
        return self.job

    def wait_for(self, context: Context, job: TuningJob) -> Any:
        """On the worker Airflow's own loop goes on to wait, for another job if need be."""
        if self.deferrable:
            return super().wait_for(context, job)
        self.job = job
        return None

    def _execute_on_worker(self, context: Context) -> Any:
        self.poke_interval = self.interval
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            event = {"status": "timeout", "job_name": self.job_name, "message": str(error)}
            return self.conclude(context, event)
