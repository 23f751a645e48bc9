"""What a run leaves behind: the teardown cancels it, and after the teardown the reaper."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from vertex_tuning import exceptions
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.operators.tuning_job import CancelOrphanedJobsOperator

from tests.support.google_cloud import spec
from tests.support.scripted_jobs import FAILS_IN_PASSING, RUNS, ScriptedJobs, ended
from tests.support.tasks import TaskContext, create, execute, origin, teardown_of

Control = Callable[..., None]


@pytest.fixture
def held(jobs: ScriptedJobs) -> None:
    """Jobs of this test run until they are cancelled."""
    jobs.follow(RUNS)


# The teardown


def teardown(context: TaskContext, states: dict[str, str | None], created_by: str = "task") -> Any:
    """The teardown of a run whose tasks are in these states."""
    context["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: states}
    return execute(teardown_of(created_by), context)


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_job_nobody_waits_for_is_cancelled_even_when_that_is_refused_at_first(
    control: Control, held: None, jobs: ScriptedJobs, context: TaskContext, state: str
) -> None:
    created = jobs.create(context)
    control("faults", method="tuningJobs.cancel", error={"code": 403, "message": "Not just now."}, count=2)
    assert teardown(context, {"task": state}) == [created["name"]]
    assert jobs.live() == []


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
    hook: VertexTuningHook, control: Control, jobs: ScriptedJobs, context: TaskContext, state: str
) -> None:
    """The waiting task was killed while it created the next job after one that had failed."""
    jobs.follow(FAILS_IN_PASSING, RUNS)
    failed = ended(hook, jobs.create(context)["name"])
    time.sleep(0.7)  # until the list below shows the first one
    second = hook.create_tuning_job(spec(epoch_count=2), {**failed.labels, "airflow-job-attempt": "2"})
    control("faults", method="tuningJobs.list", staleList=0.6)
    assert teardown(context, {"task": state}) == [second.name]


def test_the_job_of_an_instance_that_a_clear_removed_is_cancelled(
    held: None, jobs: ScriptedJobs, context: TaskContext
) -> None:
    """The clear of a sweep mapped fewer candidates than before."""
    created = jobs.create(TaskContext(context["ti"].run_id, map_index=1))
    assert teardown(context, {"task_0": "skipped", "task_1": "removed"}) == [created["name"]]
    assert jobs.live() == []


def test_the_job_of_a_task_that_was_skipped_while_it_waited_for_its_retry_is_cancelled(
    held: None, jobs: ScriptedJobs, context: TaskContext
) -> None:
    """A person marked the run as failed."""
    created = jobs.create(context)
    assert teardown(context, {"task": "skipped"}) == [created["name"]]
    assert jobs.live() == []


def test_all_indices_of_a_mapped_create_count(held: None, jobs: ScriptedJobs, context: TaskContext) -> None:
    run_id = context["ti"].run_id
    for index in range(3):
        jobs.create(TaskContext(run_id, map_index=index))
    other = execute(create(labels=jobs.labels), TaskContext(uuid4().hex, map_index=0))
    assert len(teardown(context, {"task_0": "success", "task_1": "failed", "task_2": "success", "task_x": None})) == 3
    assert jobs.live() == [other["name"]]


def test_in_a_mapped_group_each_teardown_has_its_own(held: None, jobs: ScriptedJobs, context: TaskContext) -> None:
    run_id = context["ti"].run_id
    both = [jobs.create(TaskContext(run_id, map_index=index)) for index in range(2)]
    states: dict[str, str | None] = {"task_0": "success", "task_1": "success"}
    assert teardown(TaskContext(run_id, map_index=1), states) == [both[1]["name"]]
    assert jobs.live() == [both[0]["name"]]


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
    held: None, jobs: ScriptedJobs, context: TaskContext, state: str
) -> None:
    created = jobs.create(context, description="A note.")
    assert created["name"] in reaper(Runs(state, "success", "skipped", None, "upstream_failed"))
    assert jobs.live() == []


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
    held: None, jobs: ScriptedJobs, context: TaskContext, runs: Runs
) -> None:
    created = jobs.create(context)
    reaper(runs)
    assert jobs.live() == [created["name"]]


def test_a_young_job_is_left(held: None, jobs: ScriptedJobs, context: TaskContext) -> None:
    created = jobs.create(context)
    reaper(Runs("failed"), grace_period=3600)
    assert jobs.live() == [created["name"]]


def test_one_that_outlives_its_run_by_design_is_left(held: None, jobs: ScriptedJobs, context: TaskContext) -> None:
    created = jobs.create(context, outlives_run=True)
    reaper(Runs("success"))
    assert jobs.live() == [created["name"]]


def test_one_that_no_run_or_another_installation_created_is_left(
    hook: VertexTuningHook, held: None, jobs: ScriptedJobs, context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = hook.create_tuning_job(spec(), jobs.labels)
    labelled = hook.create_tuning_job(spec(), {**jobs.labels, **origin(context).labels})
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", "production")
    theirs = jobs.create(context)
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", "tests")
    reaper(Runs("failed"))
    assert jobs.live() == [plain.name, labelled.name, theirs["name"]]
