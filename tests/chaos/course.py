"""All runs of one chaos, one after another, each with its blow."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Final

import httpx
from rich.console import Console

from include.local.airflow_api import ENDED, AirflowApi
from include.local.demo import DAG_ID
from include.local.outcome import failures
from include.local.stack import USER, Stack, StackError
from include.local.summary import print_failures
from tests.chaos.cloud import Cloud
from tests.chaos.monkey import Monkey
from tests.chaos.plan import Blow
from tests.chaos.report import Report, Run

SETTINGS: Final = {
    # What has died is noticed within seconds instead of minutes.
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "3",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "SCHEDULER__TASK_QUEUED_TIMEOUT": "30",
    "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "3",
    "SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
    "VERTEX_TUNING__RETRY_DELAY": "2",
}
"""Airflow's configuration for this."""

CONF: Final = {"epoch_count": 2, "force": True}
"""A short run, and not skipped although it repeats the one before."""
RUN_SECONDS: Final = 300
GRACE_SECONDS: Final = 3
PARSE_SECONDS: Final = 60


class Course:
    """Runs pipelines on a started stack and has each struck once."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self.stack = stack
        self.console = console
        self.cloud = Cloud(stack.emulator_url)
        self.api = AirflowApi(stack.airflow_url, USER, stack.secrets["password"])
        self.monkey = Monkey(stack, self.cloud)

    def close(self) -> None:
        self.monkey.bury()
        self.api.close()
        self.cloud.close()

    def run(self, blows: Sequence[Blow]) -> Report:
        """One run for each blow.

        :raises StackError: when a process ended that nobody killed, or there is nothing to run
        """
        deadline = time.monotonic() + PARSE_SECONDS
        while not self.api.has_dag(DAG_ID):
            if time.monotonic() > deadline:
                raise StackError(f"The DAG {DAG_ID} did not appear within {PARSE_SECONDS} s.")
            time.sleep(0.5)
        self.api.unpause(DAG_ID)
        runs = []
        for number, blow in enumerate(blows, 1):
            runs.append(run := self._run(blow))
            verdict = f"{run.state} in {run.seconds:.0f} s{'' if run.hit else ', not hit'}"
            self.console.print(f"{number:>3}  {blow}: {verdict}", highlight=False, soft_wrap=True)
            if run.state != "success":
                print_failures(failures(self.stack, self.api, DAG_ID, run.run_id), self.console)
        return Report(runs, self.cloud.jobs())

    def _run(self, blow: Blow) -> Run:
        self.stack.wait_until_ready()
        self.cloud.forget_calls()
        started = time.monotonic()
        run_id = self.api.trigger(DAG_ID, CONF)

        def is_over() -> bool:
            return self._state(run_id) in ENDED or time.monotonic() > started + RUN_SECONDS

        hit = self.monkey.strike(blow, is_over)
        while not is_over():
            time.sleep(0.5)
        state, seconds = self._state(run_id), time.monotonic() - started
        self._end(run_id, state)
        time.sleep(GRACE_SECONDS)
        left = frozenset(job.name for job in self.cloud.jobs() if not job.has_ended)
        self.monkey.bury()
        job = self.api.result(DAG_ID, run_id, "wait_for_tuning_job") or {}
        return Run(run_id, blow, hit, state, seconds, job.get("name"), left)

    def _state(self, run_id: str) -> str:
        """The run's state; "unknown" while Airflow cannot say it, its database being busy or its server slow."""
        with contextlib.suppress(httpx.HTTPError):
            return self.api.state(DAG_ID, run_id)
        return "unknown"

    def _end(self, run_id: str, state: str) -> None:
        """Make room for the next run when this one does not end."""
        if state not in ENDED:
            self.api._client.patch(f"/dags/{DAG_ID}/dagRuns/{run_id}", json={"state": "failed"}).raise_for_status()
