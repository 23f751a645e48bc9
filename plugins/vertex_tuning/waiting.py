"""How a task waits for a tuning job and judges its end; shared by the sensor and the create operator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import conf

from vertex_tuning import exceptions
from vertex_tuning.jobs import ENDED, TuningJob, terminal_event
from vertex_tuning.links import ExperimentLink, TuningJobLink
from vertex_tuning.operators.base import VertexOperator
from vertex_tuning.triggers import TuningJobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

STATUSES: Final = frozenset({*ENDED.values(), "timeout", "error"})
DAY: Final = 86_400.0


class TuningJobWaiter(VertexOperator):
    """
    Base of tasks that wait for a tuning job.

    :param deferrable: wait in the triggerer, holding no worker.
    :param poll_interval: seconds between two looks at the job; `[vertex_tuning] poll_interval` when not given, 60
        without that.
    :param job_timeout: seconds the job may take from the moment the waiting begins.
    :param max_poll_failures: failed looks in a row after which the waiting ends with an error.
    :param cancel_on_kill: cancel the job when the task is killed, cleared or marked by a user.
    :param cancel_on_timeout: cancel the job when `job_timeout` is over.
    """

    operator_extra_links = (TuningJobLink(), ExperimentLink())

    def __init__(
        self,
        *,
        deferrable: bool = True,
        poll_interval: float | None = None,
        job_timeout: float = DAY,
        max_poll_failures: int = 10,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.job_timeout = job_timeout
        self.max_poll_failures = max_poll_failures
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.job: TuningJob | None = None

    @property
    def interval(self) -> float:
        if self.poll_interval is not None:
            return self.poll_interval
        return float(conf.getfloat("vertex_tuning", "poll_interval", fallback=60.0))

    def wait_for(self, job: TuningJob) -> dict[str, Any]:
        """Wait until the job has ended; a job that has costs no trigger.

        :returns: the job as an XCom
        """
        self.job = job
        event = terminal_event(job)
        if event is None and self.deferrable:
            self.defer(trigger=self._trigger(job), method_name="execute_complete", kwargs={"job_name": job.name})
        return self.judge(event or self._poll(job))

    def execute_complete(self, context: Context, event: Any = None, job_name: str | None = None) -> dict[str, Any]:
        """Judge what the trigger has seen.

        :param job_name: the job that was deferred for; `dag.test()` loses it
        :raises UnexpectedEventError: when the event is missing, unknown or another job's
        """
        awaited = job_name or self.awaited_job(context)
        if not isinstance(event, dict) or event.get("status") not in STATUSES or event.get("job_name") != awaited:
            raise exceptions.UnexpectedEventError(f"Resumed with {event!r}, expected an event about {awaited}.")
        return self.judge(event)

    def awaited_job(self, context: Context) -> str:
        """Name of the job this task waits for."""
        raise NotImplementedError

    def on_kill(self) -> None:
        """The worker was told to stop the task while it waited without deferring."""
        if self.job and self.cancel_on_kill and not terminal_event(self.job):
            self.hook.cancel_tuning_job(self.job.name)

    def _trigger(self, job: TuningJob) -> TuningJobTrigger:
        return TuningJobTrigger(
            job_name=job.name,
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
            poll_interval=self.interval,
            end_time=time.time() + self.job_timeout,
            max_poll_failures=self.max_poll_failures,
            cancel_on_kill=self.cancel_on_kill,
        )

    def _poll(self, job: TuningJob) -> dict[str, Any]:
        """The trigger's own waiting, run here and now on the worker."""
        import asyncio

        return asyncio.run(self._trigger(job).wait())

    def judge(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Turn the event into the task's result or its error, one class for each way a job can end."""
        if "job" in event:
            self.job = TuningJob.parse(event["job"])
        if event["status"] == "succeeded" and self.job:
            self.log.info("%s succeeded: %s", self.job.name, self.job.tuned_model)
            return self.job.as_xcom()
        raise self._error(event)

    def _error(self, event: Mapping[str, Any]) -> exceptions.TuningError:
        name, status = event["job_name"], event["status"]
        if status == "error":
            return exceptions.PollingError(f"{name}: {event.get('message')}")
        if status == "timeout":
            if self.cancel_on_timeout:
                self.hook.cancel_tuning_job(name)
            return exceptions.TuningJobTimeoutError(f"{event.get('message')} Allowed were {self.job_timeout:.0f} s.")
        reason = self.job.error.message if self.job and self.job.error else "no reason was given"
        kind = exceptions.TuningJobCancelledError if status == "cancelled" else exceptions.TuningJobFailedError
        return kind(f"{name} ended as {status}: {reason}")
