"""A task waits for its job to the end: every way of waiting, every end, and what happens around it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferred,
)
from vertex_tuning import exceptions
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.jobs.submission import resubmit
from vertex_tuning.operators.waiter import WAITING

from tests.support.emulator import tell
from tests.support.google_cloud import LOCATION, spec
from tests.support.scripted_jobs import FAILS_IN_PASSING, RUNS, SUCCEEDS, Course, ScriptedJobs, ended, fails
from tests.support.tasks import TaskContext, create, execute, origin, sensor
from tests.support.ways import WAYS

Control = Callable[..., None]


ENDS: dict[str, tuple[Course, type[Exception] | None, int]] = {
    # how the first job goes; the error; how many jobs there are then
    "succeeded": (SUCCEEDS, None, 1),
    "failed for a passing reason": (FAILS_IN_PASSING, None, 2),
    "failed for good": (fails(3, "Odd data."), exceptions.TuningJobFailedError, 1),
    "expired": ({**SUCCEEDS, "finalState": "JOB_STATE_EXPIRED"}, exceptions.TuningJobExpiredError, 1),
    "partially succeeded": (
        {**SUCCEEDS, "finalState": "JOB_STATE_PARTIALLY_SUCCEEDED"},
        exceptions.TuningJobPartiallySucceededError,
        1,
    ),
    "over time": (RUNS, exceptions.TuningJobTimeoutError, 1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ENDS)
def test_every_way_of_waiting_gives_every_end_the_same_outcome(
    jobs: ScriptedJobs, context: TaskContext, way: str, end: str
) -> None:
    first, error, count = ENDS[end]
    jobs.follow(first, SUCCEEDS)
    job = {"labels": jobs.labels} if way == "create_and_wait" else jobs.create(context)
    arguments = {"timeout": 0.5} if end == "over time" else {}
    if error:
        with pytest.raises(error) as raised:
            WAYS[way](job, context, **arguments)
        assert isinstance(raised.value, AirflowFailException)  # Airflow does not retry it, in anyone's DAG
    else:
        assert WAYS[way](job, context)["state"] == "JOB_STATE_SUCCEEDED"
    assert len(jobs.all()) == count
    assert jobs.live() == []
    assert context.stored.get(WAITING) is None


@pytest.mark.parametrize("way", WAYS)
def test_what_a_person_cancels_ends_the_run(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext, way: str
) -> None:
    jobs.follow(RUNS)
    job = jobs.create(context)
    person = threading.Timer(0.5, lambda: hook.cancel_tuning_job(job["name"]))
    person.start()
    with pytest.raises(exceptions.TuningJobCancelledError):
        WAYS[way](job, context)
    person.join()
    assert len(jobs.all()) == 1


def test_nor_does_a_person_cancel_in_vain_when_the_first_job_had_failed(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(FAILS_IN_PASSING, RUNS)
    job = jobs.create(context)
    second = resubmit(hook, ended(hook, job["name"]))
    hook.cancel_tuning_job(second.name)
    ended(hook, second.name)
    with pytest.raises(exceptions.TuningJobCancelledError):
        WAYS["deferred"](job, context)
    assert len(jobs.all()) == 2


# Whose job it is


@pytest.mark.parametrize("way", ["deferred", "poke", "reschedule"])
def test_a_sensor_only_looks_unless_it_is_required_to_act(jobs: ScriptedJobs, context: TaskContext, way: str) -> None:
    plain = {"cancel_on_kill": False, "cancel_on_timeout": False, "resubmit": False}
    jobs.follow(RUNS)
    job = jobs.create(context)
    with pytest.raises(exceptions.TuningJobTimeoutError):
        WAYS[way](job, context, timeout=1, **plain)
    assert jobs.live() == [job["name"]]


@pytest.mark.parametrize("way", ["deferred", "poke", "reschedule"])
def test_another_runs_job_is_neither_cancelled_nor_replaced(jobs: ScriptedJobs, context: TaskContext, way: str) -> None:
    jobs.follow(RUNS)
    job = jobs.create(context)
    other = TaskContext(uuid4().hex)
    with pytest.raises(exceptions.TuningJobTimeoutError):
        WAYS[way](job, other, timeout=1)
    killed = sensor(job["name"], deferrable=False)
    killed.poke(other)  # type: ignore[arg-type]
    killed.on_kill()
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor(job["name"]), other)
    assert deferred.value.trigger.cancel_on_kill is False
    assert jobs.live() == [job["name"]]


def test_nor_is_another_deployments(
    hook: VertexTuningHook, jobs: ScriptedJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scheduled runs are named after their date: two installations have runs, and so task instances, of one name."""
    jobs.follow(RUNS)
    run = f"scheduled__2026-11-23T06:00:00+00:00-{jobs.value}"
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", "production")
    production = jobs.create(TaskContext(run), epoch_count="3")
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", "staging")
    same = jobs.create(TaskContext(run), epoch_count="3")
    other = jobs.create(TaskContext(run), epoch_count="1")
    killed = sensor(production["name"], deferrable=False)
    killed.poke(TaskContext(run))  # type: ignore[arg-type]
    killed.on_kill()
    assert len({production["name"], same["name"], other["name"]}) == 3
    assert not hook.get_tuning_job(production["name"]).is_cancelled


