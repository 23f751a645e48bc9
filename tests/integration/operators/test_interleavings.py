"""Where two things meet: a clear and a second job, a kill and a lost answer, two runs and a list that lags."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from airflow.sdk.exceptions import AirflowSkipException, AirflowTaskTimeout, TaskDeferred
from vertex_tuning import exceptions
from vertex_tuning.hooks import job_reader
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.jobs import submission
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.jobs.spec import identity_labels
from vertex_tuning.jobs.submission import Creations, submit
from vertex_tuning.operators import waiter
from vertex_tuning.operators.registry import PromoteModelOperator
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator
from vertex_tuning.operators.waiter import WAITING, TuningJobWaiter
from vertex_tuning.registry.aliases import TUNING_LABEL
from vertex_tuning.triggers import TuningJobTrigger

from tests.integration.conftest import LOCATION, TRAINING, VALIDATION, connection, spec
from tests.support.emulator import classification_rows, running_emulator, upload
from tests.support.tasks import TaskContext, create, execute, sensor
from tests.support.ways import WAYS

Control = Callable[..., None]
RUNNING = [{"state": "JOB_STATE_RUNNING", "seconds": 600}]
PASSING = {"code": 13, "message": "Oh.", "step": 1}


@pytest.fixture
def label() -> str:
    return uuid4().hex[:20]


@pytest.fixture
def context() -> TaskContext:
    return TaskContext(uuid4().hex)


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "LIST_LAG", 3.0)
    monkeypatch.setattr(job_reader, "CANCEL_PAUSES", (0.0, 0.1, 0.3))
    monkeypatch.setattr(waiter, "CLEAR_SECONDS", 2.0)
    monkeypatch.setattr(waiter, "CLEAR_PAUSE", 0.1)


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A service with quota for one job, which refuses the next."""
    with running_emulator(concurrent_tuning_jobs=1, quota_mode="refuse") as url:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(url))
        for uri in (TRAINING, VALIDATION):
            upload(url, uri, classification_rows(24))
        yield url


def ended(hook: VertexTuningHook, name: str) -> TuningJob:
    deadline = time.monotonic() + 60
    while (job := hook.get_tuning_job(name)).is_live:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return job


def live(hook: VertexTuningHook, key: str, value: str) -> list[str]:
    jobs = (job for job in hook.list_tuning_jobs(f"labels.{key}={value}") if job.labels.get(key) == value)
    return [job.name for job in jobs if job.is_live and not job.is_cancelled]


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
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, failure=PASSING, count=1)
    control("lifecycle", labels={"t": label}, script=RUNNING, count=1)
    control("lifecycle", labels={"t": label}, script=[])
    job = execute(create(labels={"t": label}), context)
    ended(hook, job["name"])
    second = deferral(lambda: execute(sensor(job["name"]), context)).trigger.job_name
    assert context.stored[WAITING] == second != job["name"]
    cancelled_by_a_clear(hook, second)
    assert WAYS["deferred"](job, context)["state"] == "JOB_STATE_SUCCEEDED"


