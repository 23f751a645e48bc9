"""The calls of Airflow's REST API that the demo makes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import httpx

ENDED: Final = frozenset({"success", "failed"})


class AirflowApi:
    """A user who has signed in to one Airflow.

    :param url: address of the API server
    :param user: name of the user
    :param password: password of the user
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        token = httpx.post(f"{url}/auth/token", json={"username": user, "password": password}, timeout=30)
        token.raise_for_status()
        headers = {"Authorization": f"Bearer {token.json()['access_token']}"}
        self._client = httpx.Client(base_url=f"{url}/api/v2", headers=headers, timeout=30)

    def close(self) -> None:
        self._client.close()

    def has_dag(self, dag_id: str) -> bool:
        return self._client.get(f"/dags/{dag_id}").status_code == httpx.codes.OK

    def is_parsed(self, dag_id: str, since: datetime) -> bool:
        """Whether Airflow has parsed the DAG's file since a time."""
        answer = self._client.get(f"/dags/{dag_id}")
        parsed: str | None = answer.json()["last_parsed_time"] if answer.status_code == httpx.codes.OK else None
        return parsed is not None and datetime.fromisoformat(parsed) >= since

    def import_errors(self) -> list[str]:
        """The DAG import errors, as Airflow shows them."""
        return [error["stack_trace"] for error in self._get("/importErrors")["import_errors"]]

    def unpause(self, dag_id: str) -> None:
        self._client.patch(f"/dags/{dag_id}", json={"is_paused": False}).raise_for_status()

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run.

        :returns: the id of the run
        """
        body = {"logical_date": datetime.now(UTC).isoformat(), "conf": conf}
        answer = self._client.post(f"/dags/{dag_id}/dagRuns", json=body)
        answer.raise_for_status()
        return str(answer.json()["dag_run_id"])

    def state(self, dag_id: str, run_id: str) -> str:
        return str(self._get(_run(dag_id, run_id))["state"])

    def tasks(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """The task instances of a run, by task id."""
        instances = self._get(f"{_run(dag_id, run_id)}/taskInstances")["task_instances"]
        return {instance["task_id"]: instance for instance in instances}

    def result(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """A value that a task has pushed; None if it has pushed nothing."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self._client.get(path)
        return answer.json()["value"] if answer.status_code == httpx.codes.OK else None

    def _get(self, path: str) -> Any:
        answer = self._client.get(path)
        answer.raise_for_status()
        return answer.json()


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{run_id}"
