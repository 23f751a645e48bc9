"""A task waits for its job to the end: every way of waiting, every end, and what happens around it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
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
from vertex_tuning.jobs import submission
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.jobs.submission import resubmit
from vertex_tuning.operators import waiter
from vertex_tuning.operators.waiter import WAITING

from tests.integration.conftest import LOCATION, TRAINING, VALIDATION, connection, spec
from tests.support.emulator import classification_rows, running_emulator, upload
from tests.support.tasks import TaskContext, create, execute, origin, sensor
from tests.support.ways import WAYS

Control = Callable[..., None]
RUNNING = [{"state": "JOB_STATE_RUNNING", "seconds": 600}]


@pytest.fixture
def label() -> str:
    return uuid4().hex[:20]


@pytest.fixture
def context() -> TaskContext:
    return TaskContext(uuid4().hex)


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "LIST_LAG", 3.0)
    monkeypatch.setattr(waiter, "CLEAR_SECONDS", 2.0)
    monkeypatch.setattr(waiter, "CLEAR_PAUSE", 0.1)


def made(label: str, context: TaskContext, **arguments: Any) -> dict[str, Any]:
    job: dict[str, Any] = execute(create(labels={"t": label}, **arguments), context)
    return job


def ended(hook: VertexTuningHook, name: str) -> TuningJob:
    deadline = time.monotonic() + 60
    while (job := hook.get_tuning_job(name)).is_live:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return job


def jobs(hook: VertexTuningHook, context: TaskContext) -> list[TuningJob]:
    return sorted(hook.jobs_of(origin(context).identity), key=lambda job: job.age_rank)


def live(hook: VertexTuningHook, context: TaskContext) -> list[str]:
    return [job.name for job in jobs(hook, context) if job.is_live and not job.is_cancelled]


ENDS: dict[str, tuple[dict[str, Any], type[Exception] | None, int]] = {
    # how the first job goes; the error; how many jobs there are then
    "succeeded": ({"script": []}, None, 1),
    "failed for a passing reason": ({"failure": {"code": 13, "message": "Oh.", "step": 1}, "count": 1}, None, 2),
    "failed for good": ({"failure": {"code": 3, "message": "Odd data."}}, exceptions.TuningJobFailedError, 1),
    "expired": ({"script": [], "finalState": "JOB_STATE_EXPIRED"}, exceptions.TuningJobExpiredError, 1),
    "partially succeeded": (
        {"script": [], "finalState": "JOB_STATE_PARTIALLY_SUCCEEDED"},
        exceptions.TuningJobPartiallySucceededError,
        1,
    ),
    "over time": ({"script": RUNNING}, exceptions.TuningJobTimeoutError, 1),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("end", ENDS)
def test_every_way_of_waiting_gives_every_end_the_same_outcome(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext, way: str, end: str
) -> None:
    lifecycle, error, count = ENDS[end]
    control("lifecycle", labels={"t": label}, **lifecycle)
    control("lifecycle", labels={"t": label}, script=[])
    job = {"labels": {"t": label}} if way == "create_and_wait" else made(label, context)
    arguments = {"timeout": 1.5} if end == "over time" else {}
    if error:
        with pytest.raises(error) as raised:
            WAYS[way](job, context, **arguments)
        assert isinstance(raised.value, AirflowFailException)  # Airflow does not retry it, in anyone's DAG
    else:
        assert WAYS[way](job, context)["state"] == "JOB_STATE_SUCCEEDED"
    assert len(jobs(hook, context)) == count
    assert live(hook, context) == []
    assert context.stored.get(WAITING) is None


@pytest.mark.parametrize("way", WAYS)
def test_what_a_person_cancels_ends_the_run(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext, way: str
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = made(label, context)
    person = threading.Timer(0.5, lambda: hook.cancel_tuning_job(job["name"]))
    person.start()
    with pytest.raises(exceptions.TuningJobCancelledError):
        WAYS[way](job, context)
    person.join()
    assert len(jobs(hook, context)) == 1


def test_nor_does_a_person_cancel_in_vain_when_the_first_job_had_failed(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, failure={"code": 13, "message": "Oh.", "step": 1}, count=1)
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = made(label, context)
    second = resubmit(hook, ended(hook, job["name"]))
    hook.cancel_tuning_job(second.name)
    ended(hook, second.name)
    with pytest.raises(exceptions.TuningJobCancelledError):
        WAYS["deferred"](job, context)
    assert len(jobs(hook, context)) == 2


# Whose job it is


@pytest.mark.parametrize("way", ["deferred", "poke", "reschedule"])
def test_a_sensor_only_looks_unless_it_is_required_to_act(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext, way: str
) -> None:
    plain = {"cancel_on_kill": False, "cancel_on_timeout": False, "resubmit": False}
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = made(label, context)
    with pytest.raises(exceptions.TuningJobTimeoutError):
        WAYS[way](job, context, timeout=1, **plain)
    assert live(hook, context) == [job["name"]]


def test_a_sensors_defaults_are_to_look(context: TaskContext) -> None:
    from vertex_tuning.sensors import TuningJobSensor

    looking = TuningJobSensor(task_id="wait", job_name="projects/1/locations/us/tuningJobs/1")
    assert (looking.cancel_on_kill, looking.cancel_on_timeout, looking.resubmit) == (False, False, False)


@pytest.mark.parametrize("way", ["deferred", "poke", "reschedule"])
def test_another_runs_job_is_neither_cancelled_nor_replaced(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext, way: str
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = made(label, context)
    other = TaskContext(uuid4().hex)
    with pytest.raises(exceptions.TuningJobTimeoutError):
        WAYS[way](job, other, timeout=1)
    killed = sensor(job["name"], deferrable=False)
    killed.poke(other)  # type: ignore[arg-type]
    killed.on_kill()
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor(job["name"]), other)
    assert deferred.value.trigger.cancel_on_kill is False
    assert live(hook, context) == [job["name"]]


def test_nor_is_another_deployments(
    hook: VertexTuningHook, control: Control, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scheduled runs are named after their date: two installations have runs, and so task instances, of one name."""
    control("lifecycle", labels={"t": label}, script=RUNNING)
    run = f"scheduled__2026-11-23T06:00:00+00:00-{label}"
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", "production")
    production = made(label, TaskContext(run), epoch_count="3")
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", "staging")
    same = made(label, TaskContext(run), epoch_count="3")
    other = made(label, TaskContext(run), epoch_count="1")
    killed = sensor(production["name"], deferrable=False)
    killed.poke(TaskContext(run))  # type: ignore[arg-type]
    killed.on_kill()
    assert len({production["name"], same["name"], other["name"]}) == 3
    assert not hook.get_tuning_job(production["name"]).is_cancelled


