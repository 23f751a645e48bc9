"""Counts, from what the emulator and Airflow know afterwards, and says whether that is as it has to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.chaos.cloud import Job
from tests.chaos.plan import FAULTS, KILLS, ZOMBIE, Blow


@dataclass(frozen=True)
class Run:
    """One pipeline run and what was done to it.

    :param hit: whether the blow came before the run had ended
    :param state: the run's last state as Airflow has it
    :param seconds: from its start to its end
    :param job: the job whose result its tasks worked with, None when it came to none
    :param left_running: jobs that had not ended a while after the run had
    """

    run_id: str
    blow: Blow
    hit: bool
    state: str
    seconds: float
    job: str | None
    left_running: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Report:
    """All runs, and all tuning jobs as they were after the last.

    - *trained twice*: jobs of one identity of which another one had trained as well. A job counts as trained when it
      completed an epoch and did not fail; a new attempt after a failure is as it should be.
    - *left running*: jobs that went on when the run they were made for had ended.
    - *lost*: jobs that succeeded although no run that succeeded ended with a job of their identity.
    """

    runs: Sequence[Run]
    jobs: Sequence[Job]

    @property
    def completed(self) -> list[Run]:
        """Runs that succeeded, with a job that did."""
        good = {job.name for job in self.jobs if job.has_succeeded}
        return [run for run in self.runs if run.state == "success" and run.job in good]

    @property
    def trained_twice(self) -> list[Job]:
        trained = [job for job in self.jobs if job.has_trained]
        count = Counter(job.identity for job in trained)
        return [job for job in trained if count[job.identity] > 1]

    @property
    def left_running(self) -> list[Job]:
        left = {name for run in self.runs for name in run.left_running}
        return [job for job in self.jobs if job.name in left or not job.has_ended]

    @property
    def lost(self) -> list[Job]:
        ended_with = {run.job for run in self.completed}
        kept = {job.identity for job in self.jobs if job.name in ended_with}
        return [job for job in self.jobs if job.has_succeeded and job.identity not in kept]

    @property
    def passed(self) -> bool:
        counted = self.trained_twice or self.left_running or self.lost
        return not counted and len(self.completed) == len(self.runs)

    def print(self, console: Console) -> None:
        console.print(self._blows())
        console.print(self._totals())
        for run in self.runs:
            if run not in self.completed:
                console.print(f"not completed: {run.run_id}, {run.state} ({run.blow})", soft_wrap=True)
        for title, jobs in (
            ("trained twice", self.trained_twice),
            ("left running", self.left_running),
            ("lost", self.lost),
        ):
            for job in jobs:
                console.print(f"{title}: {job.name}, {job.state}, {job.epochs} epochs, {job.identity}", soft_wrap=True)

    def _blows(self) -> Table:
        table = Table("blow", "runs", "hit", "completed", "slowest", title="Blows", title_justify="left")
        for name in (*KILLS, ZOMBIE, *FAULTS):
            runs = [run for run in self.runs if run.blow.name == name]
            if runs:
                completed = sum(run in self.completed for run in runs)
                slowest = f"{max(run.seconds for run in runs):.0f} s"
                title = f"kill -9 {name}" if name in KILLS else name
                table.add_row(title, str(len(runs)), str(sum(run.hit for run in runs)), str(completed), slowest)
        return table

    def _totals(self) -> Table:
        table = Table("count", "", title="Passed" if self.passed else "Not passed", title_justify="left")
        totals = {
            "runs": self.runs,
            "kills": [run for run in self.runs if run.hit and run.blow.name in KILLS],
            "zombies": [run for run in self.runs if run.hit and run.blow.name == ZOMBIE],
            "faults injected": [run for run in self.runs if run.hit and run.blow.name in FAULTS],
            "pipelines completed": self.completed,
            "tuning jobs created": self.jobs,
            "jobs that trained twice": self.trained_twice,
            "jobs left running": self.left_running,
            "jobs lost": self.lost,
        }
        for title, items in totals.items():
            table.add_row(title, str(len(items)))
        return table
