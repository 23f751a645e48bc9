"""Wait for a tuning job in the triggerer, without occupying a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import BaseTrigger, TriggerEvent

from vertex_tuning.exceptions import TuningError
from vertex_tuning.hooks.job_poller import Failure, JobPoller, Rivals
from vertex_tuning.jobs.job import TuningJob, describe_progress, terminal_event
from vertex_tuning.resources.resource_names import location_of, project_of

if TYPE_CHECKING:
    from vertex_tuning.hooks.light_connection import LightConnection


FIRST_LOOK_SECONDS: Final = 5.0

_UNKNOWN: Final = "unknown"

GOES_ON: Final = frozenset({"deferred", "up_for_retry", _UNKNOWN})
"""States of a task that do not come from a user's act while it is deferred."""

STOPPED: Final = frozenset({"failed", "success", "skipped", "upstream_failed", "removed"})
"""States of a task after a user's act or the end of its run."""


class TuningJobTrigger(BaseTrigger):
    """Waits in the triggerer for the end of a tuning job. It fires one event.

    The event comes when the job has ended, at the deadline, when the job could not be read for too long, or when
    another job runs for the same task instance. The trigger creates nothing and holds no credential. It survives a
    restart of the triggerer, with its deadline.

    :param job_name: `projects/…/locations/…/tuningJobs/ID`
    :param gcp_conn_id: the Google Cloud connection
    :param impersonation_chain: service account to impersonate, or a chain of accounts
    :param poll_interval: seconds between two polls
    :param end_time: deadline, in seconds since the epoch
    :param max_poll_failures: after this many polling intervals without a successful poll, fire an error
    :param cancel_on_kill: cancel the job when a user clears the task or marks it
    :param report_rivals: fire when a second job of the same task instance runs
    """

    flux_seconds: float = 8.0
    """A task that is neither deferred nor stopped may be about to be deferred again; after this long it would be."""

    def __init__(
        self,
        *,
        job_name: str,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
        poll_interval: float,
        end_time: float,
        max_poll_failures: int,
        cancel_on_kill: bool,
        report_rivals: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job_name = job_name
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.poll_interval = poll_interval
        self.end_time = end_time
        self.max_poll_failures = max_poll_failures
        self.cancel_on_kill = cancel_on_kill
        self.report_rivals = report_rivals
        self._seen = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{__name__}.{type(self).__name__}",
            {
                "job_name": self.job_name,
                "gcp_conn_id": self.gcp_conn_id,
                "impersonation_chain": self.impersonation_chain,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "max_poll_failures": self.max_poll_failures,
                "cancel_on_kill": self.cancel_on_kill,
                "report_rivals": self.report_rivals,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent(await self.wait())

    async def on_kill(self) -> None:
        """Cancel the job when a user has stopped the task.

        Airflow 3.3 also calls this when another triggerer takes over the trigger (apache/airflow#73454). The task is
        still deferred then, and the job continues. It also continues when the state of the task cannot be read.
        """
        if not self.cancel_on_kill or not await self._is_stopped():
            return
        job = await asyncio.to_thread(self._cancel)
        self.logger().info("Cancelled %s, because its task was stopped: %s", job.name, describe_progress(job))

    async def _is_stopped(self) -> bool:
        state = await self._task_state()
        if state not in STOPPED | GOES_ON:
            # A user cleared it and it will run again, or an event in another triggerer resumed it for a moment.
            await asyncio.sleep(self.flux_seconds)
            state = await self._task_state()
        if state in GOES_ON:
            self.logger().warning("%s goes on: its task is %s.", self.job_name, state)
            return False
        return True

    async def _task_state(self) -> str | None:
        """The state of the task now. None is the state of a task that was cleared."""
        ti = self.task_instance
        if ti is None:
            return _UNKNOWN
        try:
            states = await asyncio.to_thread(states_of_task, ti)
        except Exception as error:  # noqa: BLE001 - no error is a reason to cancel a job
            self.logger().warning("The state of the task cannot be had: %r", error)
            return _UNKNOWN
        return states[0] if len(states) == 1 else _UNKNOWN

    async def wait(self) -> dict[str, Any]:
        """Watch the job until there is an event. Its `status` is one of `waiter.STATUSES`.

        :raises ConfigurationError: the polling interval is not a positive number
        """
        with self._poller().watch(self.job_name, self.poll_interval) as watch:
            try:
                # One timer for all polls: the event loop keeps a cancelled timer for its whole duration.
                async with asyncio.timeout(self._time_left()) as limit:
                    while (event := self._judge(await watch.news())) is None:
                        if (left := self._time_left()) <= FIRST_LOOK_SECONDS:
                            limit.reschedule(asyncio.get_running_loop().time() + left)
                    return event
            except TimeoutError:
                message = f"{self.job_name} had not ended at its deadline; last seen {self._seen}."
                return self._event("timeout", message)

    def _judge(self, look: TuningJob | Failure | Rivals) -> dict[str, Any] | None:
        """The event, if there is one. The job is not kept: a thousand waiters would keep a thousand jobs."""
        if isinstance(look, Failure):
            return self._failure(look)
        if isinstance(look, Rivals):
            return self._event("rivals", f"{look.name} runs for the same task.") if self.report_rivals else None
        if event := terminal_event(look):
            return {**event, "job_name": self.job_name}
        self._report(look)
        return None

    def _time_left(self) -> float:
        """Seconds until the deadline. After a late restart there is still time for a first poll."""
        return max(self.end_time - time.time(), 0.0 if self._seen else FIRST_LOOK_SECONDS)

    def _failure(self, look: Failure) -> dict[str, Any] | None:
        """The event, if the job could not be read for too long."""
        trouble = str(look.error) if isinstance(look.error, TuningError) else repr(look.error)
        if look.seconds >= self.max_poll_failures * self.poll_interval:
            return self._event("error", f"Not read for {look.seconds:.0f} s; the last error: {trouble}")
        self.logger().warning("The job could not be read: %s", trouble)
        return None

    def _poller(self) -> JobPoller:
        place = (self.job_name.partition("/tuningJobs/")[0], self.gcp_conn_id, str(self.impersonation_chain))
        return JobPoller.shared(place, self._connect)

    def _report(self, job: TuningJob) -> None:
        """Log the progress of the job when it has changed."""
        progress = describe_progress(job)
        if progress != self._seen:
            # The logger of the class: a logger per trigger takes 1 KB.
            self.logger().info("%s: %s", job.name, progress)
        self._seen = progress

    def _event(self, status: str, message: str) -> dict[str, Any]:
        return {"status": status, "job_name": self.job_name, "message": message}

    def _connect(self) -> LightConnection:
        from vertex_tuning.hooks.light_connection import LightConnection

        return LightConnection(**self._place())

    def _cancel(self) -> TuningJob:
        from vertex_tuning.hooks.job_reader import JobReader

        return JobReader(self._connect()).cancel(self.job_name)

    def _place(self) -> dict[str, Any]:
        return {
            "location": location_of(self.job_name),
            "project_id": project_of(self.job_name),
            "gcp_conn_id": self.gcp_conn_id,
            "impersonation_chain": self.impersonation_chain,
        }


def states_of_task(ti: Any) -> list[str | None]:
    """The state of a task instance, from Airflow; empty if there is no such task instance."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    index = -1 if ti.map_index is None else ti.map_index
    runs = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, run_ids=[ti.run_id], task_ids=[ti.task_id], map_index=index
    )
    return [state for states in runs.values() for state in states.values()]
