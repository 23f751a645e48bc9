"""Operators and the sensor, executed against the live local Google Cloud as a worker would."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from vertex_tuning import exceptions
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.operators.tuning_job import (
    CancelTuningJobOperator,
    GetTuningJobOperator,
    ListTuningJobsOperator,
)

from tests.support.google_cloud import spec
from tests.support.tasks import TaskContext, create, execute, origin, sensor

HOLD = [{"state": "JOB_STATE_RUNNING", "seconds": 600}]


# Creating


def test_a_retry_adopts_the_job_of_the_attempt_before(hook: VertexTuningHook) -> None:
    context = TaskContext("adopted")
    first, second = execute(create(), context), execute(create(), context)
    assert first["name"] == second["name"] == context.stored["tuning_job"]
    labels = first["labels"]
    listed = [job.name for job in hook.list_tuning_jobs() if job.labels.items() >= labels.items()]
    assert listed == [first["name"]]


def test_a_retry_whose_names_render_differently_adopts_the_job() -> None:
    """A description with the time in it, a label with the attempt: neither changes the training."""
    first, second = (
        execute(
            create(description=f"at {attempt}", display_name=f"try {attempt}", labels={"attempt": str(attempt)}),
            TaskContext("names that render differently", try_number=attempt),
        )
        for attempt in (1, 2)
    )
    assert first["name"] == second["name"]


def test_other_runs_map_indexes_and_specs_get_jobs_of_their_own() -> None:
    names = {
        execute(create(), TaskContext("one"))["name"],
        execute(create(), TaskContext("two"))["name"],
        execute(create(), TaskContext("one", map_index=0))["name"],
        execute(create(epoch_count="1"), TaskContext("one"))["name"],
    }
    assert len(names) == 4


def test_nothing_is_created_when_the_look_up_fails(emulator: str, control: Callable[..., None]) -> None:
    control("faults", method="tuningJobs.list", error={"code": 503})
    with pytest.raises(exceptions.VertexUnavailableError):
        execute(create(), TaskContext("blind"))
    asked = httpx.get(f"{emulator}/_internal/requests").json()
    assert "tuningJobs.create" not in json.dumps(asked)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"epoch_count": "0"}, exceptions.ConfigurationError, "epoch_count: found '0'"),
        ({"base_model": "gemini-0.1"}, exceptions.VertexRequestError, "gemini-0.1"),
        ({"location": "global"}, exceptions.VertexRequestError, "global"),
    ],
)
def test_what_a_retry_cannot_help_is_permanent(arguments: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as error:
        execute(create(**arguments), TaskContext("refused"))
    assert isinstance(error.value, exceptions.PermanentError)


def test_one_task_can_wait_as_well(done: dict[str, Any]) -> None:
    assert done["state"] == "JOB_STATE_SUCCEEDED"
    with pytest.raises(TaskDeferred) as deferred:
        execute(create(wait_for_completion=True), TaskContext("one task"))
    assert deferred.value.method_name == "execute_complete"
    event = {"status": "succeeded", "job_name": done["name"], "job": done}
    context = TaskContext()
    context.stored["tuning_job"] = done["name"]
    assert create(wait_for_completion=True).execute_complete(context, event) == done  # type: ignore[arg-type]


# Waiting


def held(hook: VertexTuningHook, control: Callable[..., None], owner: TaskContext | None = None) -> TuningJob:
    """A job that runs until it is cancelled; of a task's own run, or started elsewhere."""
    control("lifecycle", labels={"held": "yes"}, script=HOLD)
    return hook.create_tuning_job(spec(), {"held": "yes", **(origin(owner).labels if owner else {})})


def test_a_finished_job_costs_no_trigger(done: dict[str, Any]) -> None:
    assert execute(sensor(done["name"])) == done


