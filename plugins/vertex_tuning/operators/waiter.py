"""How a task waits for a tuning job and follows it to its end; shared by the sensor and the create operator."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec
import pendulum
from airflow.sdk import conf
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout

from vertex_tuning import exceptions
from vertex_tuning.costs.pricing import parse_limit
from vertex_tuning.hooks.job_poller import check_interval
from vertex_tuning.jobs.job import ENDED, TuningJob
from vertex_tuning.jobs.job_cost import before_creation
from vertex_tuning.jobs.spec import Origin, TuningSpec
from vertex_tuning.jobs.submission import SEARCH_TIMING, Creations, kin, resubmit, settle, twin_of_another_run
from vertex_tuning.jobs.wait import Fail, JobWait, Resubmit
from vertex_tuning.links import ExperimentLink, TuningJobLink
from vertex_tuning.operators.base import VertexOperator, origin_of
from vertex_tuning.operators.spending import OnBudget, older_jobs, require_room
from vertex_tuning.resources.resource_names import ResourceName
from vertex_tuning.results import OVER_BUDGET_KEY, JobResult
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, plain_lines
from vertex_tuning.text.templates import rendered
from vertex_tuning.triggers import TuningJobTrigger, states_of_task

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

STATUSES: Final = frozenset({*ENDED.values(), "timeout", "error", "rivals"})
DAY: Final = 86_400.0

WAITING: Final = "waiting_for_tuning_job"
"""Key in the task state store while the task is deferred. If an attempt finds this key, a user has cleared the task:
after any other end of the deferral, the task resumes and deletes the key."""

CLEARED: Final = "cleared_tuning_job"
"""Key in the task state store: the job that was cancelled because a user cleared the task."""

RETRIED: Final = "retried"
"""Key in the task state store: an attempt failed with a temporary error while its job ran, so there was no clear."""

STATE_SECONDS: Final = 2.5
"""Seconds that a killed task waits for its state: Airflow gives it 5 s."""

LEAST_INTERVAL: Final = 1.0
"""Shortest polling interval of the real service, in seconds."""


class ClearTiming(msgspec.Struct, frozen=True):
    """How long an attempt after a clear watches the job of the attempt before, in seconds.

    :param limit: time in which the kill of the cleared attempt can still cancel its job: Airflow gives `on_kill` 30 s,
        and starts it within a few seconds
    :param pause: time between two polls of the job
    """

    limit: float = 45.0
    pause: float = 2.0


class TuningJobWaiter(VertexOperator):
    """Base of tasks that wait for a tuning job.

    A job of another run, or a job that was not created by Airflow, is only watched: it is never cancelled or replaced.

    :param deferrable: wait in the triggerer, without occupying a worker.
    :param poll_interval: seconds between two polls, at least 1; defaults to `[vertex_tuning] poll_interval`, then to
        60.
    :param job_timeout: largest duration of the job in seconds, from its creation. `execution_timeout` also limits the
        wait.
    :param max_poll_failures: polling intervals without a successful poll after which the attempt fails and Airflow
        retries the task; 60 are an hour at the default interval.
    :param cancel_on_kill: cancel the job if a user clears or marks the task, or if the task is killed.
    :param cancel_on_timeout: cancel the job after its timeout.
    :param resubmit: create a new job if a job fails with a temporary error (internal error, service unavailable or
        overloaded), or was cancelled because the task was cleared.
    :param max_job_attempts: largest number of jobs for a task instance in total.
    :param quota_timeout: seconds to wait, without a worker, for the quota for a job.
    :param manifest_uri: `manifest_uri` of an `UploadDatasetOperator`. No job is created if the data has changed since
        it was checked and priced, which can happen to data that was not copied. (templated)
    :param max_cost_per_30_days: limit of the cost of all jobs of the tuning in 30 days. No job is created above it.
        The jobs must have the label `airflow-tuning` with the tuning's name. (templated)
    :param on_budget: what happens above this limit: `fail` fails the task, `skip` skips it.
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "manifest_uri", "max_cost_per_30_days")
    operator_extra_links = (TuningJobLink(), ExperimentLink())

    search_timing = SEARCH_TIMING
    clear_timing = ClearTiming()

    def __init__(
        self,
        *,
        deferrable: bool = True,
        poll_interval: float | None = None,
        job_timeout: float = DAY,
        max_poll_failures: int = 60,
        cancel_on_kill: bool = True,
        cancel_on_timeout: bool = True,
        resubmit: bool = True,
        max_job_attempts: int = 3,
        quota_timeout: float = DAY,
        manifest_uri: str | None = None,
        max_cost_per_30_days: float | str | None = None,
        on_budget: OnBudget = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.poll_interval = None if poll_interval is None else check_interval(poll_interval)
        self.job_timeout = job_timeout
        self.max_poll_failures = max_poll_failures
        self.cancel_on_kill = cancel_on_kill
        self.cancel_on_timeout = cancel_on_timeout
        self.resubmit = resubmit
        self.max_job_attempts = max_job_attempts
        self.quota_timeout = quota_timeout
        self.manifest_uri = manifest_uri
        self.max_cost_per_30_days = max_cost_per_30_days
        self.on_budget = on_budget
        self.job: TuningJob | None = None
        self._ti: Any = None
        self._owned = False
        self._gave_up = False
        self._quota_deadline = math.inf

    @cached_property
    def creations(self) -> Creations:
        """The jobs that this attempt has created, for its kill."""
        return Creations(self.search_timing)

    @property
    def interval(self) -> float:
        """Seconds between two polls.

        :raises ConfigurationError: the interval is too short for the real service
        """
        seconds = self.poll_interval
        if seconds is None:
            seconds = check_interval(conf.getfloat("vertex_tuning", "poll_interval", fallback=60.0))
        if seconds < LEAST_INTERVAL and not self.connection.is_local:
            raise exceptions.ConfigurationError(f"poll_interval: found {seconds} s, expected at least 1 s.")
        return seconds

    # Waiting

    def wait_for(self, context: Context, job: TuningJob) -> dict[str, Any]:
        """Wait until the job, or the job that replaces it, has succeeded. A job that has ended needs no trigger.

        :returns: the job as an XCom
        :raises PermanentError: the job ended without success, or its deadline has passed
        """
        job = self.follow(context, self._after_clear(context, job))
        while job.is_live:
            if self.deferrable:
                self._defer(context, job)
            job = self.follow(context, self.judge(context, asyncio.run(self._trigger(context, job).wait())))
        return self.succeed(job)

    def succeed(self, job: TuningJob) -> dict[str, Any]:
        """The result of the task, from a job that has succeeded."""
        self.log.info("%s succeeded: %s", job.name, job.tuned_model)
        return JobResult.of(job).as_xcom()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage | None:
        """Lineage for Airflow's OpenLineage provider, which calls this method."""
        from vertex_tuning.lineage import job_lineage

        return job_lineage(self.job) if self.job else None

    def follow(self, context: Context, job: TuningJob) -> TuningJob:
        """The job to wait for: this job while it runs, the job that replaced it, or a new job.

        :returns: a job that has succeeded or has not ended
        :raises PermanentError: the newest job of the task instance ended without success
        :raises PollingError: the other jobs cannot be listed
        """
        self._ti = context["ti"]
        self._owned = self._owns(context, job)
        cleared = str(context["task_state_store"].get(CLEARED) or "")
        rules = JobWait(self.resubmit and self._owned, self.max_job_attempts, cleared)
        step = rules.next([job] if job.succeeded else self._kin(job))
        if isinstance(step, Fail):
            raise step.error
        if isinstance(step, Resubmit):
            return self._resubmit(context, step)
        if step.job.name != job.name:
            self.log.warning("%s is %s; %s has replaced it.", job.name, job.state, step.job.name)
        self.job = step.job
        self.yield_to_another_run(step.job)
        return step.job

    def execute_complete(self, context: Context, event: Any = None, job_name: str | None = None) -> dict[str, Any]:
        """Continue after the event of the trigger.

        :param job_name: the job for which the task was deferred; `dag.test()` loses it
        :raises UnexpectedEventError: the event is missing, unknown or about another job
        """
        self._recall(context)
        awaited = job_name or self.awaited_job(context)
        if not isinstance(event, dict) or event.get("status") not in STATUSES or not _is_about(event, awaited):
            raise exceptions.UnexpectedEventError(f"Resumed with {event!r}, expected an event about {awaited}.")
        return self.wait_for(context, self.judge(context, event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume after a deferral, as Airflow does, also when the trigger failed."""
        self._recall(context)
        return super().resume_execution(next_method, next_kwargs, context)

    def retry_wait(
        self, context: Context, event: Any = None, job_name: str = "", quota_deadline: float | None = None
    ) -> dict[str, Any]:
        """Try again to create a job after waiting for quota."""
        self._quota_deadline = quota_deadline or math.inf
        return self.wait_for(context, self._read(job_name or self.awaited_job(context)))

    def awaited_job(self, context: Context) -> str:
        """Name of the job this task waits for."""
        raise NotImplementedError

    def on_kill(self) -> None:
        """Airflow stops the task on the worker."""
        if not self.cancel_on_kill:
            return
        self.creations.close()
        if isinstance(sys.exception(), AirflowTaskTimeout) or not self._still_runs():
            self._cancel_all()

    def _still_runs(self) -> bool:
        """Whether the task is still running in Airflow: then no user stopped it, but its worker shuts down.

        The request runs in a thread, because the signal may have interrupted the task during a request to Airflow.
        """
        states: list[str | None] = []

        def ask() -> None:
            with contextlib.suppress(Exception):  # the state is then unknown
                states.extend(states_of_task(self._ti))

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(STATE_SECONDS)
        return states == ["running"]

    def _cancel_all(self) -> None:
        self._gave_up = True
        self.creations.cancel_all(self.hook)
        if self.job and self._owned and self.job.is_live and self.job.name not in self.creations.names:
            self.hook.cancel_tuning_job(self.job.name)

    # Judging

    def judge(self, context: Context, event: Mapping[str, Any]) -> TuningJob:
        """The current state of the job of an event.

        :raises PollingError: the job could not be read for too long
        :raises TuningJobTimeoutError: the deadline of the job has passed, and it has not ended
        """
        if event["status"] == "error":
            context["task_state_store"].set(RETRIED, event["job_name"])
            raise exceptions.PollingError(f"{event['job_name']}: {event.get('message')}")
        if event["status"] == "timeout":
            return self.time_out(context, self._read(event["job_name"]), str(event.get("message")))
        if event["status"] == "rivals":
            return self._read(event["job_name"])
        return TuningJob.parse(event["job"])

    def deadline(self, context: Context, job: TuningJob) -> float:
        """Deadline of the job, in seconds since the epoch."""
        end = (job.created_at or time.time()) + self.job_timeout
        started = context["ti"].start_date
        if self.execution_timeout is not None and started:  # Airflow does not enforce it while a task is deferred
            end = min(end, started.timestamp() + self.execution_timeout.total_seconds())
        return end

    def time_out(self, context: Context, job: TuningJob, message: str) -> TuningJob:
        """Handle the deadline: return the job if it has ended, else cancel it if `cancel_on_timeout` is set.

        :raises TuningJobTimeoutError: the job has not ended
        """
        if job.is_live and self.cancel_on_timeout and self._owns(context, job):
            job = self.hook.cancel_tuning_job(job.name)
        if not job.is_live and not job.is_cancelled:
            return job
        limit = f"job_timeout is {self.job_timeout:.0f} s"
        if self.execution_timeout is not None:
            limit += f", execution_timeout {self.execution_timeout.total_seconds():.0f} s"
        raise exceptions.TuningJobTimeoutError(f"{message} ({limit})")

    def _owns(self, context: Context, job: TuningJob) -> bool:
        """Whether this run created the job, so that it may cancel or replace it."""
        if not (self.cancel_on_kill or self.cancel_on_timeout or self.resubmit):
            return False
        return bool(job.run) and job.run == origin_of(context).run

    def _kin(self, job: TuningJob) -> list[TuningJob]:
        """All jobs of the task instance. If several of them run at the same time, only one is kept."""
        if not job.identity or (job.is_live and not self._owned):
            return [job]
        try:
            jobs = kin(self.hook, job)
        except exceptions.TuningError as error:
            if job.is_live:
                self.log.warning("The other jobs of this task cannot be listed now: %s", error)
                return [job]
            raise exceptions.PollingError(str(error)) from error
        if self._owned:
            settle(self.hook, jobs)
        return jobs

    def _read(self, name: str) -> TuningJob:
        """Read the current state of a job.

        :raises ConfigurationError: the name is not the name of a tuning job
        :raises TransientError: the job cannot be read; a retry may succeed, and the job costs money
        """
        ResourceName.parse(name, "tuningJobs")
        try:
            return self.hook.get_tuning_job(name)
        except exceptions.PermanentError as error:
            raise exceptions.PollingError(str(error)) from error

    # Creating the next job

    def require_unchanged_data(self, spec: TuningSpec) -> None:
        """Check that the data has not changed since it was validated.

        :raises DatasetError: the data has changed
        """
        if rendered(self.manifest_uri):
            from vertex_tuning.datasets.publish import require_unchanged

            uris = filter(None, (spec.training_uri, spec.validation_uri))
            require_unchanged(self.storage, str(self.manifest_uri), uris)

    def require_room_in_budget(self, job: TuningJob, *, is_whole_run: bool = False) -> None:
        """Check that the budget of the tuning has room for a job in addition to all older jobs.

        :param job: a job, or its labels and model before it is created
        :param is_whole_run: the job stands for all jobs of its run, as in a sweep
        :raises AirflowSkipException: it has no room, and `on_budget` is `skip`
        :raises CostLimitError: it has no room, or a cost is not known
        """
        limit = parse_limit("max_cost_per_30_days", self.max_cost_per_30_days)
        if limit is None:
            return
        try:
            older = older_jobs(self.hook, job)
            require_room(job, [old for old in older if not is_whole_run or old.run != job.run], limit)
        except exceptions.BudgetExceededError as error:
            self._ti.xcom_push(key=OVER_BUDGET_KEY, value=plain_lines(str(error), MESSAGE_SHOWN))
            if self.on_budget != "skip":
                raise
            self.log.info("Skipping: %s", error)
            raise AirflowSkipException(str(error)) from error

    def cancel_above_budget(self, job: TuningJob) -> None:
        """Cancel a new job if other runs have used up the budget since it was checked.

        :raises AirflowSkipException: it was cancelled, and `on_budget` is `skip`
        :raises CostLimitError: it was cancelled
        """
        try:
            self.require_room_in_budget(job)
        except (exceptions.CostLimitError, AirflowSkipException):
            self.hook.cancel_tuning_job(job.name)
            raise

    def yield_to_another_run(self, job: TuningJob) -> None:
        """Keep only the oldest job if several runs create the same job at the same time, e.g. in a backfill.

        :raises AirflowSkipException: the oldest job belongs to another run; the job of this run is cancelled
        """
        if self._owned and job.is_live and (other := twin_of_another_run(self.hook, job)):
            self.hook.cancel_tuning_job(job.name)
            self.skip_for(other)

    def skip_for(self, job: TuningJob) -> NoReturn:
        """Skip this task in favour of the job of another run."""
        other = Origin.of(job)
        run = f"run {other.run_id} of {other.dag_id}" if other else "another run"
        reason = f"{job.name} of {run} trains on the same data with the same settings. This run trains nothing."
        self.log.info("Skipping: %s", reason)
        raise AirflowSkipException(reason)

    def _resubmit(self, context: Context, step: Resubmit) -> TuningJob:
        if other := twin_of_another_run(self.hook, step.job):
            self.skip_for(other)
        number = step.job.attempt + 1
        self.log.warning("%s ended (%s); creating job %d of this task.", step.job.name, step.reason, number)
        self.require_unchanged_data(TuningSpec.of(step.job))
        self.require_room_in_budget(before_creation(step.job))
        try:
            self.job = resubmit(self.hook, step.job, self.creations)
        except exceptions.QuotaExceededError as error:
            self.wait_for_quota(error, "retry_wait", job_name=step.job.name)
        self.cancel_above_budget(self.job)
        return self.job

    def wait_for_quota(self, error: exceptions.QuotaExceededError, method_name: str, **kwargs: Any) -> NoReturn:
        """Defer the task and try again later, without using up a retry.

        :param method_name: method that Airflow calls after the deferral
        :raises QuotaTimeoutError: there was no quota within `quota_timeout`
        """
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        self._quota_deadline = min(self._quota_deadline, time.time() + self.quota_timeout)
        if time.time() >= self._quota_deadline:
            raise exceptions.QuotaTimeoutError(f"No quota for a tuning job within {self.quota_timeout:.0f} s. {error}")
        if not self.deferrable:
            raise error
        # Jitter, so that tasks that wait for the same quota do not always retry at the same time.
        pause = self.interval * random.uniform(1, 2)  # noqa: S311 - no secret
        self.log.warning("No quota for another tuning job; trying again in %.0f s. %s", pause, error)
        self.defer(
            trigger=DateTimeTrigger(moment=pendulum.now("UTC").add(seconds=pause)),
            method_name=method_name,
            kwargs={**kwargs, "quota_deadline": self._quota_deadline},
        )

    # Deferring

    def _defer(self, context: Context, job: TuningJob) -> NoReturn:
        if self._gave_up:  # Airflow's signal handler has called `on_kill`, and lets the task go on
            context["task_state_store"].set(CLEARED, job.name)
        context["task_state_store"].set(WAITING, job.name)
        self.defer(trigger=self._trigger(context, job), method_name="execute_complete", kwargs={"job_name": job.name})

    def _recall(self, context: Context) -> None:
        """Remove the record of the deferral from the task state store."""
        if context["task_state_store"].get(WAITING) is not None:
            context["task_state_store"].delete(WAITING)

    def _after_clear(self, context: Context, job: TuningJob) -> TuningJob:
        """After a clear: wait until the cleared attempt has cancelled its job, or the time for that has passed.

        A later cancellation is then known to come from a person.

        :returns: the job, in its current state
        """
        name = context["task_state_store"].get(WAITING)
        if name is None or not (self.cancel_on_kill and self._owns(context, job)):
            return job
        waited_for = job if name == job.name else self._read(str(name))
        end = time.monotonic() + self.clear_timing.limit
        while waited_for.is_live and not waited_for.is_cancelled and time.monotonic() < end:
            time.sleep(self.clear_timing.pause)
            waited_for = self._read(waited_for.name)
        if waited_for.is_cancelled:
            context["task_state_store"].set(CLEARED, waited_for.name)
        return waited_for if waited_for.name == job.name else job

    def _trigger(self, context: Context, job: TuningJob) -> TuningJobTrigger:
        return TuningJobTrigger(
            job_name=job.name,
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
            poll_interval=self.interval,
            report_rivals=self._owned,
            end_time=self.deadline(context, job),
            max_poll_failures=self.max_poll_failures,
            cancel_on_kill=self.cancel_on_kill and self._owned,
        )


def _is_about(event: Mapping[str, Any], awaited: str) -> bool:
    """Whether an event is about a job. The service may use the project's number where users write its id."""
    try:
        found, wanted = (ResourceName.parse(str(name), "tuningJobs") for name in (event.get("job_name"), awaited))
    except exceptions.ConfigurationError:
        return False
    projects = {found.project, wanted.project}
    same_project = len(projects) == 1 or sum(project.isdecimal() for project in projects) == 1
    return same_project and (found.location, found.path) == (wanted.location, wanted.path)