def test_a_task_cancels_no_job_of_other_settings_that_it_never_requested(
    hook: VertexTuningHook, jobs: ScriptedJobs
) -> None:
    """A second installation with the same `deployment`, by mistake: its task state store knows nothing of the job."""
    jobs.follow(RUNS)
    run = uuid4().hex
    theirs, ours = TaskContext(run), TaskContext(run)
    first = jobs.create(theirs, epoch_count="3")
    jobs.create(ours, epoch_count="1")
    assert not hook.get_tuning_job(first["name"]).is_cancelled
    again = jobs.create(ours, epoch_count="2")
    assert jobs.live() == [first["name"], again["name"]]


# Clears


def cleared(context: TaskContext, job: dict[str, Any]) -> TaskContext:
    """The next attempt of a task that was deferred when a user cleared it."""
    with pytest.raises(TaskDeferred):
        execute(sensor(job["name"]), context)
    assert context.stored[WAITING] == job["name"]
    context["ti"].try_number += 1
    # The clock of this worker is half an hour late: what was cancelled by whom is not told from clocks.
    context["ti"].start_date = datetime.now(UTC) - timedelta(minutes=30)
    return context


@pytest.mark.parametrize("seconds", [None, 0.5])
def test_what_a_clear_cancelled_is_created_again(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext, seconds: float | None
) -> None:
    """Cancelled before the next attempt starts, or a moment later."""
    jobs.follow(RUNS, SUCCEEDS)
    job = jobs.create(context)
    cleared(context, job)
    kill = threading.Timer(seconds or 0, lambda: hook.cancel_tuning_job(job["name"]))
    kill.start()
    if seconds is None:
        kill.join()
        ended(hook, job["name"])
    assert WAYS["deferred"](job, context)["state"] == "JOB_STATE_SUCCEEDED"
    assert [one.state for one in jobs.all()] == ["JOB_STATE_CANCELLED", "JOB_STATE_SUCCEEDED"]


def test_after_a_clear_that_cancelled_nothing_a_cancel_is_a_persons(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(RUNS)
    job = jobs.create(context)
    cleared(context, job)
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor(job["name"]), context)
    hook.cancel_tuning_job(job["name"])
    event = asyncio.run(deferred.value.trigger.wait())
    with pytest.raises(exceptions.TuningJobCancelledError):
        sensor(job["name"]).execute_complete(context, event, job_name=job["name"])  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["could not be read", "trigger failed"])
def test_a_cancel_between_two_attempts_without_a_clear_is_a_persons(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext, how: str
) -> None:
    jobs.follow(RUNS)
    job = jobs.create(context)
    with pytest.raises(TaskDeferred):
        execute(sensor(job["name"]), context)
    resumed = sensor(job["name"])
    if how == "could not be read":
        event = {"status": "error", "job_name": job["name"], "message": "Not read for 3600 s"}
        with pytest.raises(exceptions.PollingError):
            resumed.resume_execution("execute_complete", {"event": event, "job_name": job["name"]}, context)  # type: ignore[arg-type]
    else:
        with pytest.raises(TaskDeferralError):
            resumed.resume_execution("__fail__", {"error": "Trigger failure"}, context)  # type: ignore[arg-type]
    hook.cancel_tuning_job(job["name"])
    ended(hook, job["name"])
    context["ti"].start_date = datetime.now(UTC) + timedelta(minutes=30)
    with pytest.raises(exceptions.TuningJobCancelledError):
        execute(sensor(job["name"]), context)
    assert len(jobs.all()) == 1