def test_a_running_job_is_waited_for_in_the_triggerer(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    job = held(hook, control)
    with pytest.raises(TaskDeferred) as deferred:
        execute(sensor(job.name, poke_interval=timedelta(seconds=7), timeout=timedelta(minutes=2)))
    _, arguments = deferred.value.trigger.serialize()
    assert (arguments["job_name"], arguments["poll_interval"]) == (job.name, 7)
    assert arguments["end_time"] == pytest.approx((job.created_at or 0) + 120)
    assert deferred.value.timeout is None


def test_a_running_job_is_not_given_up_because_it_cannot_be_read_just_now(
    hook: VertexTuningHook, control: Callable[..., None]
) -> None:
    job = held(hook, control)
    control("faults", method="tuningJobs.get", error={"code": 503}, count=1)
    with pytest.raises(TaskDeferred):
        execute(sensor(job.name))
    control("faults", method="tuningJobs.get", error={"code": 403, "message": "Not just now."}, count=1)
    with pytest.raises(exceptions.PollingError, match="Not just now"):
        execute(sensor(job.name))
    with pytest.raises(exceptions.PollingError, match="404"):
        execute(sensor(job.name + "0"))
    assert issubclass(exceptions.PollingError, exceptions.TransientError)


def test_nor_on_the_worker(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    job = hook.create_tuning_job(spec(epoch_count=1), {})
    for code in (503, 403, 404):
        control("faults", method="tuningJobs.get", error={"code": code}, count=1)
    waiting = sensor(job.name, deferrable=False, poke_interval=0.05, max_poll_failures=100)
    assert execute(waiting)["state"] == "JOB_STATE_SUCCEEDED"
    control("faults", method="tuningJobs.get", error={"code": 503, "message": "Down."})
    with pytest.raises(exceptions.PollingError, match=r"Not read for \d+ s; the last error: .*Down\."):
        execute(sensor(job.name, deferrable=False, poke_interval=0.05, max_poll_failures=4))


def test_a_job_may_be_named_with_the_projects_id(done: dict[str, Any]) -> None:
    named = re.sub("^projects/[^/]+", "projects/test-project", done["name"])
    event = {"status": "succeeded", "job_name": done["name"], "job": done}
    assert sensor(named).execute_complete(TaskContext(), event, job_name=named) == done  # type: ignore[arg-type]


@pytest.mark.parametrize("cancel", [True, False])
def test_a_job_over_time_is_cancelled_if_it_shall(
    hook: VertexTuningHook, control: Callable[..., None], cancel: bool
) -> None:
    context = TaskContext()
    job = held(hook, control, context)
    event = {"status": "timeout", "job_name": job.name, "message": "Late."}
    waiting = sensor(job.name, cancel_on_timeout=cancel)
    with pytest.raises(exceptions.TuningJobTimeoutError, match=r"Late\."):
        waiting.execute_complete(context, event, job_name=job.name)  # type: ignore[arg-type]
    assert hook.get_tuning_job(job.name).state.startswith("JOB_STATE_CANCELL") is cancel


def test_a_job_that_succeeded_at_the_last_moment_is_not_thrown_away(done: dict[str, Any]) -> None:
    event = {"status": "timeout", "job_name": done["name"], "message": "Late."}
    result = sensor(done["name"]).execute_complete(TaskContext(), event, job_name=done["name"])  # type: ignore[arg-type]
    assert result["tuned_model"] == done["tuned_model"]


def test_the_sensor_also_waits_on_the_worker(done: dict[str, Any], hook: VertexTuningHook) -> None:
    job = hook.create_tuning_job(spec(), {})
    assert execute(sensor(job.name, deferrable=False, poke_interval=0.05))["state"] == "JOB_STATE_SUCCEEDED"


def test_on_the_worker_too_a_job_over_time_is_cancelled(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    context = TaskContext()
    job = held(hook, control, context)
    with pytest.raises(exceptions.TuningJobTimeoutError):
        execute(sensor(job.name, deferrable=False, poke_interval=0.05, timeout=0.2), context)
    assert hook.get_tuning_job(job.name).state.startswith("JOB_STATE_CANCELL")


def test_soft_fail_skips(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    control("lifecycle", labels={"fails": "yes"}, failure={"step": 0})
    job = hook.create_tuning_job(spec(), {"fails": "yes"})
    with pytest.raises(exceptions.TuningJobFailedError):
        execute(sensor(job.name, deferrable=False, poke_interval=0.05))
    with pytest.raises(AirflowSkipException):
        execute(sensor(job.name, soft_fail=True))


def test_a_kill_on_the_worker_cancels(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    context = TaskContext()
    job = held(hook, control, context)
    waiting = sensor(job.name, deferrable=False)
    waiting.poke(context)  # type: ignore[arg-type]
    waiting.on_kill()
    assert hook.get_tuning_job(job.name).state.startswith("JOB_STATE_CANCELL")


# Reading, listing, cancelling


def test_get_list_and_cancel(hook: VertexTuningHook, control: Callable[..., None], done: dict[str, Any]) -> None:
    job = held(hook, control)
    assert execute(GetTuningJobOperator(task_id="get", job_name=done["name"])) == done
    listed = execute(ListTuningJobsOperator(task_id="list", filter="labels.held=yes", limit=1))
    assert [one["name"] for one in listed] == [job.name]
    cancelled = execute(CancelTuningJobOperator(task_id="cancel", job_name=job.name))
    assert cancelled["state"].startswith("JOB_STATE_CANCELL")
