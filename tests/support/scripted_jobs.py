"""Tuning jobs that follow a script of the local Google Cloud instead of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final
from uuid import uuid4

from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs.job import TuningJob

from tests.support.tasks import TaskContext, create, execute
from tests.support.waiting import wait_until

Course = Mapping[str, Any]
"""How a job goes: fields of a `lifecycle` rule of the emulator."""

RUNS: Final[Course] = {"script": [{"state": "JOB_STATE_RUNNING", "seconds": 600}]}
"""Until it is cancelled."""

SUCCEEDS: Final[Course] = {"script": []}
"""At once."""


def fails(code: int, message: str = "Oh.") -> Course:
    """In training."""
    return {"failure": {"code": code, "message": message, "step": 1}}


FAILS_IN_PASSING: Final = fails(13)
"""With an internal error, which another job may not meet."""


class ScriptedJobs:
    """The jobs of one test, which carry a label of its own.

    :param control: what tells the emulator (`tests.support.emulator.tell`)
    :param hook: of the location where they are
    :param key: of the label
    :param value: of the label; a unique one when not given
    """

    def __init__(
        self, control: Callable[..., None], hook: VertexTuningHook, key: str = "t", value: str | None = None
    ) -> None:
        self._control = control
        self._hook = hook
        self.key, self.value = key, value or uuid4().hex[:20]
        self.labels = {self.key: self.value}

    def follow(self, *courses: Course) -> None:
        """Each course is one job's, in the order of their creation; the last one is all further jobs', too."""
        for course in courses[:-1]:
            self._control("lifecycle", labels=self.labels, count=1, **course)
        self._control("lifecycle", labels=self.labels, **courses[-1])

    def create(self, context: TaskContext, **arguments: Any) -> dict[str, Any]:
        """Execute a create operator."""
        job: dict[str, Any] = execute(create(labels=self.labels, **arguments), context)
        return job

    def all(self) -> list[TuningJob]:
        """Oldest first."""
        listed = self._hook.list_tuning_jobs(f"labels.{self.key}={self.value}")
        own = (job for job in listed if job.labels.items() >= self.labels.items())
        return sorted(own, key=lambda job: job.age_rank)

    def live(self) -> list[str]:
        """Names of those that go on, oldest first."""
        return live(self.all())


def live(jobs: Iterable[TuningJob]) -> list[str]:
    """Names of jobs that go on: neither ended nor being cancelled."""
    return [job.name for job in jobs if job.is_live and not job.is_cancelled]


def ended(hook: VertexTuningHook, name: str) -> TuningJob:
    """A job once it has ended."""

    def look() -> TuningJob | None:
        job = hook.get_tuning_job(name)
        return None if job.is_live else job

    return wait_until(look)
