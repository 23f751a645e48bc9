"""What a run leaves behind: the teardown cancels it, and after the teardown the reaper."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from vertex_tuning import exceptions
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs import submission
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.operators.tuning_job import CancelOrphanedJobsOperator, CancelUnfinishedJobsOperator

from tests.integration.conftest import spec
from tests.support.tasks import TaskContext, create, execute, origin

Control = Callable[..., None]
RUNNING = [{"state": "JOB_STATE_RUNNING", "seconds": 600}]


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "LIST_LAG", 2.5)
    monkeypatch.setattr("vertex_tuning.operators.tuning_job.LIST_PAUSE", 0.2)


@pytest.fixture
def label() -> str:
    return uuid4().hex[:20]


@pytest.fixture
def context() -> TaskContext:
    return TaskContext(uuid4().hex)


@pytest.fixture
def held(control: Control, label: str) -> None:
    """Jobs of this test run until they are cancelled."""
    control("lifecycle", labels={"t": label}, script=RUNNING)


def live(hook: VertexTuningHook, label: str) -> list[str]:
    jobs = (job for job in hook.list_tuning_jobs(f"labels.t={label}") if job.labels.get("t") == label)
    return sorted(job.name for job in jobs if job.is_live and not job.is_cancelled)


def ended(hook: VertexTuningHook, name: str) -> TuningJob:
    deadline = time.monotonic() + 60
    while (job := hook.get_tuning_job(name)).is_live:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return job


# The teardown


def teardown(context: TaskContext, states: dict[str, str | None], created_by: str = "task") -> Any:
    """The teardown of a run whose tasks are in these states."""
    context["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: states}
    return execute(CancelUnfinishedJobsOperator(task_id="cancel", created_by=created_by), context)


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_job_nobody_waits_for_is_cancelled_even_when_that_is_refused_at_first(
    hook: VertexTuningHook, control: Control, held: None, label: str, context: TaskContext, state: str
) -> None:
    created = execute(create(labels={"t": label}), context)
    control("faults", method="tuningJobs.cancel", error={"code": 403, "message": "Not just now."}, count=2)
    assert teardown(context, {"task": state}) == [created["name"]]
    assert live(hook, label) == []


@pytest.mark.parametrize("state", ["success", "failed"])
def test_once_a_job_may_exist_no_error_of_the_teardown_is_final(
    control: Control, context: TaskContext, state: str
) -> None:
    control("faults", method="tuningJobs.list", error={"code": 403, "message": "Not just now."})
    with pytest.raises(exceptions.TransientError, match="Not just now"):
        teardown(context, {"task": state})


@pytest.mark.parametrize("state", [None, "upstream_failed", "skipped", "removed"])
def test_a_task_that_never_ran_has_left_nothing(control: Control, context: TaskContext, state: str | None) -> None:
    control("faults", method="tuningJobs.list", error={"code": 403, "message": "Nobody asks."})
    assert teardown(context, {"task": state}) == []


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_job_that_is_not_listed_yet_is_found_alone_and_beside_an_older_one(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext, state: str
) -> None:
    """The waiting task was killed while it created the next job after one that had failed."""
    control("lifecycle", labels={"t": label}, failure={"code": 13, "message": "Oh.", "step": 1}, count=1)
    control("lifecycle", labels={"t": label}, script=RUNNING)
    failed = ended(hook, execute(create(labels={"t": label}), context)["name"])
    time.sleep(1.6)  # until the list below shows the first one
    second = hook.create_tuning_job(spec(epoch_count=2), {**failed.labels, "airflow-job-attempt": "2"})
    control("faults", method="tuningJobs.list", staleList=1.5)
    assert teardown(context, {"task": state}) == [second.name]


def test_all_indices_of_a_mapped_create_count(
    hook: VertexTuningHook, held: None, label: str, context: TaskContext
) -> None:
    run_id = context["ti"].run_id
    for index in range(3):
        execute(create(labels={"t": label}), TaskContext(run_id, map_index=index))
    other = execute(create(labels={"t": label}), TaskContext(uuid4().hex, map_index=0))
    assert len(teardown(context, {"task_0": "success", "task_1": "failed", "task_2": "success", "task_x": None})) == 3
    assert live(hook, label) == [other["name"]]


def test_in_a_mapped_group_each_teardown_has_its_own(
    hook: VertexTuningHook, held: None, label: str, context: TaskContext
) -> None:
    run_id = context["ti"].run_id
    jobs = [execute(create(labels={"t": label}), TaskContext(run_id, map_index=index)) for index in range(2)]
    states: dict[str, str | None] = {"task_0": "success", "task_1": "success"}
    assert teardown(TaskContext(run_id, map_index=1), states) == [jobs[1]["name"]]
    assert live(hook, label) == [jobs[0]["name"]]


def test_a_task_that_is_not_in_the_run_is_named(context: TaskContext) -> None:
    with pytest.raises(exceptions.ConfigurationError, match=r"created_by: found 'creat'.*one of create, wait"):
        teardown(context, {"create": "success", "wait": "failed"}, created_by="creat")


# The reaper


class Runs:
    """What Airflow knows of runs: their state and their tasks'."""

    def __init__(self, state: str | Exception, *tasks: str | None) -> None:
        self.state = state
        self.tasks = tasks

    def get_dagrun_state(self, *run: str) -> str:
        assert run[0] == "dag"
        if isinstance(self.state, Exception):
            raise self.state
        return self.state

    def get_task_states(self, run_ids: list[str], **_: str) -> dict[str, dict[str, str | None]]:
        return {run_ids[0]: {f"task {number}": state for number, state in enumerate(self.tasks)}}