# Where the job is


def test_everything_about_a_job_happens_where_its_name_says(jobs: ScriptedJobs, context: TaskContext) -> None:
    jobs.follow(FAILS_IN_PASSING, SUCCEEDS)
    job = jobs.create(context, location="europe-west4")
    there = VertexTuningHook(GoogleConnection(location="europe-west4"))
    ended(there, job["name"])
    result = WAYS["deferred"](job, context)  # the sensor's own location is us-central1
    assert "/locations/europe-west4/" in result["name"]
    assert len(there.jobs_of(origin(context).identity)) == 2
    assert jobs.all() == []


def test_a_successor_is_found_where_the_job_is(jobs: ScriptedJobs, context: TaskContext) -> None:
    jobs.follow(FAILS_IN_PASSING, RUNS)
    there = VertexTuningHook(GoogleConnection(location="europe-west4"))
    job = jobs.create(context, location="europe-west4")
    second = resubmit(there, ended(there, job["name"]))
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor(job["name"]), context)
    assert deferred.value.trigger.job_name == second.name


# Time


def test_the_deadline_counts_from_the_jobs_creation_whatever_the_attempt(
    jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(RUNS)
    job = jobs.create(context)
    ends = []
    for attempt in (1, 2):
        context["ti"].try_number = attempt
        with pytest.raises(TaskDeferred) as deferred:
            execute(sensor(job["name"], timeout=100, cancel_on_kill=False), context)
        ends.append(deferred.value.trigger.end_time)
        time.sleep(0.2)
    assert ends[0] == ends[1] == TuningJob.parse(job).created_at + 100  # type: ignore[operator]


def test_the_execution_timeout_bounds_the_wait_as_well(jobs: ScriptedJobs, context: TaskContext) -> None:
    """Airflow does not enforce it while a task is deferred."""
    jobs.follow(RUNS)
    job = jobs.create(context)
    with pytest.raises(exceptions.TuningJobTimeoutError, match="execution_timeout 1 s"):
        WAYS["create_and_wait"](job, context, execution_timeout=timedelta(seconds=1))
    assert jobs.live() == []


# Trouble that may pass


@pytest.mark.parametrize("soft_fail", [True, False])
def test_a_refused_look_is_never_a_reason_to_skip(
    control: Control, jobs: ScriptedJobs, context: TaskContext, soft_fail: bool
) -> None:
    jobs.follow(RUNS)
    job = jobs.create(context)
    control("faults", method="tuningJobs.get", error={"code": 403, "message": "Not just now."}, count=1)
    with pytest.raises(exceptions.PollingError, match="Not just now"):
        execute(sensor(job["name"], soft_fail=soft_fail), context)
    event = {"status": "error", "job_name": job["name"], "message": "Not read"}
    kwargs = {"event": event, "job_name": job["name"]}
    with pytest.raises(exceptions.PollingError):
        sensor(job["name"], soft_fail=soft_fail).resume_execution("execute_complete", kwargs, context)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["deferred", "poke", "reschedule"])
def test_a_final_end_is_one(jobs: ScriptedJobs, context: TaskContext, way: str) -> None:
    jobs.follow(fails(3, "Odd data."))
    job = jobs.create(context)
    with pytest.raises(AirflowSkipException):
        WAYS[way](job, context, soft_fail=True)


