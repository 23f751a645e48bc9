"""Airflow's simple auth manager, with permissions per DAG: a user named `alpha` reads the DAGs with `alpha` only."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

OWNER = "owner"
"""The user who may read every DAG."""
NO_RUNS = "noruns"
"""A user who may read every DAG and none of its runs."""


class DagAccessManager(SimpleAuthManager):
    """Everything else is Airflow's own: tokens, users, dependencies."""

    def is_authorized_dag(self, *, user: Any, access_entity: Any = None, details: Any = None, **_: Any) -> bool:
        if user.username == NO_RUNS:
            return access_entity is None
        dag_id = details.id if details else None
        return user.username == OWNER or dag_id is None or user.username in dag_id

    def filter_authorized_dag_ids(self, *, dag_ids: set[str], user: Any, **_: Any) -> set[str]:
        if user.username in (OWNER, NO_RUNS):
            return dag_ids
        return {dag_id for dag_id in dag_ids if user.username in dag_id}
