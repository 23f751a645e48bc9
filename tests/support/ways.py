"""The ways a task can wait for a tuning job, each carried to its end as Airflow would."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred
from vertex_tuning.triggers import TuningJobTrigger

from tests.support.tasks import TaskContext, create, sensor

Way = Callable[..., Any]


def deferred(job: dict[str, Any], context: TaskContext, **arguments: Any) -> Any:
    """In the triggerer."""
    return resumed(lambda: sensor(job["name"], poke_interval=0.05, **arguments), context)


def poke(job: dict[str, Any], context: TaskContext, **arguments: Any) -> Any:
    """On a worker."""
    waiting = sensor(job["name"], deferrable=False, poke_interval=0.05, **arguments)
    return waiting.execute(context)  # type: ignore[arg-type]


def reschedule(job: dict[str, Any], context: TaskContext, **arguments: Any) -> Any:
    """On a worker, in a new process for each look."""
    context["ti"].get_first_reschedule_date = lambda _: None
    while True:
        waiting = sensor(job["name"], deferrable=False, mode="reschedule", poke_interval=0.05, **arguments)
        try:
            return waiting.execute(context)  # type: ignore[arg-type]
        except AirflowRescheduleException:
            time.sleep(0.1)


def create_and_wait(job: dict[str, Any], context: TaskContext, **arguments: Any) -> Any:
    """In the task that creates the job, or adopts the one it has created before; only the labels are read."""
    if "timeout" in arguments:
        arguments["job_timeout"] = arguments.pop("timeout")
    labels = {name: value for name, value in job["labels"].items() if not name.startswith("airflow-")}
    waiting = {"wait_for_completion": True, "poll_interval": 0.05, "labels": labels}
    return resumed(lambda: create(**waiting, **arguments), context)


WAYS: dict[str, Way] = {way.__name__: way for way in (deferred, poke, reschedule, create_and_wait)}


def resumed(make: Callable[[], BaseOperator], context: TaskContext) -> Any:
    """Execute a task, wait for its triggers, and resume it in a new process, as often as it is deferred."""
    step: Callable[[], Any] = lambda: make().execute(context)  # type: ignore[arg-type]  # noqa: E731
    while True:
        try:
            return step()
        except TaskDeferred as deferral:
            step = _resumption(make, context, deferral)


def _resumption(make: Callable[[], BaseOperator], context: TaskContext, deferral: TaskDeferred) -> Callable[[], Any]:
    _, arguments = deferral.trigger.serialize()
    event = asyncio.run(TuningJobTrigger(**arguments).wait())
    kwargs = {**(deferral.kwargs or {}), "event": event}
    return lambda: make().resume_execution(deferral.method_name, kwargs, context)  # type: ignore[arg-type]