def test_looks_that_fail_are_counted_in_time_by_every_process_of_a_rescheduled_sensor(
    control: Control, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(RUNS)
    job = jobs.create(context)
    control("faults", method="tuningJobs.get", error={"code": 503, "message": "Down."})
    started = time.monotonic()
    with pytest.raises(exceptions.PollingError, match="Down"):
        WAYS["reschedule"](job, context, max_poll_failures=10)
    assert time.monotonic() - started > 0.5


def test_twins_that_were_listed_too_late_are_settled_while_waiting(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow({"script": [{"state": "JOB_STATE_RUNNING", "seconds": 3}]})
    job = TuningJob.parse(jobs.create(context))
    twin = hook.create_tuning_job(spec(epoch_count=2), job.labels)  # by a process that was killed then
    assert WAYS["deferred"](job.as_xcom(), context)["name"] == job.name
    assert hook.get_tuning_job(twin.name).is_cancelled


# Quota


def test_without_quota_for_the_next_job_the_waiting_task_leaves_the_worker(
    crowded: str, crowded_jobs: ScriptedJobs, context: TaskContext
) -> None:
    crowded_jobs.follow(fails(8, "No machines."), SUCCEEDS)
    job = crowded_jobs.create(context)
    ended(VertexTuningHook(GoogleConnection(location=LOCATION)), job["name"])
    tell(crowded, "quota:exhaust", seconds=600)
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor(job["name"]), context)
    assert deferred.value.method_name == "retry_wait"
    kwargs = deferred.value.kwargs or {}
    late = {**kwargs, "quota_deadline": time.time() - 1}
    with pytest.raises(exceptions.QuotaTimeoutError):
        sensor(job["name"]).resume_execution("retry_wait", late, context)  # type: ignore[arg-type]
    tell(crowded, "quota:exhaust", seconds=0)
    with pytest.raises(TaskDeferred) as waits:
        sensor(job["name"]).resume_execution("retry_wait", kwargs, context)  # type: ignore[arg-type]
    assert waits.value.trigger.job_name != job["name"]


def test_on_a_worker_it_goes_on_looking(crowded: str, crowded_jobs: ScriptedJobs, context: TaskContext) -> None:
    crowded_jobs.follow(fails(8, "No machines."), SUCCEEDS)
    job = crowded_jobs.create(context)
    ended(VertexTuningHook(GoogleConnection(location=LOCATION)), job["name"])
    tell(crowded, "quota:exhaust", seconds=1)
    assert WAYS["poke"](job, context)["state"] == "JOB_STATE_SUCCEEDED"


# Kills


def killed_during(work: Callable[[], Any], operator: BaseOperator, seconds: float) -> None:
    """Start a task, and kill it after a while, as Airflow's signal does: `on_kill`, and the task goes on."""

    def task() -> None:
        with contextlib.suppress(TaskDeferred, exceptions.TuningError):
            work()

    thread = threading.Thread(target=task, daemon=True)
    thread.start()
    time.sleep(seconds)
    operator.on_kill()
    thread.join(30)
    assert not thread.is_alive()


KILLS: dict[str, list[dict[str, Any]]] = {
    "before the answer": [{"method": "tuningJobs.create", "delay": 1.5}],
    "while the list does not show it yet": [{"method": "tuningJobs.list", "staleList": 1.6}],
    "when the answer is lost": [
        {"method": "tuningJobs.create", "drop": "after"},
        {"method": "tuningJobs.list", "staleList": 1.4},
    ],
}


@pytest.mark.parametrize("moment", KILLS)
@pytest.mark.parametrize("task", ["create", "first look", "resumed"])
def test_a_kill_around_the_creation_leaves_no_job_running(
    emulator: str,
    hook: VertexTuningHook,
    control: Control,
    jobs: ScriptedJobs,
    context: TaskContext,
    moment: str,
    task: str,
) -> None:
    if task == "create":
        jobs.follow(RUNS)
        operator: BaseOperator = create(labels=jobs.labels)
        work = lambda: operator.execute(context)  # type: ignore[arg-type]  # noqa: E731
    else:
        jobs.follow(FAILS_IN_PASSING, RUNS)
        failed = ended(hook, jobs.create(context)["name"])
        operator = sensor(failed.name)
        event = {"status": "failed", "job_name": failed.name, "job": failed.as_xcom()}
        kwargs = {"event": event, "job_name": failed.name}
        work = {
            "first look": lambda: operator.execute(context),  # type: ignore[arg-type]
            "resumed": lambda: operator.resume_execution("execute_complete", kwargs, context),  # type: ignore[arg-type]
        }[task]
    for fault in KILLS[moment]:
        control("faults", **fault)
    killed_during(work, operator, 0.8)
    httpx.delete(f"{emulator}/_internal/faults").raise_for_status()
    assert jobs.live() == []
