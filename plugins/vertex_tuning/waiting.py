"""How a task waits for a tuning job and judges its end; shared by the sensor and the create operator."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import conf

from vertex_tuning import exceptions
from vertex_tuning.jobs import ENDED, TuningJob, terminal_event
from vertex_tuning.links import ExperimentLink, TuningJobLink
from vertex_tuning.operators.base import NOT_GIVEN, VertexOperator
from vertex_tuning.specs import TuningSpec
from vertex_tuning.triggers import TuningJobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

STATUSES: Final = frozenset({*ENDED.values(), "timeout", "error"})
DAY: Final = 86_400.0
CLEARING: Final = timedelta(minutes=1)
"""How long after a task was cleared the kill of its earlier attempt may still cancel the job; the triggerer gives a
killed trigger 30 s."""

FAILURES: Final = {
    "failed": exceptions.TuningJobFailedError,
    "cancelled": exceptions.TuningJobCancelledError,
    "expired": exceptions.TuningJobExpiredError,
    "partially_succeeded": exceptions.TuningJobPartiallySucceededError,
}


class TuningJobWaiter(VertexOperator):
    """
    Base of tasks that wait for a tuning job.

    :param deferrable: wait in the triggerer, holding no worker.
    :param poll_interval: seconds between two looks at the job; `[vertex_tuning] poll_interval` when not given, 60
        without that.
    :param job_timeout: seconds the job may take from the moment the waiting begins.
    :param max_poll_failures: failed looks in a row after which the attempt ends with an error; 60 are an hour at the
        usual interval. When the last retry ends so, the run has failed, and a pipeline's teardown cancels the job.
    :param cancel_on_kill: cancel the job when the task is killed, cleared or marked by a user.
    :param cancel_on_timeout: cancel the job when `job_timeout` is over.
    :param manifest_uri: `manifest_uri` of an `UploadDatasetOperator`: no job is created once the data is not what was
        checked and priced, as may happen to data that is used where it is. (templated)
    :param max_job_attempts: how many jobs may be created in all for a task instance whose job failed in passing
        (internal error, service unavailable or overloaded). Jobs that were not created by this package are never
        created again.
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "manifest_uri")
    operator_extra_links = (TuningJobLink(), ExperimentLink())

    def __init__(
        self,
        *,
        deferrable: bool = True,
        poll_interval: float | None = None,
        job_timeout: float = DAY,
        max_poll_failures: int = 60,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        max_job_attempts: int = 3,
        manifest_uri: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.job_timeout = job_timeout
        self.max_poll_failures = max_poll_failures
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.max_job_attempts = max_job_attempts
        self.manifest_uri = manifest_uri
        self.job: TuningJob | None = None

    @property
    def interval(self) -> float:
        if self.poll_interval is not None:
            return self.poll_interval
        return float(conf.getfloat("vertex_tuning", "poll_interval", fallback=60.0))

    def wait_for(self, context: Context, job: TuningJob) -> dict[str, Any]:
        """Wait until the job has ended; a job that has costs no trigger.

        :returns: the job as an XCom
        """
        self.job = job
        event = terminal_event(job)
        if event is None and self.deferrable:
            self.defer(trigger=self._trigger(job), method_name="execute_complete", kwargs={"job_name": job.name})
        return self.conclude(context, event or self._poll(job))

    def execute_complete(self, context: Context, event: Any = None, job_name: str | None = None) -> dict[str, Any]:
        """Judge what the trigger has seen.

        :param job_name: the job that was deferred for; `dag.test()` loses it
        :raises UnexpectedEventError: when the event is missing, unknown or another job's
        """
        awaited = job_name or self.awaited_job(context)
        if not isinstance(event, dict) or event.get("status") not in STATUSES or not _same(event, awaited):
            raise exceptions.UnexpectedEventError(f"Resumed with {event!r}, expected an event about {awaited}.")
        return self.conclude(context, event)

    def awaited_job(self, context: Context) -> str:
        """Name of the job this task waits for."""
        raise NotImplementedError

    def require_unchanged_data(self, spec: TuningSpec) -> None:
        """
        :raises DatasetError: the data is not what was checked any more
        """
        if self.manifest_uri not in NOT_GIVEN:
            from vertex_tuning.datasets.placing import require_unchanged

            uris = filter(None, (spec.training_uri, spec.validation_uri))
            require_unchanged(self.storage, str(self.manifest_uri), uris)

    def on_kill(self) -> None:
        """The worker was told to stop the task."""
        if self.job and self.cancel_on_kill and self.job.is_live:
            self.hook.cancel_tuning_job(self.job.name)

    def conclude(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return the job, wait for the one that took its place, or raise; one error class for each way to end."""
        if event["status"] == "timeout":
            event = self._last_look(event)
        if "job" in event:
            self.job = TuningJob.parse(event["job"])
            if self.job.succeeded:
                self.log.info("%s succeeded: %s", self.job.name, self.job.tuned_model)
                return self.job.as_xcom()
            if following := self._following(context, self.job):
                return self.wait_for(context, following)
        raise self._error(event)

    def _last_look(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """At the deadline: the job's end when it has just ended after all; else it is cancelled if it shall."""
        job = (self.hook.cancel_tuning_job if self.cancel_on_timeout else self.hook.get_tuning_job)(event["job_name"])
        return (terminal_event(job) if job.succeeded else None) or event

    def _following(self, context: Context, job: TuningJob) -> TuningJob | None:
        """The job to go on with after one that ended in vain, if there is one or may be one."""
        if not job.identity:
            return None
        from vertex_tuning.submission import resubmit, successor

        if other := successor(self.hook, job):
            self.log.warning("%s ended as %s; %s took its place.", job.name, job.state, other.name)
            return other
        if job.attempt >= self.max_job_attempts or not (job.failed_in_passing or self._cleared(context, job)):
            return None
        reason = job.error.message if job.error else job.state
        self.log.warning("%s ended in vain (%s); creating attempt %d.", job.name, reason, job.attempt + 1)
        self.require_unchanged_data(TuningSpec.of(job))
        return resubmit(self.hook, job)

    def _cleared(self, context: Context, job: TuningJob) -> bool:
        """Whether the job was cancelled by the clearing that made this attempt, and not by a person at Google's.

        The killed trigger of the attempt before cancels while this one may already wait for the same job.
        """
        if job.state != "JOB_STATE_CANCELLED" or context["ti"].try_number == 1:
            return False
        started = context["ti"].start_date
        ended = datetime.fromisoformat(job.end_time) if job.end_time else None
        return ended is None or ended < started + CLEARING

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
        return asyncio.run(self._trigger(job).wait())

    def _error(self, event: Mapping[str, Any]) -> exceptions.TuningError:
        name, status = event["job_name"], event["status"]
        if status == "error":
            return exceptions.PollingError(f"{name}: {event.get('message')}")
        if status == "timeout":
            return exceptions.TuningJobTimeoutError(f"{event.get('message')} Allowed were {self.job_timeout:.0f} s.")
        reason = self.job.error.message if self.job and self.job.error else "no reason was given"
        return FAILURES[status](f"{name} ended as {status}: {reason}")


def _same(event: Mapping[str, Any], awaited: str) -> bool:
    """Whether an event is about a job; the service names jobs with the project's number, people with its id."""
    found, wanted = (re.sub("^projects/[^/]+/", "", name) for name in (str(event.get("job_name")), awaited))
    return found == wanted
