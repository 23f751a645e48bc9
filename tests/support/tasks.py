"""Operators executed as a worker would, without an Airflow around them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, TypeVar

from airflow.sdk import BaseOperator
from vertex_tuning.deployment import deployment_id
from vertex_tuning.jobs.spec import Origin
from vertex_tuning.jobs.submission import SearchTiming
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator, CreateTuningJobOperator
from vertex_tuning.operators.waiter import ClearTiming, TuningJobWaiter
from vertex_tuning.sensors import TuningJobSensor

from tests.support.google_cloud import TRAINING, VALIDATION


class TaskContext(dict[str, Any]):
    """What the operators use of a task's context; XComs and the state store are kept for a look."""

    def __init__(self, run_id: str = "run", map_index: int = -1, try_number: int = 1) -> None:
        self.xcoms: dict[str, Any] = {}
        self.stored: dict[str, Any] = {}
        instance = SimpleNamespace(
            dag_id="dag",
            task_id="task",
            run_id=run_id,
            map_index=map_index,
            try_number=try_number,
            start_date=datetime.now(UTC),
            xcom_push=lambda key, value: self.xcoms.update({key: value}),
        )
        super().__init__(ti=instance, task_state_store=TaskStateStore(self.stored))


class TaskStateStore:
    """Airflow's, for one task instance, in memory."""

    def __init__(self, stored: dict[str, Any]) -> None:
        self._stored = stored

    def get(self, key: str, default: Any = None) -> Any:
        return self._stored.get(key, default)

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:  # noqa: ARG002 - Airflow's
        self._stored[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        self._stored.pop(key, None)


def execute(operator: BaseOperator, context: TaskContext | None = None) -> Any:
    result = operator.execute(context or TaskContext())  # type: ignore[arg-type]
    assert json.loads(json.dumps(result)) == result  # an XCom is plain JSON
    return result


QUICK_SEARCH = SearchTiming(list_lag=2.2)
QUICK_CLEAR = ClearTiming(limit=2.0, pause=0.1)
"""The local Google Cloud shows each job at once, unless a test has it lag by less than this."""

Waiter = TypeVar("Waiter", bound=TuningJobWaiter)


def create(**arguments: Any) -> CreateTuningJobOperator:
    defaults = {
        "task_id": "create",
        "base_model": "gemini-2.5-flash",
        "training_uri": TRAINING,
        "validation_uri": VALIDATION,
        "epoch_count": "2",
    }
    return quick(CreateTuningJobOperator(**{**defaults, **arguments}))


def sensor(job_name: str, **arguments: Any) -> TuningJobSensor:
    """A sensor as `tuning_pipeline()` makes it: its run owns the job."""
    owning = {"cancel_on_kill": True, "cancel_on_timeout": True, "resubmit": True}
    return quick(TuningJobSensor(task_id="wait", job_name=job_name, **{**owning, **arguments}))


def teardown_of(created_by: str) -> CancelUnfinishedJobsOperator:
    """What cancels the jobs of a task nobody waits for."""
    operator = CancelUnfinishedJobsOperator(task_id="cancel", created_by=created_by)
    operator.search_timing, operator.search_pause = SearchTiming(list_lag=1.5), 0.2
    return operator


def quick(operator: Waiter) -> Waiter:
    """A task that waits for seconds where the service may take half a minute."""
    operator.search_timing, operator.clear_timing = QUICK_SEARCH, QUICK_CLEAR
    return operator


def origin(context: TaskContext, task_id: str = "task") -> Origin:
    """The task instance of a context, as the operators see it."""
    instance = context["ti"]
    return Origin(deployment_id(), instance.dag_id, instance.run_id, task_id, instance.map_index)
