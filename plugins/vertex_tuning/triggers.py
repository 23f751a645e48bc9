"""Waiting for a tuning job in the triggerer, where it costs no worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from airflow.triggers.base import BaseTrigger, TriggerEvent

from vertex_tuning.exceptions import TuningError
from vertex_tuning.jobs import TuningJob, describe_progress, location_of, project_of, terminal_event
from vertex_tuning.polling import Failure, JobPoller

if TYPE_CHECKING:
    from vertex_tuning.light_connection import LightConnection


FIRST_LOOK_SECONDS: Final = 5.0


class TuningJobTrigger(BaseTrigger):
    """Fires once: when the job has ended, when the deadline has come, or when its state cannot be read.

    Creates nothing, holds no credential and survives a restart of the triggerer, deadline included.

    :param job_name: `projects/…/locations/…/tuningJobs/ID`
    :param gcp_conn_id: the Google Cloud connection
    :param impersonation_chain: service account to act as, or a chain of them
    :param poll_interval: seconds between two looks
    :param end_time: deadline, in seconds since the epoch
    :param max_poll_failures: how many failed looks in a row are passing trouble
    :param cancel_on_kill: cancel the job when a user clears the task or marks it
    """

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
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job_name = job_name
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.poll_interval = poll_interval
        self.end_time = end_time
        self.max_poll_failures = max_poll_failures
        self.cancel_on_kill = cancel_on_kill
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
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent(await self.wait())

    async def on_kill(self) -> None:
        """A user cleared or marked the waiting task: nobody waits for the job any more, so it must not run on."""
        if not self.cancel_on_kill:
            return
        job = await asyncio.to_thread(self._cancel)
        self.logger().info("Cancelled %s, because its task was stopped: %s", job.name, describe_progress(job))

    async def wait(self) -> dict[str, Any]:
        """Watch until there is an event; its `status` is one of `waiting.STATUSES`."""
        with self._poller().watch(self.job_name, self.poll_interval) as watch:
            try:
                # One timer for all news: the event loop keeps cancelled ones for as long as they would have run.
                async with asyncio.timeout(self._time_left()) as limit:
                    while (event := self._judge(await watch.news())) is None:
                        if (left := self._time_left()) <= FIRST_LOOK_SECONDS:
                            limit.reschedule(asyncio.get_running_loop().time() + left)
                    return event
            except TimeoutError:
                message = f"{self.job_name} had not ended at its deadline; last seen {self._seen}."
                return self._event("timeout", message)

    def _judge(self, look: TuningJob | Failure) -> dict[str, Any] | None:
        """The event, if there is one. Nothing of the look is kept: a thousand waiters would keep a thousand jobs."""
        if isinstance(look, Failure):
            return self._failure(look)
        event = terminal_event(look)
        if event is None:
            self._report(look)
        return event

    def _time_left(self) -> float:
        """Seconds until the deadline; enough for a first look, however late it is after a restart."""
        return max(self.end_time - time.time(), 0.0 if self._seen else FIRST_LOOK_SECONDS)

    def _failure(self, look: Failure) -> dict[str, Any] | None:
        """The event, once it is clear that the trouble does not pass."""
        trouble = str(look.error) if isinstance(look.error, TuningError) else repr(look.error)
        if look.in_a_row >= self.max_poll_failures:
            return self._event("error", f"{look.in_a_row} failed looks in a row; the last: {trouble}")
        self.logger().warning("Look %d of %d failed: %s", look.in_a_row, self.max_poll_failures, trouble)
        return None

    def _poller(self) -> JobPoller:
        place = (self.job_name.partition("/tuningJobs/")[0], self.gcp_conn_id, str(self.impersonation_chain))
        return JobPoller.shared(place, self._connect)

    def _report(self, job: TuningJob) -> None:
        """Log where the job is when that has changed."""
        progress = describe_progress(job)
        if progress != self._seen:
            # The class's logger: one of its own takes 1 KB of each waiter.
            self.logger().info("%s: %s", job.name, progress)
        self._seen = progress

    def _event(self, status: str, message: str) -> dict[str, Any]:
        return {"status": status, "job_name": self.job_name, "message": message}

    def _connect(self) -> LightConnection:
        from vertex_tuning.light_connection import LightConnection

        return LightConnection(**self._place())

    def _cancel(self) -> TuningJob:
        from vertex_tuning.hooks.tuning import VertexTuningHook

        return VertexTuningHook(**self._place()).cancel_tuning_job(self.job_name)

    def _place(self) -> dict[str, Any]:
        return {
            "location": location_of(self.job_name),
            "project_id": project_of(self.job_name),
            "gcp_conn_id": self.gcp_conn_id,
            "impersonation_chain": self.impersonation_chain,
        }