def test_a_task_cancels_no_job_of_other_settings_that_it_never_requested(
    hook: VertexTuningHook, control: Control, label: str
) -> None:
    """A second installation with the same `deployment`, by mistake: its task state store knows nothing of the job."""
    control("lifecycle", labels={"t": label}, script=RUNNING)
    run = uuid4().hex
    theirs, ours = TaskContext(run), TaskContext(run)
    first = made(label, theirs, epoch_count="3")
    made(label, ours, epoch_count="1")
    assert not hook.get_tuning_job(first["name"]).is_cancelled
    again = made(label, ours, epoch_count="2")
    assert sorted(live(hook, ours)) == sorted([first["name"], again["name"]])


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
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext, seconds: float | None
) -> None:
    """Cancelled before the next attempt starts, or a moment later."""
    control("lifecycle", labels={"t": label}, script=RUNNING, count=1)
    control("lifecycle", labels={"t": label}, script=[])
    job = made(label, context)
    cleared(context, job)
    kill = threading.Timer(seconds or 0, lambda: hook.cancel_tuning_job(job["name"]))
    kill.start()
    if seconds is None:
        kill.join()
        ended(hook, job["name"])
    assert WAYS["deferred"](job, context)["state"] == "JOB_STATE_SUCCEEDED"
    assert [one.state for one in jobs(hook, context)] == ["JOB_STATE_CANCELLED", "JOB_STATE_SUCCEEDED"]


