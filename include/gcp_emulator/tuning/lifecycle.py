"""All running tuning jobs: quota, tasks, cancellation, and recovery after a restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine

import msgspec

from ..errors import ApiError, Cancelled, FailedPrecondition, Internal, ResourceExhausted
from ..state import Resource
from .job_run import ENDED, JobRun, Services
from .policies import TRAIN, Policy

log = logging.getLogger(__name__)

_METRIC = "aiplatform.googleapis.com/global_concurrent_tuning_jobs"
_SECONDS_TO_MOVE = 5.0


class Lifecycle:
    """Runs jobs concurrently, up to the quota of each project.

    :param on_end: called with the name of each job that ends
    """

    def __init__(self, services: Services, on_end: Callable[[str], None]) -> None:
        self.services = services
        self.on_end = on_end
        self.policies: list[Policy] = []
        self.quota_back = 0.0
        self._runs: dict[str, JobRun] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._quotas: dict[str, asyncio.Semaphore] = {}

    # Quota

    def _quota(self, name: str) -> asyncio.Semaphore:
        """The project: the quota counts all regions."""
        project = name.split("/")[1]
        return self._quotas.setdefault(project, asyncio.Semaphore(self.services.settings.concurrent_tuning_jobs))

    def exhaust_quota(self, seconds: float) -> None:
        """Refuse all jobs for some seconds, as if the quota were used up."""
        self.quota_back = time.monotonic() + seconds

    def check_quota(self, parent: str) -> None:
        """Check the quota of tuning jobs before a job is created.

        :raises ResourceExhausted: a job would exceed the quota, and jobs do not wait for it
        """
        project = parent.split("/locations/")[0] + "/"
        active = sum(name.startswith(project) for name in self._tasks)
        full = active >= self.services.settings.concurrent_tuning_jobs or time.monotonic() < self.quota_back
        if full and self.services.settings.quota_mode == "refuse":
            raise quota_refusal(project.rstrip("/"))

    @property
    def active(self) -> int:
        """Number of jobs that have not ended."""
        return len(self._tasks)

    # Starting and ending

    def policy_for(self, job: Resource) -> Policy:
        """The first policy that matches and is not used up; real training without such a policy."""
        for policy in self.policies:
            if policy.matches(job) and policy.count != 0:
                if policy.count is not None:
                    policy.count -= 1
                return policy
        return TRAIN

    def start(self, job: Resource, record: Resource) -> None:
        """Store a new job with its run record, and run it."""
        record["policy"] = msgspec.to_builtins(self.policy_for(job))
        with self.services.store.transaction():
            self.services.store.put("tuningRuns", job["name"], record)
            self.services.store.put("tuningJobs", job["name"], job)
        self._launch(job["name"], self._run)

    def resume(self) -> None:
        """Resume the jobs that had not ended when the emulator stopped; those that ran come first."""
        jobs = [job for job in self.services.store.list("tuningJobs") if job["state"] not in ENDED]
        jobs.reverse()
        self._report_ended()
        for job in sorted(jobs, key=lambda job: bool(job["state"] != "JOB_STATE_RUNNING")):
            JobRun(job["name"], self.services).begin_again()
            cancelling = job["state"] == "JOB_STATE_CANCELLING"
            self._launch(job["name"], self._finish_cancelling if cancelling else self._run)

    def _report_ended(self) -> None:
        """Report again which jobs have ended: a stop may have lost the last report."""
        for job in self.services.store.list("tuningJobs"):
            if job["state"] in ENDED:
                self.on_end(job["name"])

    def _launch(self, name: str, course: Callable[[JobRun], Coroutine[None, None, None]]) -> None:
        run = JobRun(name, self.services)
        self._runs[name] = run
        task = asyncio.create_task(course(run), name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._forget(name, done))

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name], self._runs[name]

    async def _run(self, run: JobRun) -> None:
        try:
            await self._run_within_quota(run)
        except ApiError as error:
            run.finish("JOB_STATE_FAILED", error)
        except Exception:
            log.exception("tuning job %s", run.name)
            run.finish("JOB_STATE_FAILED", Internal("Internal error occurred."))
        self.on_end(run.name)

    async def _run_within_quota(self, run: JobRun) -> None:
        quota = self._quota(run.name)
        waiting = quota.locked() or time.monotonic() < self.quota_back
        if waiting and run.job["state"] != "JOB_STATE_RUNNING":
            run.update(state="JOB_STATE_QUEUED", tuningJobState="TUNING_JOB_STATE_WAITING_FOR_QUOTA")
        async with quota:
            await asyncio.sleep(max(0.0, self.quota_back - time.monotonic()))
            await run.go()

    def cancel(self, name: str) -> None:
        """Cancel a job. A job that has ended stays unchanged."""
        run = self._runs.get(name)
        if run is None or run.job["state"] in (*ENDED, "JOB_STATE_CANCELLING"):
            return
        self._tasks[name].cancel()
        run.update(state="JOB_STATE_CANCELLING", tuningJobState=None)
        self._launch(name, self._finish_cancelling)

    async def _finish_cancelling(self, run: JobRun) -> None:
        await run.pause(self.services.settings.cancel_seconds)
        run.finish("JOB_STATE_CANCELLED", Cancelled("The tuning job was cancelled."))
        self.on_end(run.name)

    async def advance(self, name: str) -> None:
        """Let a job with a manual policy make its next change of state, and wait for it.

        :raises FailedPrecondition: the job does not wait for this
        """
        run = self._runs.get(name)
        if run is None or not run.policy.manual:
            raise FailedPrecondition(f"{name} does not wait to be advanced.")
        run.moved.clear()
        run.gate.set()
        try:
            await asyncio.wait_for(run.moved.wait(), _SECONDS_TO_MOVE)
        except TimeoutError:
            raise FailedPrecondition(f"{name} did not change its state within {_SECONDS_TO_MOVE:g} s.") from None

    def clear(self) -> None:
        """Forget policies and an exhausted quota."""
        self.policies = []
        self.quota_back = 0.0

    async def close(self) -> None:
        """Stop all jobs where they are; `resume` continues them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def quota_refusal(subject: str) -> ResourceExhausted:
    """The service's message, by analogy with its other job quotas."""
    quota = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"subject": subject, "description": f"Quota exceeded for {_METRIC}"}],
    }
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30s"}
    message = f"The following quota metrics exceed quota limits: {_METRIC}"
    return ResourceExhausted(message, details=[quota, retry])
