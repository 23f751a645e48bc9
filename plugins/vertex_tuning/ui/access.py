"""Who may see what: Airflow's own permissions. Airflow does not protect the endpoints of a plugin."""

from __future__ import annotations

from typing import Annotated, Final

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends

MAY_READ: Final = [Depends(requires_access_dag("GET")), Depends(requires_access_dag("GET", DagAccessEntity.RUN))]
"""Dependencies of every endpoint with data: the user may read DAGs and their runs.

If the path has a `dag_id`, they check this DAG. An endpoint without it must leave out what is not in `ReadableDags`.
"""


def _readable_dags(user: GetUserDep) -> set[str]:
    """Ids of the DAGs that the user may read."""
    return set(get_auth_manager().get_authorized_dag_ids(user=user))


ReadableDags = Annotated[set[str], Depends(_readable_dags)]
