"""Where two things meet: a clear and a second job, a kill and a lost answer, two runs and a list that lags."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout, TaskDeferred
from vertex_tuning import exceptions
from vertex_tuning.hooks import job_reader
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.jobs.spec import identity_labels
from vertex_tuning.jobs.submission import Creations, submit
from vertex_tuning.operators import waiter
from vertex_tuning.operators.registry import PromoteModelOperator
from vertex_tuning.operators.waiter import WAITING, TuningJobWaiter
from vertex_tuning.registry.aliases import TUNING_LABEL
from vertex_tuning.triggers import TuningJobTrigger

from tests.support.emulator import tell
from tests.support.google_cloud import LOCATION, spec
from tests.support.scripted_jobs import FAILS_IN_PASSING, RUNS, SUCCEEDS, ScriptedJobs, ended, fails
from tests.support.tasks import QUICK_SEARCH, TaskContext, create, execute, sensor, teardown_of
from tests.support.waiting import wait_until
from tests.support.ways import WAYS

Control = Callable[..., None]


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_reader, "CANCEL_PAUSES", (0.0, 0.1, 0.3))


def deferral(work: Callable[[], Any]) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as raised:
        work()
    return raised.value


def cancelled_by_a_clear(hook: VertexTuningHook, name: str) -> TuningJob:
    """What the killed trigger of a cleared task does."""
    hook.cancel_tuning_job(name)
    return ended(hook, name)


# A clear


def test_a_clear_while_the_second_job_is_waited_for(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(FAILS_IN_PASSING, RUNS, SUCCEEDS)
    job = jobs.create(context)
    ended(hook, job["name"])
    second = deferral(lambda: execute(sensor(job["name"]), context)).trigger.job_name
    assert context.stored[WAITING] == second != job["name"]
    cancelled_by_a_clear(hook, second)
    assert WAYS["deferred"](job, context)["state"] == "JOB_STATE_SUCCEEDED"


def test_a_clear_while_an_older_twin_is_waited_for(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(RUNS)
    older = TuningJob.parse(jobs.create(context))
    ours = hook.create_tuning_job(spec(epoch_count=2), older.labels)
    deferral(lambda: execute(sensor(ours.name), context))
    assert context.stored[WAITING] == older.name
    cancelled_by_a_clear(hook, older.name)
    deferral(lambda: execute(sensor(ours.name), context))
    assert len(jobs.live()) == 1


def test_a_clear_and_then_no_quota(crowded: str, crowded_jobs: ScriptedJobs, context: TaskContext) -> None:
    crowded_jobs.follow(RUNS, SUCCEEDS)
    job = crowded_jobs.create(context)
    deferral(lambda: execute(sensor(job["name"]), context))
    cancelled_by_a_clear(VertexTuningHook(GoogleConnection(location=LOCATION)), job["name"])
    tell(crowded, "quota:exhaust", seconds=600)
    pause = deferral(lambda: execute(sensor(job["name"]), context))
    assert pause.method_name == "retry_wait"
    tell(crowded, "quota:exhaust", seconds=0)
    waits = deferral(lambda: sensor(job["name"]).resume_execution("retry_wait", pause.kwargs, context))  # type: ignore[arg-type]
    assert waits.trigger.job_name != job["name"]


def test_a_clear_and_then_a_create_that_fails_in_passing(
    hook: VertexTuningHook, control: Control, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(RUNS, SUCCEEDS)
    job = jobs.create(context)
    deferral(lambda: execute(sensor(job["name"]), context))
    cancelled_by_a_clear(hook, job["name"])
    control("faults", method="tuningJobs.create", error={"code": 503, "message": "Down."}, count=1)
    with pytest.raises(exceptions.LostAnswerError):
        execute(sensor(job["name"]), context)
    assert WAYS["deferred"](job, context)["state"] == "JOB_STATE_SUCCEEDED"  # Airflow's retry


def test_a_person_cancels_the_job_that_followed_a_clear(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(RUNS)
    job = jobs.create(context)
    deferral(lambda: execute(sensor(job["name"]), context))
    cancelled_by_a_clear(hook, job["name"])
    second = deferral(lambda: execute(sensor(job["name"]), context)).trigger.job_name
    hook.cancel_tuning_job(second)
    event = {"status": "cancelled", "job_name": second, "job": ended(hook, second).as_xcom()}
    with pytest.raises(exceptions.TuningJobCancelledError):
        sensor(job["name"]).execute_complete(context, event, job_name=second)  # type: ignore[arg-type]


# A kill


def run(work: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
    """A task in a thread, and what it raised."""
    errors: list[BaseException] = []

    def task() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            errors.append(error)

    thread = threading.Thread(target=task, daemon=True)
    thread.start()
    return thread, errors


def until_it_creates(operator: TuningJobWaiter) -> None:
    """Wait until the request for a job is under way."""
    wait_until(lambda: operator.creations._unanswered)


def test_a_killed_create_returns_no_job(control: Control, jobs: ScriptedJobs, context: TaskContext) -> None:
    """Airflow's signal handler calls `on_kill`, and lets the task go on."""
    jobs.follow(RUNS)
    operator = create(labels=jobs.labels)
    control("faults", method="tuningJobs.create", delay=1.0)
    thread, errors = run(lambda: operator.execute(context))  # type: ignore[arg-type]
    until_it_creates(operator)
    operator.on_kill()
    thread.join(40)
    assert [type(error) for error in errors] == [exceptions.TaskKilledError]
    assert jobs.live() == []