def test_a_clear_while_an_older_twin_is_waited_for(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    older = TuningJob.parse(execute(create(labels={"t": label}), context))
    ours = hook.create_tuning_job(spec(epoch_count=2), older.labels)
    deferral(lambda: execute(sensor(ours.name), context))
    assert context.stored[WAITING] == older.name
    cancelled_by_a_clear(hook, older.name)
    deferral(lambda: execute(sensor(ours.name), context))
    assert len(live(hook, "t", label)) == 1


def test_a_clear_and_then_no_quota(crowded: str, context: TaskContext) -> None:
    script = {"labels": {"t": "a"}, "script": RUNNING, "count": 1}
    httpx.post(f"{crowded}/_internal/lifecycle", json=script).raise_for_status()
    job = execute(create(labels={"t": "a"}), context)
    deferral(lambda: execute(sensor(job["name"]), context))
    cancelled_by_a_clear(VertexTuningHook(GoogleConnection(location=LOCATION)), job["name"])
    httpx.post(f"{crowded}/_internal/quota:exhaust", json={"seconds": 1}).raise_for_status()
    pause = deferral(lambda: execute(sensor(job["name"]), context))
    assert pause.method_name == "retry_wait"
    time.sleep(1.2)
    waits = deferral(lambda: sensor(job["name"]).resume_execution("retry_wait", pause.kwargs, context))  # type: ignore[arg-type]
    assert waits.trigger.job_name != job["name"]


def test_a_clear_and_then_a_create_that_fails_in_passing(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING, count=1)
    control("lifecycle", labels={"t": label}, script=[])
    job = execute(create(labels={"t": label}), context)
    deferral(lambda: execute(sensor(job["name"]), context))
    cancelled_by_a_clear(hook, job["name"])
    control("faults", method="tuningJobs.create", error={"code": 503, "message": "Down."}, count=1)
    with pytest.raises(exceptions.LostAnswerError):
        execute(sensor(job["name"]), context)
    assert WAYS["deferred"](job, context)["state"] == "JOB_STATE_SUCCEEDED"  # Airflow's retry


def test_a_person_cancels_the_job_that_followed_a_clear(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = execute(create(labels={"t": label}), context)
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
    deadline = time.monotonic() + 30
    while not operator.creations._unanswered:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_create_returns_no_job(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    """Airflow's signal handler calls `on_kill`, and lets the task go on."""
    control("lifecycle", labels={"t": label}, script=RUNNING)
    operator = create(labels={"t": label})
    control("faults", method="tuningJobs.create", delay=1.0)
    thread, errors = run(lambda: operator.execute(context))  # type: ignore[arg-type]
    until_it_creates(operator)
    operator.on_kill()
    thread.join(40)
    assert [type(error) for error in errors] == [exceptions.TaskKilledError]
    assert live(hook, "t", label) == []


def test_a_wait_that_is_killed_while_it_creates_knows_that_its_job_was_cancelled_for_it(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, failure=PASSING, count=1)
    control("lifecycle", labels={"t": label}, script=RUNNING, count=1)
    control("lifecycle", labels={"t": label}, script=[])
    job = execute(create(labels={"t": label}), context)
    operator = sensor(ended(hook, job["name"]).name)
    control("faults", method="tuningJobs.create", delay=1.0)
    thread, errors = run(lambda: operator.execute(context))  # type: ignore[arg-type]
    until_it_creates(operator)
    operator.on_kill()
    thread.join(40)
    assert [type(error) for error in errors] == [TaskDeferred]
    assert live(hook, "t", label) == []
    assert WAYS["deferred"](job, context)["state"] == "JOB_STATE_SUCCEEDED"  # the task was cleared


def test_a_kill_finds_a_lost_job_beside_an_older_one(
    hook: VertexTuningHook, control: Control, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    identity, asked = uuid4().hex, spec(labels={"t": label})
    hook.create_tuning_job(asked, identity_labels(identity, asked, 1))
    creations = Creations()
    control("faults", method="tuningJobs.create", drop="after", count=1)
    with pytest.raises(exceptions.LostAnswerError):
        creations.create(hook, asked, identity_labels(identity, asked, 2), identity)
    listed, start = VertexTuningHook.jobs_of, time.monotonic()

    def lagging(self: VertexTuningHook, of: str) -> list[TuningJob]:
        return [job for job in listed(self, of) if job.attempt == 1 or time.monotonic() - start > 1.5]

    monkeypatch.setattr(VertexTuningHook, "jobs_of", lagging)
    creations.cancel_all(hook)
    assert live(hook, "t", label) == []


@pytest.mark.parametrize(("state", "cancelled"), [("running", False), ("restarting", True), ("failed", True)])
def test_a_worker_that_is_shut_down_cancels_nothing(
    hook: VertexTuningHook,
    control: Control,
    label: str,
    context: TaskContext,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    cancelled: bool,
) -> None:
    """A node is drained: Airflow passes the signal on, and still has the task as running."""
    control("lifecycle", labels={"t": label}, script=RUNNING)
    monkeypatch.setattr(waiter, "states_of_task", lambda _: [state])
    job = execute(create(labels={"t": label}), context)
    waits = sensor(job["name"], deferrable=False)
    waits.poke(context)  # type: ignore[arg-type]
    waits.on_kill()
    assert hook.get_tuning_job(job["name"]).is_cancelled is cancelled


def test_but_a_task_that_is_over_its_execution_timeout_does(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    monkeypatch.setattr(waiter, "states_of_task", lambda _: ["running"])
    job = execute(create(labels={"t": label}), context)
    waits = sensor(job["name"], deferrable=False)
    waits.poke(context)  # type: ignore[arg-type]
    try:
        raise AirflowTaskTimeout
    except AirflowTaskTimeout:
        waits.on_kill()  # as Airflow's task runner does
    assert hook.get_tuning_job(job["name"]).is_cancelled


# A retry


def test_a_person_cancels_between_two_attempts_of_the_creating_task(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    arguments: dict[str, Any] = {"labels": {"t": label}, "wait_for_completion": True, "poll_interval": 0.1}
    name = deferral(lambda: execute(create(**arguments), context)).trigger.job_name
    event = {"status": "error", "job_name": name, "message": "Not read for 3600 s"}
    kwargs = {"event": event, "job_name": name}
    with pytest.raises(exceptions.PollingError):
        create(**arguments).resume_execution("execute_complete", kwargs, context)  # type: ignore[arg-type]
    hook.cancel_tuning_job(name)
    ended(hook, name)
    with pytest.raises(exceptions.TuningJobCancelledError):
        execute(create(**arguments), context)


def test_a_location_that_renders_anew_pays_for_no_second_job(
    control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    first = execute(create(labels={"t": label}, location="europe-west4"), context)
    control("faults", method="tuningJobs.get", error={"code": 403, "message": "Not just now."}, count=1)
    with pytest.raises(exceptions.TransientError, match="Not just now"):
        execute(create(labels={"t": label}, location="us-central1"), context)
    second = execute(create(labels={"t": label}, location="us-central1"), context)
    assert first["name"] == second["name"]


def test_nothing_is_created_while_the_job_before_it_cannot_be_cancelled(
    hook: VertexTuningHook, control: Control, label: str
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    identity = uuid4().hex
    first = submit(hook, spec(labels={"t": label}), identity)
    control("faults", method="tuningJobs.cancel", error={"code": 503, "message": "Down."})
    with pytest.raises(exceptions.TransientError):
        submit(hook, spec(labels={"t": label}, epoch_count=7), identity)
    assert live(hook, "t", label) == [first.name]


def test_the_teardown_goes_on_after_one_job_that_cannot_be_cancelled(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    run_id = context["ti"].run_id
    names = [execute(create(labels={"t": label}), TaskContext(run_id, map_index=index))["name"] for index in range(2)]
    cancel = VertexTuningHook.cancel_tuning_job

    def refuse(self: VertexTuningHook, name: str) -> TuningJob:
        if name == names[0]:
            raise exceptions.VertexUnavailableError(f"{name} could not be cancelled.")
        return cancel(self, name)

    monkeypatch.setattr(VertexTuningHook, "cancel_tuning_job", refuse)
    context["ti"].get_task_states = lambda run_ids, **_: {run_ids[0]: {"task_0": "failed", "task_1": "failed"}}
    with pytest.raises(exceptions.TransientError, match=names[0]):
        execute(CancelUnfinishedJobsOperator(task_id="cancel", created_by="task"), context)
    assert live(hook, "t", label) == [names[0]]


def test_a_rescheduled_sensor_waits_for_quota_no_longer_than_it_may(crowded: str, context: TaskContext) -> None:
    failure = {"labels": {"t": "a"}, "failure": {"code": 8, "message": "No.", "step": 1}, "count": 1}
    httpx.post(f"{crowded}/_internal/lifecycle", json=failure).raise_for_status()
    job = execute(create(labels={"t": "a"}), context)
    ended(VertexTuningHook(GoogleConnection(location=LOCATION)), job["name"])
    httpx.post(f"{crowded}/_internal/quota:exhaust", json={"seconds": 60}).raise_for_status()
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
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, script=[], count=1)
    control("lifecycle", labels={"t": label}, script=RUNNING)
    ended(hook, execute(create(labels={"t": label}), context)["name"])
    second = execute(create(labels={"t": label}, reuse="active"), context)
    assert resumes(lambda: sensor(second["name"], poke_interval=0.2), context, 2.0) == 0


def test_a_sensor_that_only_looks_does_not_mind_rivals(
    hook: VertexTuningHook, control: Control, label: str, context: TaskContext
) -> None:
    control("lifecycle", labels={"t": label}, script=RUNNING)
    job = TuningJob.parse(execute(create(labels={"t": label}), context))
    hook.create_tuning_job(spec(epoch_count=2), job.labels)
    looking = {"cancel_on_kill": False, "cancel_on_timeout": False, "resubmit": False, "poke_interval": 0.2}
    assert resumes(lambda: sensor(job.name, **looking), TaskContext("another run"), 2.0) == 0


# Two runs


def of(label: str, day: str) -> TaskContext:
    """The task in a run of this test's own."""
    return TaskContext(f"{day}-{label}")


def once(label: str, day: str) -> Any:
    return execute(create(labels={TUNING_LABEL: label}, skip_if_unchanged=True), of(label, day))


def test_runs_that_did_not_see_each_others_job_settle_it_while_waiting(
    hook: VertexTuningHook, control: Control, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    control("lifecycle", labels={TUNING_LABEL: label}, script=RUNNING)
    with monkeypatch.context() as lagging:
        lagging.setattr(VertexTuningHook, "jobs_like", lambda *_: [])
        first, second = once(label, "monday"), once(label, "tuesday")
    deferral(lambda: execute(sensor(first["name"]), of(label, "monday")))
    with pytest.raises(AirflowSkipException, match=f"run monday-{label} of dag"):
        execute(sensor(second["name"]), of(label, "tuesday"))
    assert live(hook, TUNING_LABEL, label) == [first["name"]]


def test_a_job_that_failed_is_not_created_again_beside_another_runs(
    hook: VertexTuningHook, control: Control, label: str
) -> None:
    control("lifecycle", labels={TUNING_LABEL: label}, failure=PASSING, count=1)
    control("lifecycle", labels={TUNING_LABEL: label}, script=RUNNING)
    failed = once(label, "monday")
    ended(hook, failed["name"])
    second = once(label, "tuesday")
    with pytest.raises(AirflowSkipException, match=f"run tuesday-{label} of dag"):
        execute(sensor(failed["name"]), of(label, "monday"))
    assert live(hook, TUNING_LABEL, label) == [second["name"]]


# Two installations


def test_one_installation_neither_tunes_nor_replaces_the_others_model(
    control: Control, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    option, tuning = "AIRFLOW__VERTEX_TUNING__DEPLOYMENT", f"t{label[:8]}"
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
