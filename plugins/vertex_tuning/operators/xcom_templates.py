"""Templates that read what another task of the run has left. Pure."""

from __future__ import annotations

from typing import Final

OWN_INDEX: Final = "map_indexes=ti.map_index"
"""Of a mapped task group's instances, the one that a task is in; without it Airflow gives what all of them returned."""


def pulled(task_id: str, key: str = "return_value") -> str:
    """The expression that reads what a task left; None when it left nothing."""
    return f"ti.xcom_pull(task_ids='{task_id}', key='{key}', {OWN_INDEX})"


def required(task_id: str, key: str = "return_value") -> str:
    """Likewise; when the task left nothing, the one that reads fails and names it."""
    return f"({pulled(task_id, key)} or task.no_result_of('{task_id}'))"
