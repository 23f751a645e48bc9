"""Collecting metrics from the live local Google Cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from vertex_tuning import exceptions
from vertex_tuning.hooks.tuning import VertexTuningHook
from vertex_tuning.operators.metrics import CollectMetricsOperator

from tests.vertex_tuning.conftest import spec
from tests.vertex_tuning.tasks import TaskContext, execute


def test_metrics_are_summed_up_and_the_headline_pushed(done: dict[str, Any]) -> None:
    context = TaskContext()
    result = execute(CollectMetricsOperator(task_id="metrics", job_name=done["name"]), context)
    loss = result["metrics"]["/eval_total_loss"]
    assert loss["last"] < loss["first"]
    assert context.xcoms["headline"]["/eval_total_loss"] == loss["last"]


def test_a_job_that_has_not_ended_has_no_metrics_yet(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    control("lifecycle", labels={"queued": "yes"}, script=[{"state": "JOB_STATE_PENDING", "seconds": 600}])
    job = hook.create_tuning_job(spec(), {"queued": "yes"})
    with pytest.raises(exceptions.MetricsError, match="is JOB_STATE_PENDING, expected a job that has ended"):
        execute(CollectMetricsOperator(task_id="metrics", job_name=job.name))
