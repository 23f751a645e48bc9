"""What only Airflow's own database says: who holds a trigger, which attempt runs, whose a connection is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy

ALIVE_SECONDS: Final = 6
"""Age of a heartbeat above which a triggerer is not taken for one that works."""


@dataclass(frozen=True)
class DagRun:
    dag_id: str
    run_id: str


@dataclass(frozen=True)
class Holder:
    """A triggerer that runs a trigger.

    :param process: its name in the stack
    :param job: Airflow's number of it, which names its logs
    """

    process: str
    job: int


class Metadata:
    """Reads the database behind Airflow's back.

    :param url: for SQLAlchemy
    """

    def __init__(self, url: str) -> None:
        self._engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)

    def holder(self, run: DagRun) -> Holder | None:
        """The triggerer that runs the first trigger of a run; None while there is no such."""
        rows = self._rows(
            """
            SELECT job.hostname, job.id FROM task_instance
            JOIN trigger ON trigger.id = task_instance.trigger_id JOIN job ON job.id = trigger.triggerer_id
            WHERE task_instance.dag_id = :dag_id AND task_instance.run_id = :run_id ORDER BY trigger.id LIMIT 1
            """,
            dag_id=run.dag_id,
            run_id=run.run_id,
        )
        return Holder(*rows[0]) if rows else None

    def live_triggerers(self) -> set[str]:
        """Process names of the triggerers whose heart beats."""
        return set(
            self._column(
                """
                SELECT hostname FROM job WHERE job_type = 'TriggererJob' AND end_date IS NULL
                AND latest_heartbeat > now() - make_interval(secs => :seconds)
                """,
                seconds=ALIVE_SECONDS,
            )
        )

    def is_replaced(self, attempt: str) -> bool:
        """Whether another attempt of the same task instance runs.

        :param attempt: id of a task instance; Airflow gives each attempt its own
        """
        return bool(
            self._column(
                """
                SELECT 1 FROM task_instance_history past JOIN task_instance now
                USING (dag_id, run_id, task_id, map_index)
                WHERE past.task_instance_id = :attempt AND now.state = 'running'
                """,
                attempt=attempt,
            )
        )

    def servers_of(self, process: str) -> list[int]:
        """Ids of the PostgreSQL processes that serve the connections of one process of the stack."""
        return self._column("SELECT pid FROM pg_stat_activity WHERE application_name = :process", process=process)

    def _column(self, query: str, **values: Any) -> list[Any]:
        return [value for (value,) in self._rows(query, **values)]

    def _rows(self, query: str, **values: Any) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(sqlalchemy.text(query), values))
