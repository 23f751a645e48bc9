"""Task instances that wait, put straight into Airflow's database as if 1,000 workers had deferred them.

Airflow reads its configuration when it is first imported: the environment must be set before this module is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from airflow._shared.timezones import timezone
from airflow.dag_processing.collection import update_dag_parsing_results_in_db
from airflow.models import Connection, TaskInstance
from airflow.models.dag_version import DagVersion
from airflow.models.dagbag import DBDagBag
from airflow.models.dagbundle import DagBundleModel
from airflow.models.trigger import Trigger
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.serde import deserialize
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.triggers.base import BaseTrigger
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session
from vertex_tuning.sensors import TuningJobSensor

DAG_ID: Final = "bench_triggerer"
SENSOR: Final = "sensor"
OTHER: Final = "other"
"""Task of triggers that are not ours; the triggerer asks a task no more than whether it starts from its trigger."""
PROBE: Final = "probe"


def create_dag() -> None:
    """A DAG that the triggerer can look up."""
    with DAG(DAG_ID, schedule=None) as dag:
        TuningJobSensor(task_id=SENSOR, job_name="{{ ti.map_index }}")
        EmptyOperator(task_id=OTHER)
        EmptyOperator(task_id=PROBE)
    with create_session() as session:
        session.add(DagBundleModel(name=DAG_ID))
        session.flush()
        update_dag_parsing_results_in_db(
            DAG_ID, None, [LazyDeserializedDAG.from_dag(dag)], {}, None, set(), session=session
        )


def add_connection(conn_id: str, extra: dict[str, Any]) -> None:
    """A Google Cloud connection in the database, where the triggerer has to ask for it."""
    with create_session() as session:
        session.add(Connection(conn_id=conn_id, conn_type="google_cloud_platform", extra=json.dumps(extra)))  # noqa: AIR311 - a row of the database


def start_run(run_id: str) -> None:
    """A DAG run whose task instances can wait."""
    with create_session() as session:
        dag, _ = _dag(session)
        dag.create_dagrun(
            run_id=run_id,
            run_after=timezone.utcnow(),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )


def defer(run_id: str, task_id: str, triggers: Sequence[BaseTrigger]) -> None:
    """One deferred task instance per trigger, their map indexes in order."""
    with create_session() as session:
        dag, version_id = _dag(session)
        task = dag.get_task(task_id)
        for index, trigger in enumerate(triggers):
            instance = TaskInstance(task, version_id, run_id, TaskInstanceState.DEFERRED, index)
            instance.try_number, instance.start_date = 1, timezone.utcnow()
            instance.next_method, instance.next_kwargs = "execute_complete", {}
            instance.trigger = Trigger.from_object(trigger)
            session.add(instance)


def _dag(session: Session) -> tuple[SerializedDAG, UUID]:
    dag = DBDagBag().get_latest_version_of_dag(DAG_ID, session=session)
    version = DagVersion.get_latest_version(DAG_ID, session=session)
    if dag is None or version is None:
        raise LookupError(f"{DAG_ID} is not in the database")
    return dag, version.id


def clear() -> None:
    """Leave no trigger behind."""
    with create_session() as session:
        session.execute(delete(TaskInstance))
        session.execute(delete(Trigger))


def unassigned() -> int:
    """Number of triggers that no triggerer has taken up."""
    with create_session() as session:
        return session.scalar(select(func.count(Trigger.id)).where(Trigger.triggerer_id.is_(None))) or 0


def waiting(run_id: str) -> int:
    """Number of task instances that still wait for their event, the probe's left out."""
    with create_session() as session:
        waits = (TaskInstance.run_id == run_id, TaskInstance.state == TaskInstanceState.DEFERRED)
        found = select(func.count(TaskInstance.id)).where(*waits, TaskInstance.task_id != PROBE)
        return session.scalar(found) or 0


def events(run_id: str) -> dict[int, tuple[float, str]]:
    """When each waiter was woken, in Unix time, and with what status, by map index; a trigger that failed has none."""
    columns = (TaskInstance.map_index, TaskInstance.scheduled_dttm, TaskInstance.next_kwargs)
    woken = (TaskInstance.run_id == run_id, TaskInstance.state == TaskInstanceState.SCHEDULED)
    with create_session() as session:
        rows = session.execute(select(*columns).where(*woken)).all()
    return {index: (moment.timestamp(), _status(kwargs)) for index, moment, kwargs in rows}


def _status(next_kwargs: dict[str, Any]) -> str:
    kwargs: Any = deserialize(next_kwargs)
    return str(kwargs.get("event", {}).get("status", ""))