def test_a_wait_that_is_killed_while_it_creates_knows_that_its_job_was_cancelled_for_it(
    hook: VertexTuningHook, control: Control, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(FAILS_IN_PASSING, RUNS, SUCCEEDS)
    job = jobs.create(context)
    operator = sensor(ended(hook, job["name"]).name)
    control("faults", method="tuningJobs.create", delay=1.0)
    thread, errors = run(lambda: operator.execute(context))  # type: ignore[arg-type]
    until_it_creates(operator)
    operator.on_kill()
    thread.join(40)
    assert [type(error) for error in errors] == [TaskDeferred]
    assert jobs.live() == []
    assert WAYS["deferred"](job, context)["state"] == "JOB_STATE_SUCCEEDED"  # the task was cleared


def test_a_kill_finds_a_lost_job_beside_an_older_one(
    monkeypatch: pytest.MonkeyPatch, hook: VertexTuningHook, control: Control, jobs: ScriptedJobs
) -> None:
    jobs.follow(RUNS)
    identity, asked = uuid4().hex, spec(labels=jobs.labels)
    hook.create_tuning_job(asked, identity_labels(identity, asked, 1))
    creations = Creations(QUICK_SEARCH)
    control("faults", method="tuningJobs.create", drop="after", count=1)
    with pytest.raises(exceptions.LostAnswerError):
        creations.create(hook, asked, identity_labels(identity, asked, 2), identity)
    listed, start = VertexTuningHook.jobs_of, time.monotonic()

    def lagging(self: VertexTuningHook, of: str) -> list[TuningJob]:
        return [job for job in listed(self, of) if job.attempt == 1 or time.monotonic() - start > 0.6]

    monkeypatch.setattr(VertexTuningHook, "jobs_of", lagging)
    creations.cancel_all(hook)
    assert jobs.live() == []


@pytest.mark.parametrize(("state", "cancelled"), [("running", False), ("restarting", True), ("failed", True)])
def test_a_worker_that_is_shut_down_cancels_nothing(
    hook: VertexTuningHook,
    jobs: ScriptedJobs,
    context: TaskContext,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    cancelled: bool,
) -> None:
    """A node is drained: Airflow passes the signal on, and still has the task as running."""
    jobs.follow(RUNS)
    monkeypatch.setattr(waiter, "states_of_task", lambda _: [state])
    job = jobs.create(context)
    waits = sensor(job["name"], deferrable=False)
    waits.poke(context)  # type: ignore[arg-type]
    waits.on_kill()
    assert hook.get_tuning_job(job["name"]).is_cancelled is cancelled


def test_but_a_task_that_is_over_its_execution_timeout_does(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.follow(RUNS)
    monkeypatch.setattr(waiter, "states_of_task", lambda _: ["running"])
    job = jobs.create(context)
    waits = sensor(job["name"], deferrable=False)
    waits.poke(context)  # type: ignore[arg-type]
    try:
        raise AirflowTaskTimeout
    except AirflowTaskTimeout:
        waits.on_kill()  # as Airflow's task runner does
    assert hook.get_tuning_job(job["name"]).is_cancelled


# A retry


def test_a_person_cancels_between_two_attempts_of_the_creating_task(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(RUNS)
    arguments: dict[str, Any] = {"labels": jobs.labels, "wait_for_completion": True, "poll_interval": 0.1}
    name = deferral(lambda: execute(create(**arguments), context)).trigger.job_name
    event = {"status": "error", "job_name": name, "message": "Not read for 3600 s"}
    kwargs = {"event": event, "job_name": name}
    with pytest.raises(exceptions.PollingError):
        create(**arguments).resume_execution("execute_complete", kwargs, context)  # type: ignore[arg-type]
    hook.cancel_tuning_job(name)
    ended(hook, name)
    with pytest.raises(exceptions.TuningJobCancelledError):
        execute(create(**arguments), context)


def test_a_location_that_renders_differently_pays_for_no_second_job(
    control: Control, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(RUNS)
    first = jobs.create(context, location="europe-west4")
    control("faults", method="tuningJobs.get", error={"code": 403, "message": "Not just now."}, count=1)
    with pytest.raises(exceptions.TransientError, match="Not just now"):
        jobs.create(context, location="us-central1")
    second = jobs.create(context, location="us-central1")
    assert first["name"] == second["name"]


def test_nothing_is_created_while_the_job_before_it_cannot_be_cancelled(
    hook: VertexTuningHook, control: Control, jobs: ScriptedJobs
) -> None:
    jobs.follow(RUNS)
    identity = uuid4().hex
    first = submit(hook, spec(labels=jobs.labels), identity, creations=Creations(QUICK_SEARCH))
    control("faults", method="tuningJobs.cancel", error={"code": 503, "message": "Down."})
    with pytest.raises(exceptions.TransientError):
        submit(hook, spec(labels=jobs.labels, epoch_count=7), identity, creations=Creations(QUICK_SEARCH))
    assert jobs.live() == [first.name]


def test_the_teardown_goes_on_after_one_job_that_cannot_be_cancelled(
    monkeypatch: pytest.MonkeyPatch, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(RUNS)
    run_id = context["ti"].run_id
    names = [jobs.create(TaskContext(run_id, map_index=index))["name"] for index in range(2)]
    cancel = VertexTuningHook.cancel_tuning_job

    def refuse(self: VertexTuningHook, name: str) -> TuningJob:
        if name == names[0]:
            raise exceptions.VertexUnavailableError(f"{name} could not be cancelled.")
        return cancel(self, name)

    monkeypatch.setattr(VertexTuningHook, "cancel_tuning_job", refuse)
    context["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: {"task_0": "failed", "task_1": "failed"}}
    with pytest.raises(exceptions.TransientError, match=names[0]):
        execute(teardown_of("task"), context)
    assert jobs.live() == [names[0]]


def test_a_rescheduled_sensor_waits_for_quota_no_longer_than_it_may(
    crowded: str, crowded_jobs: ScriptedJobs, context: TaskContext
) -> None:
    crowded_jobs.follow(fails(8), SUCCEEDS)
    job = crowded_jobs.create(context)
    ended(VertexTuningHook(GoogleConnection(location=LOCATION)), job["name"])
    tell(crowded, "quota:exhaust", seconds=60)
    with pytest.raises(exceptions.QuotaTimeoutError):
        WAYS["reschedule"](job, context, quota_timeout=0.5)


# Rivals


def resumes(make: Callable[[], Any], context: TaskContext, seconds: float) -> int:
    """How often a deferred task is resumed by events about rivals in so many seconds."""
    count, step, end = 0, lambda: make().execute(context), time.monotonic() + seconds
    while time.monotonic() < end:
        paused = deferral(step)
        trigger = TuningJobTrigger(**paused.trigger.serialize()[1])
        try:
            event = asyncio.run(_within(trigger, end - time.monotonic()))
        except TimeoutError:
            break
        count += 1
        kwargs = {**(paused.kwargs or {}), "event": event}

        def step(kwargs: dict[str, Any] = kwargs) -> Any:
            return make().resume_execution("execute_complete", kwargs, context)

    return count


async def _within(trigger: TuningJobTrigger, seconds: float) -> dict[str, Any]:
    return await asyncio.wait_for(trigger.wait(), max(seconds, 0.1))


def test_an_earlier_job_that_has_succeeded_is_no_rival(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(SUCCEEDS, RUNS)
    ended(hook, jobs.create(context)["name"])
    second = jobs.create(context, reuse="active")
    assert resumes(lambda: sensor(second["name"], poke_interval=0.1), context, 1.0) == 0


def test_a_sensor_that_only_looks_does_not_mind_rivals(
    hook: VertexTuningHook, jobs: ScriptedJobs, context: TaskContext
) -> None:
    jobs.follow(RUNS)
    job = TuningJob.parse(jobs.create(context))
    hook.create_tuning_job(spec(epoch_count=2), job.labels)
    looking = {"cancel_on_kill": False, "cancel_on_timeout": False, "resubmit": False, "poke_interval": 0.1}
    assert resumes(lambda: sensor(job.name, **looking), TaskContext("another run"), 1.0) == 0


# Two runs


@pytest.fixture
def repeats(control: Control, hook: VertexTuningHook) -> ScriptedJobs:
    """Jobs of one tuning."""
    return ScriptedJobs(control, hook, TUNING_LABEL)


def of(repeats: ScriptedJobs, day: str) -> TaskContext:
    """The task in a run of this test's own."""
    return TaskContext(f"{day}-{repeats.value}")


def once(repeats: ScriptedJobs, day: str) -> Any:
    return execute(create(labels=repeats.labels, skip_if_unchanged=True), of(repeats, day))


def test_runs_that_did_not_see_each_others_job_settle_it_while_waiting(
    repeats: ScriptedJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeats.follow(RUNS)
    with monkeypatch.context() as lagging:
        lagging.setattr(VertexTuningHook, "jobs_like", lambda *_: [])
        first, second = once(repeats, "monday"), once(repeats, "tuesday")
    deferral(lambda: execute(sensor(first["name"]), of(repeats, "monday")))
    with pytest.raises(AirflowSkipException, match=f"run monday-{repeats.value} of dag"):
        execute(sensor(second["name"]), of(repeats, "tuesday"))
    assert repeats.live() == [first["name"]]


def test_a_job_that_failed_is_not_created_again_beside_another_runs(
    hook: VertexTuningHook, repeats: ScriptedJobs
) -> None:
    repeats.follow(FAILS_IN_PASSING, RUNS)
    failed = once(repeats, "monday")
    ended(hook, failed["name"])
    second = once(repeats, "tuesday")
    with pytest.raises(AirflowSkipException, match=f"run tuesday-{repeats.value} of dag"):
        execute(sensor(failed["name"]), of(repeats, "monday"))
    assert repeats.live() == [second["name"]]


# Two installations


def test_one_installation_neither_tunes_nor_replaces_the_others_model(monkeypatch: pytest.MonkeyPatch) -> None:
    option, tuning = "AIRFLOW__VERTEX_TUNING__DEPLOYMENT", f"t{uuid4().hex[:8]}"
    arguments: dict[str, Any] = {
        "labels": {TUNING_LABEL: tuning},
        "epoch_count": "1",
        "wait_for_completion": True,
        "deferrable": False,
        "poll_interval": 0.05,
    }
    monkeypatch.setenv(option, "production")
    model = execute(create(**arguments), TaskContext("scheduled"))["tuned_model"]["model"]
    promotion = PromoteModelOperator(task_id="promote", model=model, tuning=tuning)
    promotion.execute({"outlet_events": {}})  # type: ignore[typeddict-item]
    monkeypatch.setenv(option, "staging")
    with pytest.raises(exceptions.ConfigurationError, match=r"base_model: .*installation 'production'"):
        execute(create(**{**arguments, "base_model": model}), TaskContext("scheduled"))
    with pytest.raises(exceptions.ConfigurationError, match=r"model: .*installation 'production'"):
        promotion.execute({"outlet_events": {}})  # type: ignore[typeddict-item]
    assert RegistryHook(GoogleConnection(location=LOCATION)).versions_of(tuning) == []
    monkeypatch.setenv(option, "production")
    assert "champion" in RegistryHook(GoogleConnection(location=LOCATION)).get(model).aliases