def test_after_a_clear_that_cancelled_nothing_a_cancel_is_a_persons(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = made(label, context)
    cleared(context, job)
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor(job["name"]), context)
    hook.cancel_tuning_job(job["name"])
    event = asyncio.run(deferred.value.trigger.wait())
    with pytest.raises(exceptions.TuningJobCancelledError):
        sensor(job["name"]).execute_complete(context, event, job_name=job["name"])  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["could not be read", "trigger failed"])
def test_a_cancel_between_two_attempts_without_a_clear_is_a_persons(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext, how: str
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = made(label, context)
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
    assert len(jobs(hook, context)) == 1


# Where the job is


def test_everything_about_a_job_happens_where_its_name_says(
    emulator: str, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, failure={"code": 13, "message": "Oh.", "step": 1}, count=1)
    control("lifecycle", labels={"t": label}, script=[])
    job = made(label, context, location="europe-west4")
    there = VertexTuningHook(GoogleConnection(location="europe-west4"))
    ended(there, job["name"])
    result = WAYS["deferred"](job, context)  # the sensor's own location is us-central1
    assert "/locations/europe-west4/" in result["name"]
    assert len(jobs(there, context)) == 2
    assert jobs(VertexTuningHook(GoogleConnection(location=LOCATION)), context) == []


def test_a_successor_is_found_where_the_job_is(control: Control, label: str, context: TaskContext) -> None:
    control("lifecycle", labels={"t": label}, failure={"code": 13, "message": "Oh.", "step": 1}, count=1)
    control("lifecycle", labels={"t": label}, script=RUNNING)
    there = VertexTuningHook(GoogleConnection(location="europe-west4"))
    job = made(label, context, location="europe-west4")
    second = resubmit(there, ended(there, job["name"]))
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor(job["name"]), context)
    assert deferred.value.trigger.job_name == second.name


# Time


