"""Schedules and runs of DAGs, from Airflow's database: the API server may read it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

ACTIVE_RUNS: Final = 200
"""Most unfinished runs that are read: a tuning has at most one that runs."""
ACTIVE_STATES: Final = ("running", "queued")
BUSY: Final = ("running", "deferred", "queued", "awaiting_input", "up_for_retry", "up_for_reschedule", "restarting")
"""States of the tasks that say what a run does at the moment."""
WAITS_FOR_PERSON: Final = "awaiting_input"


class ActiveTask(msgspec.Struct, frozen=True):
    """A task that a run is at."""

    task_id: str
    state: str


class ActiveRun(msgspec.Struct, frozen=True):
    """A run that has not ended, and the tasks that it is at."""

    dag_id: str
    run_id: str
    state: str
    started: datetime | None
    tasks: list[ActiveTask]


class DagState(msgspec.Struct, frozen=True):
    """What Airflow knows about a DAG.

    :param next_run: when the next run starts; None if none is scheduled, or the DAG is paused
    :param last_end: when a run has ended last, also after it was cleared
    """

    is_paused: bool
    next_run: datetime | None
    last_end: datetime | None
    active: list[ActiveRun]


def dag_states(dag_ids: Collection[str]) -> dict[str, DagState]:
    """The state of DAGs by their ids; a DAG that Airflow does not have is missing."""
    from airflow.utils.session import create_session

    with create_session() as session:
        return _dag_states(session, sorted(dag_ids))


def _dag_states(session: Session, dag_ids: list[str]) -> dict[str, DagState]:
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from sqlalchemy import func, select

    columns = (DagModel.dag_id, DagModel.is_paused, DagModel.next_dagrun_create_after)
    dags = session.execute(select(*columns).where(DagModel.dag_id.in_(dag_ids), ~DagModel.is_stale)).all()
    ends = select(DagRun.dag_id, func.max(DagRun.end_date).label("last")).where(DagRun.dag_id.in_(dag_ids))
    last_ends = {row.dag_id: row.last for row in session.execute(ends.group_by(DagRun.dag_id))}
    active: dict[str, list[ActiveRun]] = {}
    for run in _active_runs(session, dag_ids):
        active.setdefault(run.dag_id, []).append(run)
    return {
        dag_id: DagState(is_paused, None if is_paused else next_run, last_ends.get(dag_id), active.get(dag_id, []))
        for dag_id, is_paused, next_run in dags
    }


def _active_runs(session: Session, dag_ids: list[str]) -> list[ActiveRun]:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    columns = (DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.start_date)
    unfinished = select(*columns).where(DagRun.dag_id.in_(dag_ids), DagRun.state.in_(ACTIVE_STATES))
    runs = session.execute(unfinished.order_by(DagRun.start_date).limit(ACTIVE_RUNS)).all()
    if not runs:
        return []
    instance = TaskInstance
    at_work = select(instance.dag_id, instance.run_id, instance.task_id, instance.state).where(
        instance.dag_id.in_({run.dag_id for run in runs}),
        instance.run_id.in_({run.run_id for run in runs}),
        instance.state.in_(BUSY),
    )
    tasks: dict[tuple[str, str], list[ActiveTask]] = {}
    for dag_id, run_id, task_id, state in session.execute(at_work):
        tasks.setdefault((dag_id, run_id), []).append(ActiveTask(task_id, str(state)))
    return [
        ActiveRun(dag_id, run_id, str(state), started, tasks.get((dag_id, run_id), []))
        for dag_id, run_id, state, started in runs
    ]
