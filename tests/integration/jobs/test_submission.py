"""One job for one task instance: crashes, races, lost answers, lists that lag, quota, jobs that fail in passing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from airflow.sdk.exceptions import TaskDeferred
from vertex_tuning import exceptions
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs.job import IDENTITY_LABEL, TuningJob, elect
from vertex_tuning.jobs.spec import identity_labels
from vertex_tuning.jobs.submission import Creations, kin, resubmit, submit

from tests.support.google_cloud import LOCATION, spec
from tests.support.scripted_jobs import FAILS_IN_PASSING, RUNS, SUCCEEDS, ScriptedJobs, ended, fails, live
from tests.support.tasks import QUICK_SEARCH, TaskContext, create, execute, sensor

Control = Callable[..., None]


@pytest.fixture
def identity() -> str:
    return uuid4().hex


@pytest.fixture
def held(control: Control, hook: VertexTuningHook, identity: str) -> None:
    """Jobs of this test run until they are cancelled."""
    ScriptedJobs(control, hook, IDENTITY_LABEL, identity).follow(RUNS)


def create_count(emulator: str) -> int:
    counts = httpx.get(f"{emulator}/_internal/requests").raise_for_status().json()["counts"]
    return sum(counts.get("tuningJobs.create", {}).values())


# Races


def test_attempts_that_run_at_once_end_with_one_job(hook: VertexTuningHook, held: None, identity: str) -> None:
    start = threading.Barrier(6)

    def attempt() -> TuningJob:
        own = VertexTuningHook(GoogleConnection(location=LOCATION))
        start.wait()
        return submit(own, spec(), identity)

    with ThreadPoolExecutor(6) as pool:
        results = [future.result() for future in [pool.submit(attempt) for _ in range(6)]]
    assert len({job.name for job in results}) == 1
    assert live(hook.jobs_of(identity)) == [results[0].name]


def test_a_list_that_lags_does_not_hide_a_rival(
    hook: VertexTuningHook, held: None, identity: str, control: Control
) -> None:
    first = submit(hook, spec(), identity)
    control("faults", method="tuningJobs.list", staleList=1.0)
    assert submit(hook, spec(), identity).name == first.name
    assert live(hook.jobs_of(identity)) == [first.name]


# Lost answers


@pytest.mark.parametrize("fault", [{"drop": "after"}, {"truncate": 20}])
def test_a_create_whose_answer_was_lost_is_found(
    hook: VertexTuningHook, held: None, identity: str, control: Control, emulator: str, fault: dict[str, Any]
) -> None:
    control("faults", method="tuningJobs.create", count=1, **fault)
    control("faults", method="tuningJobs.list", staleList=1.0)
    found = submit(hook, spec(), identity)
    assert [job.name for job in hook.jobs_of(identity)] == [found.name]
    assert create_count(emulator) == 1


def test_a_create_that_never_arrived_is_not_repeated_blindly(
    hook: VertexTuningHook, identity: str, control: Control, emulator: str
) -> None:
    control("faults", method="tuningJobs.create", error={"code": 503}, count=1)
    with pytest.raises(exceptions.LostAnswerError):
        submit(hook, spec(), identity, creations=Creations(QUICK_SEARCH))
    assert create_count(emulator) == 1
    assert submit(hook, spec(), identity).attempt == 1


# What earlier attempts left


def test_a_succeeded_job_is_reused_unless_told_otherwise(hook: VertexTuningHook, identity: str) -> None:
    first = submit(hook, spec(epoch_count=1), identity)
    ended(hook, first.name)
    assert submit(hook, spec(epoch_count=1), identity).name == first.name
    second = submit(hook, spec(epoch_count=1), identity, reuse="active")
    assert (second.name != first.name, second.attempt) == (True, 2)


def test_never_reuse_leaves_just_the_new_one(hook: VertexTuningHook, held: None, identity: str) -> None:
    first = submit(hook, spec(), identity)
    second = submit(hook, spec(), identity, reuse="never")
    assert first.name != second.name
    assert live(hook.jobs_of(identity)) == [second.name]


def test_a_job_that_asks_for_something_else_is_replaced_or_refused(
    hook: VertexTuningHook, held: None, identity: str
) -> None:
    first = submit(hook, spec(epoch_count=2), identity)
    with pytest.raises(exceptions.ChangedSpecError, match=first.name):
        submit(hook, spec(epoch_count=3), identity, on_changed_spec="fail")
    second = submit(hook, spec(epoch_count=3), identity)
    assert live(hook.jobs_of(identity)) == [second.name]


def test_twins_a_crash_left_behind_are_reduced_to_the_oldest(hook: VertexTuningHook, held: None, identity: str) -> None:
    twins = [hook.create_tuning_job(spec(), identity_labels(identity, spec(), 1)) for _ in range(3)]
    assert submit(hook, spec(), identity).name == twins[0].name
    assert live(hook.jobs_of(identity)) == [twins[0].name]


def test_a_cancelled_job_is_not_adopted(hook: VertexTuningHook, held: None, identity: str) -> None:
    first = submit(hook, spec(), identity)
    hook.cancel_tuning_job(first.name)
    assert submit(hook, spec(), identity).attempt == 2


# Cancelling


def test_a_cancel_is_repeated_until_it_shows(
    hook: VertexTuningHook, held: None, identity: str, control: Control
) -> None:
    job = submit(hook, spec(), identity)
    control("faults", method="tuningJobs.cancel", error={"code": 503}, count=1)
    control("faults", method="tuningJobs.cancel", drop="before", count=1)
    assert hook.cancel_tuning_job(job.name).state.startswith("JOB_STATE_CANCELL")


def test_a_cancel_that_has_no_effect_says_so(
    hook: VertexTuningHook, held: None, identity: str, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertex_tuning.hooks.job_reader.CANCEL_PAUSES", (0.0, 0.1))
    job = submit(hook, spec(), identity)
    control("faults", method="tuningJobs.cancel", error={"code": 503})
    with pytest.raises(exceptions.VertexUnavailableError, match="may still run"):
        hook.cancel_tuning_job(job.name)


# Jobs that fail in passing


def test_a_job_that_fails_in_passing_is_created_again_and_everything_downstream_gets_the_one_that_succeeded(
    jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(FAILS_IN_PASSING, FAILS_IN_PASSING, SUCCEEDS)
    created = jobs.create(context)
    result = execute(sensor(created["name"], deferrable=False, poke_interval=0.05), context)
    assert result["state"] == "JOB_STATE_SUCCEEDED"
    assert result["name"] != created["name"]
    assert sorted(job.attempt for job in jobs.all()) == [1, 2, 3]
    assert {job.fingerprint for job in jobs.all()} == {result["labels"]["airflow-fingerprint"]}


def test_so_many_attempts_and_no_more(jobs: ScriptedJobs, context: TaskContext) -> None:
    jobs.follow(fails(14))
    created = jobs.create(context)
    with pytest.raises(exceptions.TuningJobFailedError, match=r"Oh\."):
        execute(sensor(created["name"], deferrable=False, poke_interval=0.05, max_job_attempts=2), context)
    assert len(jobs.all()) == 2


@pytest.mark.parametrize("code", [3, 5, 7, 9, 12, 16])
def test_a_job_that_would_fail_again_ends_the_run_at_once(jobs: ScriptedJobs, context: TaskContext, code: int) -> None:
    jobs.follow(fails(code))
    created = jobs.create(context)
    with pytest.raises(exceptions.TuningJobFailedError, match=r"Oh\."):
        execute(sensor(created["name"], deferrable=False, poke_interval=0.05), context)
    assert len(jobs.all()) == 1


def test_a_job_started_elsewhere_is_never_created_again(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(FAILS_IN_PASSING)
    job = hook.create_tuning_job(spec(), jobs.labels)
    with pytest.raises(exceptions.TuningJobFailedError):
        execute(sensor(job.name, deferrable=False, poke_interval=0.05))


def test_a_crash_after_creating_again_does_not_pay_twice(hook: VertexTuningHook, held: None, identity: str) -> None:
    first = submit(hook, spec(), identity)
    hook.cancel_tuning_job(first.name)
    second = resubmit(hook, ended(hook, first.name))
    assert second.attempt == 2
    found = elect(kin(hook, hook.get_tuning_job(first.name)))
    assert found is not None
    assert found.name == second.name


# A kill at any moment


def test_a_kill_while_creating_cancels_what_was_created(jobs: ScriptedJobs, context: TaskContext) -> None:
    jobs.follow(RUNS)
    operator = create(labels=jobs.labels)
    execute(operator, context)
    operator.on_kill()
    assert jobs.live() == []


# Quota


def test_without_quota_the_task_leaves_the_worker_and_comes_back(crowded_jobs: ScriptedJobs) -> None:
    crowded_jobs.follow(RUNS)
    first = crowded_jobs.create(TaskContext("first"))
    operator, context = create(labels=crowded_jobs.labels, poll_interval=1), TaskContext("second")
    with pytest.raises(TaskDeferred) as deferred:
        execute(operator, context)
    assert deferred.value.method_name == "retry_submit"
    operator.hook.cancel_tuning_job(first["name"])
    ended(operator.hook, first["name"])
    second = operator.retry_submit(context, **(deferred.value.kwargs or {}))  # type: ignore[arg-type]
    assert second["name"] != first["name"]
    with pytest.raises(exceptions.QuotaTimeoutError, match="No quota"):
        create(epoch_count="1").retry_submit(TaskContext("third"), quota_deadline=time.time() - 1)  # type: ignore[arg-type]