def test_the_deadline_counts_from_the_jobs_creation_whatever_the_attempt(
    control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = made(label, context)
    ends = []
    for attempt in (1, 2):
        context["ti"].try_number = attempt
        with pytest.raises(TaskDeferred) as deferred:
            execute(sensor(job["name"], timeout=100, cancel_on_kill=False), context)
        ends.append(deferred.value.trigger.end_time)
        time.sleep(1.1)
    assert ends[0] == ends[1] == TuningJob.parse(job).created_at + 100  # type: ignore[operator]


def test_the_execution_timeout_bounds_the_wait_as_well(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    """Airflow does not enforce it while a task is deferred."""
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = made(label, context)
    with pytest.raises(exceptions.TuningJobTimeoutError, match="execution_timeout 1 s"):
        WAYS["create_and_wait"](job, context, execution_timeout=timedelta(seconds=1))
    assert live(hook, context) == []


# Trouble that may pass


@pytest.mark.parametrize("soft_fail", [True, False])
def test_a_refused_look_is_never_a_reason_to_skip(
    control: Control, label: str, context: TaskContext, soft_fail: bool
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = made(label, context)
    control("faults", method="tuningJobs.get", error={"code": 403, "message": "Not just now."}, count=1)
    with pytest.raises(exceptions.PollingError, match="Not just now"):
        execute(sensor(job["name"], soft_fail=soft_fail), context)
    event = {"status": "error", "job_name": job["name"], "message": "Not read"}
    kwargs = {"event": event, "job_name": job["name"]}
    with pytest.raises(exceptions.PollingError):
        sensor(job["name"], soft_fail=soft_fail).resume_execution("execute_complete", kwargs, context)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["deferred", "poke", "reschedule"])
def test_a_final_end_is_one(control: Control, label: str, context: TaskContext, way: str) -> None:
    control("lifecycle", labels={"t": label}, failure={"code": 3, "message": "Odd data."})
    job = made(label, context)
    with pytest.raises(AirflowSkipException):
        WAYS[way](job, context, soft_fail=True)


def test_looks_that_fail_are_counted_in_time_by_every_process_of_a_rescheduled_sensor(
    control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = made(label, context)
    control("faults", method="tuningJobs.get", error={"code": 503, "message": "Down."})
    started = time.monotonic()
    with pytest.raises(exceptions.PollingError, match="Down"):
        WAYS["reschedule"](job, context, max_poll_failures=10)
    assert time.monotonic() - started > 0.5


def test_twins_that_were_listed_too_late_are_settled_while_waiting(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, script=[{"state": "JOB_STATE_RUNNING", "seconds": 3}])
    job = TuningJob.parse(made(label, context))
    twin = hook.create_tuning_job(spec(epoch_count=2), job.labels)  # by a process that was killed then
    assert WAYS["deferred"](job.as_xcom(), context)["name"] == job.name
    assert hook.get_tuning_job(twin.name).is_cancelled


# Quota


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A service with quota for one job, which refuses the next."""
    with running_emulator(concurrent_tuning_jobs=1, quota_mode="refuse") as url:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(url))
        for uri in (TRAINING, VALIDATION):
            upload(url, uri, classification_rows(24))
        yield url


def test_without_quota_for_the_next_job_the_waiting_task_leaves_the_worker(crowded: str, context: TaskContext) -> None:
    failure = {"labels": {"t": "a"}, "failure": {"code": 8, "message": "No machines.", "step": 1}, "count": 1}
    httpx.post(f"{crowded}/_internal/lifecycle", json=failure).raise_for_status()
    job = made("a", context)
    ended(VertexTuningHook(GoogleConnection(location=LOCATION)), job["name"])
    httpx.post(f"{crowded}/_internal/quota:exhaust", json={"seconds": 2}).raise_for_status()
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor(job["name"]), context)
    assert deferred.value.method_name == "retry_wait"
    kwargs = deferred.value.kwargs or {}
    late = {**kwargs, "quota_deadline": time.time() - 1}
    with pytest.raises(exceptions.QuotaTimeoutError):
        sensor(job["name"]).resume_execution("retry_wait", late, context)  # type: ignore[arg-type]
    time.sleep(2)
    with pytest.raises(TaskDeferred) as waits:
        sensor(job["name"]).resume_execution("retry_wait", kwargs, context)  # type: ignore[arg-type]
    assert waits.value.trigger.job_name != job["name"]


def test_on_a_worker_it_goes_on_looking(crowded: str, context: TaskContext) -> None:
    failure = {"labels": {"t": "a"}, "failure": {"code": 8, "message": "No machines.", "step": 1}, "count": 1}
    httpx.post(f"{crowded}/_internal/lifecycle", json=failure).raise_for_status()
    job = made("a", context)
    ended(VertexTuningHook(GoogleConnection(location=LOCATION)), job["name"])
    httpx.post(f"{crowded}/_internal/quota:exhaust", json={"seconds": 1}).raise_for_status()
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
    "while the list does not show it yet": [{"method": "tuningJobs.list", "staleList": 2.5}],
    "when the answer is lost": [
        {"method": "tuningJobs.create", "drop": "after"},
        {"method": "tuningJobs.list", "staleList": 2.0},
    ],
}


@pytest.mark.parametrize("moment", KILLS)
@pytest.mark.parametrize("task", ["create", "first look", "resumed"])
def test_a_kill_around_the_creation_leaves_no_job_running(
    emulator: str, hook: VertexTuningHook, control: Control, label: str, context: TaskContext, moment: str, task: str
) -> None:
    if task == "create":
        control("lifecycle", labels={"t": label}, script=RUNNING)
        operator: BaseOperator = create(labels={"t": label})
        work = lambda: operator.execute(context)  # type: ignore[arg-type]  # noqa: E731
    else:
        control("lifecycle", labels={"t": label}, failure={"code": 13, "message": "Oh.", "step": 1}, count=1)
        control("lifecycle", labels={"t": label}, script=RUNNING)
        failed = ended(hook, made(label, context)["name"])
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
    assert live(hook, context) == []