def reaper(runs: Runs, **arguments: Any) -> Any:
    context = TaskContext("the reaper's own run")
    context["ti"].get_dagrun_state = runs.get_dagrun_state
    context["ti"].get_task_states = runs.get_task_states
    return execute(CancelOrphanedJobsOperator(task_id="reap", **{"grace_period": 0.0, **arguments}), context)


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_job_whose_run_has_ended_is_cancelled(
    hook: VertexTuningHook, held: None, label: str, context: TaskContext, state: str
) -> None:
    created = execute(create(labels={"t": label}, description="A note."), context)
    assert created["name"] in reaper(Runs(state, "success", "skipped", None, "upstream_failed"))
    assert live(hook, label) == []


@pytest.mark.parametrize(
    "runs",
    [
        Runs("running", "success"),
        Runs("queued"),
        Runs("failed", "failed", "running"),
        Runs("success", "deferred"),
        Runs("failed", "queued"),
        Runs("failed", "up_for_retry"),
        Runs(RuntimeError("404: no such run")),
    ],
    ids=lambda runs: f"{runs.state} {runs.tasks}",
)
def test_a_job_that_may_still_be_waited_for_or_whose_run_is_not_known_is_left(
    hook: VertexTuningHook, held: None, label: str, context: TaskContext, runs: Runs
) -> None:
    created = execute(create(labels={"t": label}), context)
    reaper(runs)
    assert live(hook, label) == [created["name"]]


def test_a_young_job_is_left(hook: VertexTuningHook, held: None, label: str, context: TaskContext) -> None:
    created = execute(create(labels={"t": label}), context)
    reaper(Runs("failed"), grace_period=3600)
    assert live(hook, label) == [created["name"]]


def test_one_that_outlives_its_run_by_design_is_left(
    hook: VertexTuningHook, held: None, label: str, context: TaskContext
) -> None:
    created = execute(create(labels={"t": label}, outlives_run=True), context)
    reaper(Runs("success"))
    assert live(hook, label) == [created["name"]]


def test_one_that_no_run_or_another_installation_created_is_left(
    hook: VertexTuningHook, held: None, label: str, context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = hook.create_tuning_job(spec(), {"t": label})
    labelled = hook.create_tuning_job(spec(), {"t": label, **origin(context).labels})
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", "production")
    theirs = execute(create(labels={"t": label}), context)
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", "tests")
    reaper(Runs("failed"))
    assert live(hook, label) == sorted([plain.name, labelled.name, theirs["name"]])
