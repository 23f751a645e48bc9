"""Counts, from what the emulator and Airflow know afterwards, and says whether that is as it has to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.stacks.chaos.cloud import Job
from tests.stacks.chaos.metadata import DagRun
from tests.stacks.chaos.plan import EVERY, Blow


@dataclass(frozen=True)
class Run:
    """One pipeline run and what was done to it.

    :param hit: whether the blow came before the run had ended
    :param state: the run's last state as Airflow has it
    :param seconds: from its start to its end
    :param created: the jobs that its creating tasks returned
    :param results: the jobs that its waiting tasks returned
    :param left_running: jobs that had not ended a while after the run had
    :param given_up: jobs that ran when the harness ended the run, which had not ended by itself
    """

    dag_run: DagRun
    blow: Blow
    hit: bool
    state: str
    seconds: float
    created: frozenset[str]
    results: frozenset[str]
    left_running: frozenset[str] = frozenset()
    given_up: frozenset[str] = frozenset()

    @property
    def kept(self) -> frozenset[str]:
        """The jobs it was good for; a candidate is good for its job whatever becomes of the others."""
        return self.results if self.state == "success" or self.blow.sweep else frozenset()


@dataclass(frozen=True)
class Report:
    """All runs, and all tuning jobs as they were after the last.

    - *trained twice*: jobs of one identity of which another one had trained as well. A job counts as trained when it
      completed an epoch and did not fail; a new attempt after a failure is as it should be.
    - *left running*: jobs that went on when the run they were made for had ended.
    - *lost*: jobs that succeeded although no run kept a job of their identity.
    - *cancelled without a person's act*: jobs that were cancelled, for nobody acts here. A twin is left out that had
      not trained, that no task had chosen, and beside which another job of its identity stays: two processes that
      create at once settle it that way.
    """

    runs: Sequence[Run]
    jobs: Sequence[Job]

    @property
    def completed(self) -> list[Run]:
        """Runs that succeeded, with jobs that did."""
        good = {job.name for job in self.jobs if job.has_succeeded}
        return [run for run in self.runs if run.state == "success" and run.results and run.results <= good]

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
        names = {name for run in self.runs for name in run.kept}
        kept = {job.identity for job in self.jobs if job.has_succeeded and job.name in names}
        return [job for job in self.jobs if job.has_succeeded and job.identity not in kept]

    @property
    def cancelled(self) -> list[Job]:
        given_up = {name for run in self.runs for name in run.given_up}
        return [
            job for job in self.jobs if job.was_cancelled and job.name not in given_up and not self._is_spare_twin(job)
        ]

    def _is_spare_twin(self, job: Job) -> bool:
        chosen = {name for run in self.runs for name in run.created | run.results}
        stays = {other.identity for other in self.jobs if not other.was_cancelled}
        return not job.epochs and job.name not in chosen and job.identity in stays

    @property
    def trouble(self) -> Mapping[str, list[Job]]:
        """All that must not be, by its name."""
        return {
            "trained twice": self.trained_twice,
            "left running": self.left_running,
            "lost": self.lost,
            "cancelled without a person's act": self.cancelled,
        }

    @property
    def passed(self) -> bool:
        return not any(self.trouble.values()) and len(self.completed) == len(self.runs)

    def print(self, console: Console) -> None:
        console.print(self._blows())
        console.print(self._totals())
        for run in self.runs:
            if run not in self.completed:
                console.print(f"not completed: {run.dag_run.run_id}, {run.state} ({run.blow})", soft_wrap=True)
        for title, jobs in self.trouble.items():
            for job in jobs:
                console.print(f"{title}: {job.name}, {job.state}, {job.epochs} epochs, {job.identity}", soft_wrap=True)

    def _blows(self) -> Table:
        table = Table("blow", "runs", "hit", "completed", "slowest", title="Blows", title_justify="left")
        for title in dict.fromkeys(run.blow.title for run in sorted(self.runs, key=_order)):
            runs = [run for run in self.runs if run.blow.title == title]
            completed = sum(run in self.completed for run in runs)
            slowest = f"{max(run.seconds for run in runs):.0f} s"
            table.add_row(title, str(len(runs)), str(sum(run.hit for run in runs)), str(completed), slowest)
        return table

    def _totals(self) -> Table:
        table = Table("count", "", title="Passed" if self.passed else "Not passed", title_justify="left")
        hits = Counter(run.blow.kind for run in self.runs if run.hit)
        totals = {
            "runs": len(self.runs),
            "sweeps": sum(run.blow.sweep for run in self.runs),
            "kills": hits["kill"],
            "stalls": hits["stall"],
            "faults injected": hits["fault"],
            "neighbours": hits["neighbour"],
            "pipelines completed": len(self.completed),
            "tuning jobs created": len(self.jobs),
            **{f"jobs {title}": len(jobs) for title, jobs in self.trouble.items()},
        }
        for title, count in totals.items():
            table.add_row(title, str(count))
        return table


def _order(run: Run) -> tuple[int, int]:
    """Where a run's blow stands among all there are."""
    kind, name = run.blow.kind, run.blow.name
    return list(EVERY).index(kind), EVERY[kind].index(name)
