"""All runs of one chaos, one after another, each with its blow."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

import httpx
from rich.console import Console

from include.local.airflow_api import ENDED
from include.local.demo import DAG_ID
from include.local.outcome import last_error
from include.local.stack import START_SECONDS, USER, Stack, StackError
from tests.stacks.chaos.airflow import CREATE, WAIT, ChaosApi
from tests.stacks.chaos.chaos_stack import TRIGGERERS
from tests.stacks.chaos.cloud import Cloud
from tests.stacks.chaos.metadata import DagRun, Metadata
from tests.stacks.chaos.monkey import Monkey
from tests.stacks.chaos.plan import BLOCK, HURRY, Blow
from tests.stacks.chaos.report import Report, Run

SWEEP_DAG_ID: Final = "sweep"
NEIGHBOUR_DAG_IDS: Final = [f"{kind}_{triggerer}" for kind in (BLOCK, HURRY) for triggerer in TRIGGERERS]
CONF: Final[dict[str, dict[str, Any]]] = {
    # A short run, and not skipped although it repeats the one before.
    DAG_ID: {"epoch_count": 2, "force": True},
    SWEEP_DAG_ID: {},
}
RUN_SECONDS: Final = 300
GRACE_SECONDS: Final = 3
PARSE_SECONDS: Final = 60


class Course:
    """Runs pipelines on a started stack and has each struck once."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self.stack = stack
        self.console = console
        self.cloud = Cloud(stack.emulator_url)
        self.api = ChaosApi(stack.airflow_url, USER, stack.secrets["password"])
        self.metadata = Metadata(stack.settings["DATABASE__SQL_ALCHEMY_CONN"])
        self.monkey = Monkey(stack, self.cloud, self.api, self.metadata)
        self._runs: list[Run] = []

    def close(self) -> None:
        self.monkey.bury()
        self.api.close()
        self.cloud.close()

    def report(self) -> Report:
        """What became of the runs so far, and of all tuning jobs."""
        return Report(self._runs, self.cloud.jobs())

    def run(self, blows: Sequence[Blow]) -> None:
        """One run for each blow.

        :raises StackError: when a process ended that nobody killed, or there is nothing to run
        """
        self._unpause()
        for number, blow in enumerate(blows, 1):
            self._runs.append(run := self._run(blow))
            verdict = f"{run.state} in {run.seconds:.0f} s{'' if run.hit else ', not hit'}"
            self.console.print(f"{number:>3}  {blow}: {verdict}{self._trouble()}", highlight=False, soft_wrap=True)
            if run.state != "success":
                self._print_failure(run.dag_run)

    def _unpause(self) -> None:
        deadline = time.monotonic() + PARSE_SECONDS
        for dag_id in (*CONF, *NEIGHBOUR_DAG_IDS):
            while not self.api.has_dag(dag_id):
                if time.monotonic() > deadline:
                    problems = "\n".join(self.api.import_errors())
                    raise StackError(f"The DAG {dag_id} did not appear within {PARSE_SECONDS} s.\n{problems}")
                time.sleep(0.5)
            self.api.unpause(dag_id)

    def _run(self, blow: Blow) -> Run:
        self._wait_until_whole()
        self.cloud.forget_calls()
        started = time.monotonic()
        dag_id = SWEEP_DAG_ID if blow.sweep else DAG_ID
        dag_run = self.api.start(dag_id, CONF[dag_id])

        def is_over() -> bool:
            return self._state(dag_run) in ENDED or time.monotonic() > started + RUN_SECONDS

        # However slow the machine is, a job that is waited for does not end before the waiting is struck.
        with self.cloud.held_jobs() if blow.strikes_waiting else contextlib.nullcontext():
            hit = self.monkey.strike(blow, dag_run, is_over)
        while not is_over():
            self.cloud.advance()
            time.sleep(0.5)
        state, seconds = self._state(dag_run), time.monotonic() - started
        given_up = self._give_up(dag_run) if state not in ENDED else frozenset()
        time.sleep(GRACE_SECONDS)
        left = self._live_jobs()
        self.monkey.bury()
        return Run(
            dag_run,
            blow,
            hit,
            state,
            seconds,
            created=self.api.job_names(dag_run, CREATE),
            results=self.api.job_names(dag_run, WAIT),
            left_running=left,
            given_up=given_up,
        )

    def _wait_until_whole(self) -> None:
        self.stack.wait_until_ready()
        deadline = time.monotonic() + START_SECONDS
        while missing := set(TRIGGERERS) - self.metadata.live_triggerers():
            if time.monotonic() > deadline:
                raise StackError(f"No heartbeat of {', '.join(missing)} for {START_SECONDS} s.")
            time.sleep(0.5)

    def _state(self, run: DagRun) -> str:
        """The run's state; "unknown" while Airflow cannot say it, its database being busy or its server slow."""
        with contextlib.suppress(httpx.HTTPError):
            return self.api.state(run.dag_id, run.run_id)
        return "unknown"

    def _give_up(self, run: DagRun) -> frozenset[str]:
        """Make room for the next run when this one does not end.

        :returns: the jobs that are cancelled for that reason
        """
        live = self._live_jobs()
        self.api.fail(run)
        return live

    def _live_jobs(self) -> frozenset[str]:
        return frozenset(job.name for job in self.cloud.jobs() if not job.has_ended)

    def _trouble(self) -> str:
        """What was counted so far that must not be, for who reads the lines of a course under way."""
        counts = [f"{len(jobs)} {title}" for title, jobs in self.report().trouble.items() if jobs]
        return f"; so far {', '.join(counts)}" if counts else ""

    def _print_failure(self, run: DagRun) -> None:
        for log in self.api.failed_logs(run, self.stack.logs):
            self.console.print(f"{last_error(log)}\nIts log: {log}", markup=False, highlight=False, soft_wrap=True)
